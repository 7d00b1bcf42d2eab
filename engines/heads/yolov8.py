"""The layout of YOLOv8, YOLO11 and kin: one array (batch, 4 + C, A).

Rows: centre x and y, width and height in input pixels, then class scores (sigmoid already applied).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engines.engine import Outputs
from engines.heads.candidates import Candidates, Labels, choose
from engines.heads.head import Shape, check_outputs, sole_output
from engines.spec import ModelSpec


class Yolov8Head:
    needs_nms = True

    def __init__(self, spec: ModelSpec, *, labels: Labels = "best") -> None:
        self._spec = spec
        self._labels = labels

    def check(self, shapes: Mapping[str, Shape]) -> None:
        check_outputs(self._spec, shapes, {"": (-1, 4 + len(self._spec.classes), -1)})

    def decode(self, outputs: Outputs, index: int, score: float) -> Candidates:
        raw = sole_output(outputs, index)
        anchors = np.flatnonzero((raw[4:] >= score).any(axis=0))
        found = raw[:, anchors].T
        rows, classes, values = choose(found[:, 4:], score, self._labels)
        centres, halves = found[rows, 0:2], found[rows, 2:4] * np.float32(0.5)
        # Garbage may overflow; what is not finite is dropped.
        with np.errstate(over="ignore", invalid="ignore"):
            xyxy_px = np.concatenate([centres - halves, centres + halves], axis=1)
        return Candidates.of(xyxy_px, values, classes)
