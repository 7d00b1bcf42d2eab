"""How far two engines agree on what they show: which boxes of one are found again by the other.

A box is found again by one of the same class with an IoU of at least 0.75 (DESIGN.md, INT8), one for one, the best
overlaps first. No labels are needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from engines.datasets.dataset import F64
from engines.types import F32, Detections
from engines.validate.predictions import Predictions

FOUND_IOU = 0.75
SCORE_SLACK = 0.05
"""How far below the threshold a box may be to count as found nearby: twice the mean change of scores that INT8 makes of
the seed (0.022), half of which would else cross the threshold where they lie close to it."""


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How two engines agree. Everything in pairs is of the first and the second.

    `boxes`: how many each shows; `found_again`: which part of the first's boxes the second shows too, and the other way
    round, None where there is no box to be found; `found_near`: the same if the other may be less sure, by `slack`
    below the threshold. Of the pairs that both show: the mean and the largest distance of sides in pixels of the
    picture, and of scores.
    """

    images: int
    iou: float
    slack: float
    boxes: tuple[int, int]
    pairs: int
    found_again: tuple[float | None, float | None]
    found_near: tuple[float | None, float | None]
    side_px: float | None
    side_px_max: float | None
    score: float | None
    score_max: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Boxes that were found by both: rows of the first and of the second."""

    first: np.ndarray[tuple[int], np.dtype[np.intp]]
    second: np.ndarray[tuple[int], np.dtype[np.intp]]

    def __len__(self) -> int:
        return len(self.first)


def agreement(
    first: Predictions, second: Predictions, *, iou: float = FOUND_IOU, slack: float = SCORE_SLACK
) -> Agreement:
    """Compare what two engines show in the same images, in the same classes. `slack` is at most `REACH`."""
    if first.classes != second.classes or len(first.found) != len(second.found):
        msg = "expected predictions of the same images in the same classes"
        raise ValueError(msg)
    both = [
        (one, other)
        for one, other in zip(first.found, second.found, strict=True)
        if one.problem is None and other.problem is None
    ]
    sides: list[F32] = []
    scores: list[F32] = []
    near = [0, 0]
    for a, b in both:
        one, other = a.shown, b.shown
        pairs = pair_up(one, other, iou=iou)
        sides.append(np.abs(one.xyxy_px[pairs.first] - other.xyxy_px[pairs.second]).ravel())
        scores.append(np.abs(one.scores[pairs.first] - other.scores[pairs.second]))
        pairs = pair_up(a.near, b.near, iou=iou)
        one_scores, other_scores = a.near.scores[pairs.first], b.near.scores[pairs.second]
        near[0] += int(((one_scores >= first.shown_score) & (other_scores >= second.shown_score - slack)).sum())
        near[1] += int(((other_scores >= second.shown_score) & (one_scores >= first.shown_score - slack)).sum())
    side = np.concatenate([*sides, np.zeros(0, np.float32)])
    score = np.concatenate([*scores, np.zeros(0, np.float32)])
    boxes = (sum(len(one.shown) for one, _ in both), sum(len(other.shown) for _, other in both))
    return Agreement(
        images=len(both),
        iou=iou,
        slack=slack,
        boxes=boxes,
        pairs=len(score),
        found_again=(_part(len(score), boxes[0]), _part(len(score), boxes[1])),
        found_near=(_part(near[0], boxes[0]), _part(near[1], boxes[1])),
        side_px=float(side.mean()) if len(side) else None,
        side_px_max=float(side.max()) if len(side) else None,
        score=float(score.mean()) if len(score) else None,
        score_max=float(score.max()) if len(score) else None,
    )


def _part(count: int, of: int) -> float | None:
    return count / of if of else None


def pair_up(one: Detections, other: Detections, *, iou: float) -> Pairs:
    """Boxes of one class that overlap by at least `iou`, one for one, the best overlaps first."""
    overlaps = iou_table(one.xyxy_px, other.xyxy_px)
    overlaps[one.class_ids[:, None] != other.class_ids[None, :]] = 0.0
    rows, columns = np.nonzero(overlaps >= iou)
    best = np.argsort(-overlaps[rows, columns], kind="stable")
    first: list[int] = []
    second: list[int] = []
    for row, column in zip(rows[best].tolist(), columns[best].tolist(), strict=True):
        if row not in first and column not in second:
            first.append(row)
            second.append(column)
    return Pairs(first=np.array(first, np.intp), second=np.array(second, np.intp))


def iou_table(one: F32, other: F32) -> F64:
    """IoU of each of `one` (N, 4) with each of `other` (M, 4), xyxy: (N, M) float64."""
    a, b = one.astype(np.float64)[:, None, :], other.astype(np.float64)[None, :, :]
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0.0, None)
    inter = sides[..., 0] * sides[..., 1]
    areas = [np.prod(np.clip(box[..., 2:] - box[..., :2], 0.0, None), axis=-1) for box in (a, b)]
    union = areas[0] + areas[1] - inter
    table: F64 = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0.0)
    return table
