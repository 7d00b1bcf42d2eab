"""What an ONNX detector's outputs say at every anchor, undecided: no threshold, no suppression.

The heads are those of `engines.heads`, here for all rows. At equal input size the cells of strides 8, 16 and 32 are
the student's anchors, in the same order; NanoDet-Plus's fourth grid, stride 64, is given to the four cells of stride 32
under each of its cells, where it is the surer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.heads.grid import anchor_points
from engines.spec import ModelSpec
from engines.types import F32, SizeWH
from engines.yolo_nas.variants import STRIDES
from vedette.errors import ModelError

NANODET_STRIDES = (*STRIDES, 64)
NANODET_BINS = 8


def dense(spec: ModelSpec, outputs: Mapping[str, npt.NDArray[Any]]) -> tuple[F32, F32]:
    """Scores (A, classes) and boxes (A, 4) in input pixels at every anchor of strides 8, 16, 32. Raises ModelError."""
    size_wh = spec.input.size
    if spec.head == "yolo_nas":
        return outputs["scores"][0], outputs["boxes"][0]
    (raw,) = (output[0] for output in outputs.values())
    if spec.head == "yolov8":
        halves = raw[2:4].T / 2
        return np.ascontiguousarray(raw[4:].T), np.concatenate([raw[:2].T - halves, raw[:2].T + halves], axis=1)
    if spec.head == "yolox":
        cells, strides = anchor_points(size_wh, STRIDES)
        centres, halves = (raw[:, :2] + cells) * strides, np.exp(raw[:, 2:4].clip(max=8.0)) * (strides / 2)
        return raw[:, 5:] * raw[:, 4:5], np.concatenate([centres - halves, centres + halves], axis=1)
    if spec.head == "nanodet_plus":
        return _nanodet(raw, len(spec.classes), size_wh)
    raise says_nothing(spec)


def says_nothing(spec: ModelSpec) -> ModelError:
    """What to raise for a head that decodes itself."""
    msg = f"a teacher with head {spec.head} says nothing at every anchor"
    return ModelError(msg, hint="use one of yolox, nanodet_plus, yolo_nas, yolov8; others can make pseudo-labels")


def coarse_cells(size_wh: SizeWH, first: int) -> npt.NDArray[np.int64]:
    """Of each cell of stride 32 the row of the cell of stride 64 over it, if those begin at row `first`."""
    columns, rows = size_wh[0] // 32, size_wh[1] // 32
    y, x = np.divmod(np.arange(rows * columns, dtype=np.int64), columns)
    return np.asarray(first + (y // 2) * -(-columns // 2) + x // 2, np.int64)


def _nanodet(raw: F32, classes: int, size_wh: SizeWH) -> tuple[F32, F32]:
    cells, strides = anchor_points(size_wh, NANODET_STRIDES)
    logits = raw[:, classes:].reshape(-1, 4, NANODET_BINS)
    shares = np.exp(logits - logits.max(axis=2, keepdims=True))
    sides = (shares @ np.arange(NANODET_BINS, dtype=np.float32)) / shares.sum(axis=2) * strides
    points = cells * strides
    boxes = np.concatenate([points - sides[:, :2], points + sides[:, 2:]], axis=1)
    scores = raw[:, :classes]
    first = int((strides[:, 0] < 64).sum())
    above = coarse_cells(size_wh, first)
    here = np.arange(first - len(above), first)
    surer = scores[above].max(axis=1) > scores[here].max(axis=1)
    scores, boxes = scores[:first].copy(), boxes.copy()
    scores[here[surer]] = raw[above[surer], :classes]
    boxes[here[surer]] = boxes[above[surer]]
    return scores, boxes[:first]
