"""What the outputs of a network mean: from arrays to boxes with classes and scores, one file a family.

Decoding is written once, for every runtime. Called for every frame from the finish thread, so that a head compares
scores with the threshold first and decodes the few rows that pass.
"""

from __future__ import annotations

from engines.heads.candidates import Candidates, Labels
from engines.heads.end2end import End2EndHead
from engines.heads.head import Head
from engines.heads.nanodet_plus import NanoDetPlusHead
from engines.heads.yolo_nas import YoloNasHead
from engines.heads.yolov8 import Yolov8Head
from engines.heads.yolox import YoloxHead
from engines.spec import ModelSpec

__all__ = ["Candidates", "Head", "Labels", "build_head"]


def build_head(spec: ModelSpec, *, labels: Labels = "best") -> Head:
    """The head that the spec names. `labels` has no meaning for end-to-end networks: they choose themselves."""
    match spec.head:
        case "yolo_nas":
            return YoloNasHead(spec, labels=labels)
        case "yolox":
            return YoloxHead(spec, labels=labels)
        case "nanodet_plus":
            return NanoDetPlusHead(spec, labels=labels)
        case "yolov8":
            return Yolov8Head(spec, labels=labels)
        case "end2end":
            return End2EndHead(spec)
