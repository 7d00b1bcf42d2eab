"""What a head finds in a network's outputs, before suppression, and how a class is chosen for a box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engines.types import F32, I32

Labels = Literal["best", "all"]
"""What a box with several classes above the threshold becomes: one candidate of the best, or one of each.

Tracking wants the best: two boxes of different classes on one object would become two tracks. "all" is what COCO's AP
is measured with.
"""

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Boxes of one picture as the network gave them, in no order.

    `xyxy_px` (N, 4) float32, network-input pixels, finite, not clipped; `scores` (N,) float32 in [0, 1]; `class_ids`
    (N,) int32. The arrays are the caller's: nothing of the engine's memory is in them.
    """

    xyxy_px: F32
    scores: F32
    class_ids: I32

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def of(cls, xyxy_px: F32, scores: F32, class_ids: npt.NDArray[np.integer[Any]]) -> Candidates:
        """Candidates without the rows that are not finite. Rounding can lift a score above 1: it is taken for 1."""
        finite = np.isfinite(xyxy_px)
        if not (finite.all() and np.isfinite(scores).all()):
            finite = finite.all(axis=1) & np.isfinite(scores)
            xyxy_px, scores, class_ids = xyxy_px[finite], scores[finite], class_ids[finite]
        return cls(
            xyxy_px=xyxy_px.astype(np.float32, copy=False),
            scores=np.minimum(scores, np.float32(1.0)),
            class_ids=class_ids.astype(np.int32, copy=False),
        )


def choose(scores: F32, score: float, labels: Labels) -> tuple[Rows, Rows, F32]:
    """(row, class, score) of the candidates in `scores` (n, C): rows ascending; of equal classes the first.

    "Above" is >= `score`, which NaN never is. One comparison over the memory as it lies, then work on the few that
    pass: a maximum by row takes ten times as long.
    """
    rows, classes = np.divmod(np.flatnonzero(scores >= score), scores.shape[1])
    values = scores[rows, classes]
    if labels == "best" and (rows[1:] == rows[:-1]).any():
        # Of each row's the best: by row, then from the highest score down; the sort is stable, so the first class wins.
        order = np.lexsort((-values, rows))
        rows, classes, values = rows[order], classes[order], values[order]
        first = np.ones(len(rows), np.bool_)
        np.not_equal(rows[1:], rows[:-1], out=first[1:])
        rows, classes, values = rows[first], classes[first], values[first]
    return rows, classes, values
