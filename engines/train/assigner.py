"""Which anchors shall show which object: task-aligned assignment.

An anchor in an object suits it by score^alpha * IoU^beta; the best `top` are the object's. What an anchor's score shall
become is how well it suits, scaled so that the object's best anchor gets the object's best IoU.
Source: Feng et al., TOOD, 2021 (arXiv 2108.07755), with alpha 1, beta 6, top 13 as in PP-YOLOE and YOLO-NAS. Ours: an
object so small that it holds no anchor takes the nearest one; else it would be learnt as background.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engines.train.boxes import iou_table
from engines.train.targets import Targets

TOP = 13
ALPHA = 1.0
BETA = 6.0
_EPS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assignment:
    """For each of (n, A) anchors: `positive`; its object's row in the targets (0 if none); the `score` wanted of it."""

    positive: Tensor
    rows: Tensor
    scores: Tensor


@torch.no_grad()
def assign(
    scores: Tensor, boxes: Tensor, points: Tensor, strides: Tensor, targets: Targets, *, top: int = TOP
) -> Assignment:
    """Assign anchors to objects by what the network gives now: scores (n, A, C) after sigmoid, boxes (n, A, 4).

    `points` (A, 2) and `strides` (A, 1) as in `RawOutputs`.
    """
    n, anchors, _ = scores.shape
    objects = targets.boxes.shape[1]
    if objects == 0:
        nothing = torch.zeros((n, anchors), device=scores.device)
        return Assignment(positive=nothing.bool(), rows=nothing.long(), scores=nothing)
    of_class = scores.transpose(1, 2).gather(1, targets.class_ids[:, :, None].expand(-1, -1, anchors))
    overlaps = iou_table(targets.boxes, boxes)
    fits = of_class.pow(ALPHA) * overlaps.pow(BETA)
    allowed = _inside(targets, points, strides)
    chosen = _best(fits * allowed, allowed, min(top, anchors))
    # An anchor that several objects want goes to the one that it overlaps most.
    owner = (overlaps + _EPS).mul(chosen).max(dim=1)
    rows = owner.indices
    chosen &= torch.arange(objects, device=rows.device)[None, :, None] == rows[:, None]
    fits = fits * chosen
    best_fit = fits.amax(dim=2, keepdim=True)
    best_overlap = (overlaps * chosen).amax(dim=2, keepdim=True)
    wanted = (fits / (best_fit + _EPS) * best_overlap).amax(dim=1)
    return Assignment(positive=chosen.any(dim=1), rows=rows, scores=wanted)


def _inside(targets: Targets, points: Tensor, strides: Tensor) -> Tensor:
    """(n, G, A): whether an anchor may show an object."""
    boxes = targets.boxes[:, :, None]
    inside = ((points > boxes[..., :2]) & (points < boxes[..., 2:])).all(dim=3)
    middles = (targets.boxes[..., :2] + targets.boxes[..., 2:]) / 2
    apart = (points - middles[:, :, None]).square().sum(dim=3) + (strides[:, 0] - strides.min()) * 1e6
    nearest = torch.zeros_like(inside).scatter_(2, apart.argmin(dim=2, keepdim=True), value=True)
    real = (targets.weights > 0.0)[:, :, None]
    return torch.where(inside.any(dim=2, keepdim=True), inside, nearest) & real


def _best(fits: Tensor, allowed: Tensor, top: int) -> Tensor:
    """(n, G, A): the `top` anchors of each object that suit it best, of those that are allowed."""
    found = (fits + allowed * _EPS).topk(top, dim=2)
    chosen = torch.zeros_like(allowed).scatter_(2, found.indices, value=True)
    return chosen & allowed
