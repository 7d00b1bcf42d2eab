"""Boxes in torch: overlaps, and the distances from anchor points. All boxes are (..., 4) x1, y1, x2, y2 in pixels."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

BoxLoss = Literal["giou", "ciou"]

_EPS = 1e-9


def iou_table(one: Tensor, other: Tensor) -> Tensor:
    """IoU of each of `one` (n, G, 4) with each of `other` (n, A, 4): (n, G, A)."""
    a, b = one[:, :, None], other[:, None]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_(min=0.0)
    inter = sides[..., 0] * sides[..., 1]
    return inter / (area(one)[:, :, None] + area(other)[:, None] - inter + _EPS)


def area(boxes: Tensor) -> Tensor:
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0.0)
    return sides[..., 0] * sides[..., 1]


def box_loss(found: Tensor, wanted: Tensor, kind: BoxLoss) -> Tensor:
    """1 - GIoU or 1 - CIoU of pairs of boxes (N, 4): (N,), 0 for equal ones.

    Source: Rezatofighi et al., arXiv 1902.09630; Zheng et al., arXiv 2005.03572.
    """
    sides = (torch.minimum(found[:, 2:], wanted[:, 2:]) - torch.maximum(found[:, :2], wanted[:, :2])).clamp(min=0.0)
    inter = sides[:, 0] * sides[:, 1]
    union = area(found) + area(wanted) - inter + _EPS
    iou = inter / union
    hull = torch.maximum(found[:, 2:], wanted[:, 2:]) - torch.minimum(found[:, :2], wanted[:, :2])
    if kind == "giou":
        whole = hull[:, 0] * hull[:, 1] + _EPS
        return 1.0 - iou + (whole - union) / whole
    middle = (found[:, :2] + found[:, 2:] - wanted[:, :2] - wanted[:, 2:]) / 2
    apart = middle.square().sum(dim=1) / (hull.square().sum(dim=1) + _EPS)
    (found_w, found_h), (wanted_w, wanted_h) = ((b[:, 2:] - b[:, :2]).unbind(dim=1) for b in (found, wanted))
    shape = 4 / math.pi**2 * (torch.atan2(wanted_w, wanted_h) - torch.atan2(found_w, found_h)).square()
    with torch.no_grad():
        share = shape / (1.0 - iou + shape + _EPS)
    return 1.0 - iou + apart + share * shape


def distances(boxes: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """How far left, top, right and bottom of boxes (..., A, 4) lie from points (A, 2), in strides (A, 1)."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1) / strides
