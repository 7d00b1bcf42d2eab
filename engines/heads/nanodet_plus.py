"""NanoDet-Plus: one array (batch, A, C + 32), the grids of strides 8, 16, 32, 64 one after the other.

Columns: C class scores (sigmoid already applied), then four times 8 logits: the distances to left, top, right and
bottom are the expectations over 0..7 of their softmax, in strides from the cell's upper left corner.
Source: RangiLyu/nanodet; the distribution is that of Li et al., Generalized Focal Loss, 2020 (arXiv 2006.04388).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engines.engine import Outputs
from engines.heads.candidates import Candidates, Labels, choose
from engines.heads.grid import anchor_points
from engines.heads.head import Shape, check_outputs, sole_output
from engines.spec import ModelSpec

STRIDES = (8, 16, 32, 64)
BINS = 8

_STEPS = np.arange(BINS, dtype=np.float32)


class NanoDetPlusHead:
    needs_nms = True

    def __init__(self, spec: ModelSpec, *, labels: Labels = "best") -> None:
        self._spec = spec
        self._labels = labels
        cells, self._strides = anchor_points(spec.input.size, STRIDES)
        self._points = cells * self._strides

    def check(self, shapes: Mapping[str, Shape]) -> None:
        check_outputs(self._spec, shapes, {"": (-1, len(self._points), len(self._spec.classes) + 4 * BINS)})

    def decode(self, outputs: Outputs, index: int, score: float) -> Candidates:
        raw = sole_output(outputs, index)
        count = len(self._spec.classes)
        anchors, classes, values = choose(raw[:, :count], score, self._labels)
        logits = raw[anchors, count:].reshape(-1, 4, BINS)
        # Garbage may be infinite; what is not finite afterwards is dropped.
        with np.errstate(over="ignore", invalid="ignore"):
            weights = np.exp(logits - logits.max(axis=2, keepdims=True))
            distances = (weights @ _STEPS) / weights.sum(axis=2) * self._strides[anchors]
            points = self._points[anchors]
            xyxy_px = np.concatenate([points - distances[:, :2], points + distances[:, 2:]], axis=1)
        return Candidates.of(xyxy_px, values, classes)
