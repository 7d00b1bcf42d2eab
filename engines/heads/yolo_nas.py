"""YOLO-NAS as Vedette and super-gradients export it: the boxes are decoded in the network.

`boxes` (batch, A, 4): x1, y1, x2, y2 in input pixels; `scores` (batch, A, C): sigmoid already applied.
"""

from __future__ import annotations

from collections.abc import Mapping

from engines.engine import Outputs
from engines.heads.candidates import Candidates, Labels, choose
from engines.heads.head import Shape, as_float, check_outputs
from engines.spec import ModelSpec


class YoloNasHead:
    needs_nms = True

    def __init__(self, spec: ModelSpec, *, labels: Labels = "best") -> None:
        self._spec = spec
        self._labels = labels

    def check(self, shapes: Mapping[str, Shape]) -> None:
        # The two must agree on the number of anchors, if either says it.
        anchors = next((shape[1] for shape in shapes.values() if len(shape) == 3 and shape[1] > 0), -1)
        expected = {"boxes": (-1, anchors, 4), "scores": (-1, anchors, len(self._spec.classes))}
        check_outputs(self._spec, shapes, expected)

    def decode(self, outputs: Outputs, index: int, score: float) -> Candidates:
        anchors, classes, values = choose(as_float(outputs["scores"][index]), score, self._labels)
        return Candidates.of(as_float(outputs["boxes"][index])[anchors], values, classes)
