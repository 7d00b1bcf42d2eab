"""YOLOX, raw outputs: one array (batch, A, 5 + C), the grids of strides 8, 16, 32 one after the other.

Columns: centre x and y in cells from the cell's corner, logarithms of width and height in cells, objectness and class
scores (sigmoid already applied). A candidate's score is objectness times class.
Source: Ge et al., YOLOX, 2021 (arXiv 2107.08430).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engines.engine import Outputs
from engines.heads.candidates import Candidates, Labels, choose
from engines.heads.grid import anchor_points
from engines.heads.head import Shape, check_outputs, sole_output
from engines.spec import ModelSpec

STRIDES = (8, 16, 32)


class YoloxHead:
    needs_nms = True

    def __init__(self, spec: ModelSpec, *, labels: Labels = "best") -> None:
        self._spec = spec
        self._labels = labels
        self._cells, self._strides = anchor_points(spec.input.size, STRIDES)

    def check(self, shapes: Mapping[str, Shape]) -> None:
        check_outputs(self._spec, shapes, {"": (-1, len(self._cells), 5 + len(self._spec.classes))})

    def decode(self, outputs: Outputs, index: int, score: float) -> Candidates:
        raw = sole_output(outputs, index)
        # A class score is at most 1: where the objectness is below the threshold, nothing can be above it.
        anchors = np.flatnonzero(raw[:, 4] >= score)
        found = raw[anchors]
        # Garbage may overflow; what is not finite is dropped.
        with np.errstate(over="ignore", invalid="ignore"):
            rows, classes, values = choose(found[:, 5:] * found[:, 4:5], score, self._labels)
            anchors, found = anchors[rows], found[rows]
            strides = self._strides[anchors]
            centres = (found[:, 0:2] + self._cells[anchors]) * strides
            halves = np.exp(found[:, 2:4]) * (strides * np.float32(0.5))
            xyxy_px = np.concatenate([centres - halves, centres + halves], axis=1)
        return Candidates.of(xyxy_px, values, classes)
