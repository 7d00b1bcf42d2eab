"""Heads of YOLO-NAS and what their outputs mean: classes, and a distribution over distances for each side of a box.

The heads give maps; `flattened` puts them in a row, one line an anchor, and `decoded` makes boxes of distributions.
The order of the anchors: stride 8, 16, 32, each row by row. An anchor lies in the middle of its cell.
Source: Li et al., Generalized Focal Loss, 2020 (arXiv 2006.04388), with 17 bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engines.yolo_nas.blocks import ConvBnRelu, Form
from engines.yolo_nas.body import NeckMaps
from engines.yolo_nas.variants import BINS, STRIDES, Variant

PRIOR = 0.01
"""A class score before anything is learnt: most anchors see nothing (Lin et al., arXiv 1708.02002, 4.1)."""


class HeadMaps(NamedTuple):
    """Outputs of one head: logits (n, C, h, w), and (n, 68, h, w): sides left, top, right, bottom, 17 bins each."""

    cls_pred: Tensor
    reg_pred: Tensor


class HeadConv(nn.Module):
    """A convolution of a head; one name more in the checkpoints than elsewhere."""

    def __init__(self, inputs: int, outputs: int, side: int, *, form: Form) -> None:
        super().__init__()
        self.seq = ConvBnRelu(inputs, outputs, side, form=form)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.seq(x)
        return result


class Head(nn.Module):
    """One stride: a common 1x1, then a 3x3 and the prediction for classes and for boxes apart."""

    def __init__(self, inputs: int, width: int, classes: int, *, form: Form) -> None:
        super().__init__()
        self.stem = HeadConv(inputs, width, 1, form=form)
        self.cls_convs = nn.Sequential(HeadConv(width, width, 3, form=form))
        self.reg_convs = nn.Sequential(HeadConv(width, width, 3, form=form))
        self.cls_pred = nn.Conv2d(width, classes, 1)
        self.reg_pred = nn.Conv2d(width, 4 * BINS, 1)
        nn.init.constant_(self.cls_pred.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type] # Conv2d's bias may be None; not with bias=True

    def forward(self, x: Tensor) -> HeadMaps:
        x = self.stem(x)
        return HeadMaps(self.cls_pred(self.cls_convs(x)), self.reg_pred(self.reg_convs(x)))


class Heads(nn.Module):
    def __init__(self, variant: Variant, classes: int, form: Form) -> None:
        super().__init__()
        self.head1, self.head2, self.head3 = (
            Head(inputs, width, classes, form=form)
            for inputs, width in zip(variant.neck_out[1:], variant.head_width, strict=True)
        )

    def forward(self, maps: NeckMaps) -> tuple[HeadMaps, HeadMaps, HeadMaps]:
        return self.head1(maps.neck2), self.head2(maps.neck3), self.head3(maps.neck4)


def anchor_grid(shapes_hw: Sequence[tuple[int, int]], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Where the anchors lie: points (A, 2) x, y in input pixels, strides (A, 1), both float32.

    `shapes_hw`: height and width of the map of each head, in cells.
    """
    points, strides = [], []
    for stride, (height, width) in zip(STRIDES, shapes_hw, strict=True):
        y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
        points.append((torch.stack([x, y], dim=-1).reshape(-1, 2).float() + 0.5) * stride)
        strides.append(torch.full((height * width, 1), float(stride), device=device))
    return torch.cat(points), torch.cat(strides)


def flattened(maps: Sequence[HeadMaps]) -> tuple[Tensor, Tensor]:
    """Logits (n, A, C) and distributions (n, A, 68) of all heads, float32."""
    logits = [level.cls_pred.flatten(2).transpose(1, 2) for level in maps]
    distributions = [level.reg_pred.flatten(2).transpose(1, 2) for level in maps]
    return torch.cat(logits, dim=1).float(), torch.cat(distributions, dim=1).float()


def decoded(distributions: Tensor, points_px: Tensor, strides: Tensor) -> Tensor:
    """Boxes (n, A, 4) x1, y1, x2, y2 in input pixels, not clipped, of distributions (n, A, 68).

    A distance is the expectation over the bins 0..16, in strides.
    """
    bins = torch.arange(BINS, dtype=distributions.dtype, device=distributions.device)
    shares = distributions.reshape(*distributions.shape[:2], 4, BINS).softmax(dim=3)
    # Not a matrix product: autocast would compute that in half precision.
    sides = (shares * bins).sum(dim=3) * strides
    return torch.cat([points_px - sides[:, :, :2], points_px + sides[:, :, 2:]], dim=2)
