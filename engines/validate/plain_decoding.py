"""From a network's outputs to boxes, plainly: one anchor after the other in Python's own floats, NMS in two loops.

The reference of `vedette model parity`. It reads like the definitions of the heads (engines/heads) and shares no code
with them; it is a thousand times slower.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from engines.picture import Placement
from engines.spec import ModelSpec
from engines.types import SizeWH

Box = tuple[float, float, float, float]
Anchor = tuple[Box, list[float]]
"""A box in input pixels and the score of each class."""


@dataclass(frozen=True, slots=True)
class PlainBox:
    """x1, y1, x2, y2 with the best class."""

    xyxy_px: Box
    score: float
    class_id: int


def plain_candidates(spec: ModelSpec, outputs: Mapping[str, npt.NDArray[Any]], score: float) -> list[PlainBox]:
    """Boxes of the first picture, in input pixels, whose best class has at least `score`, in the network's order."""
    arrays = {name: output[0].astype(float).tolist() for name, output in outputs.items()}
    if spec.head == "yolo_nas":
        return _chosen(zip(map(_box, arrays["boxes"]), arrays["scores"], strict=True), score)
    (rows,) = arrays.values()
    if spec.head == "end2end":
        return [PlainBox(_box(row), row[4], int(row[5])) for row in rows if row[4] >= score and row[4] > 0.0]
    decode = {"yolox": _yolox, "nanodet_plus": _nanodet_plus, "yolov8": _yolov8}[spec.head]
    return _chosen(decode(rows, spec), score)


def _chosen(anchors: Iterator[Anchor], score: float) -> list[PlainBox]:
    found = []
    for box, scores in anchors:
        best = max(scores)
        if best >= score and all(map(math.isfinite, box)):
            found.append(PlainBox(box, min(best, 1.0), scores.index(best)))
    return found


def _box(row: Sequence[float]) -> Box:
    return (row[0], row[1], row[2], row[3])


def _centred(x: float, y: float, width: float, height: float) -> Box:
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _cells(size_wh: SizeWH, strides: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Column, row and stride of every anchor."""
    width, height = size_wh
    for stride in strides:
        for row in range(math.ceil(height / stride)):
            for column in range(math.ceil(width / stride)):
                yield column, row, stride


def _yolox(rows: Sequence[Sequence[float]], spec: ModelSpec) -> Iterator[Anchor]:
    for values, (column, row, stride) in zip(rows, _cells(spec.input.size, (8, 16, 32)), strict=True):
        x, y, width, height, objectness, *classes = values
        with_stride = ((x + column) * stride, (y + row) * stride, _exp(width) * stride, _exp(height) * stride)
        yield _centred(*with_stride), [objectness * one for one in classes]


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _nanodet_plus(rows: Sequence[Sequence[float]], spec: ModelSpec) -> Iterator[Anchor]:
    count = len(spec.classes)
    for values, (column, row, stride) in zip(rows, _cells(spec.input.size, (8, 16, 32, 64)), strict=True):
        left, top, right, bottom = (
            stride * _expectation(values[count + 8 * side : count + 8 * side + 8]) for side in range(4)
        )
        x, y = column * stride, row * stride
        yield (x - left, y - top, x + right, y + bottom), list(values[:count])


def _expectation(logits: Sequence[float]) -> float:
    """Of 0, 1, 2, ... under their softmax."""
    largest = max(logits)
    weights = [math.exp(logit - largest) for logit in logits]
    return sum(step * weight for step, weight in enumerate(weights)) / sum(weights)


def _yolov8(rows: Sequence[Sequence[float]], spec: ModelSpec) -> Iterator[Anchor]:
    for x, y, width, height, *scores in zip(*rows, strict=True):
        yield _centred(x, y, width, height), scores


def plain_nms(boxes: Sequence[PlainBox], iou: float, most: int) -> list[int]:
    """Which boxes stay, the highest score first: no better one of their class overlaps them by more than `iou`."""
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda index: (-boxes[index].score, index)):
        box = boxes[index]
        same = (boxes[other] for other in kept if boxes[other].class_id == box.class_id)
        if not any(plain_iou(other.xyxy_px, box.xyxy_px) > iou for other in same):
            kept.append(index)
    return kept[:most]


def plain_iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)


def plain_to_source(box: Box, placement: Placement) -> Box:
    """A box in input pixels as one in source pixels, clipped to the picture."""
    sides = []
    for index, value in enumerate(box):
        axis = index % 2
        scale = placement.inner_wh[axis] / placement.source_wh[axis]
        sides.append(min(max((value - placement.offset_xy[axis]) / scale, 0.0), float(placement.source_wh[axis])))
    return _box(sides)


def plain_boxes(
    candidates: Sequence[PlainBox], placement: Placement, *, iou: float | None, most: int
) -> list[PlainBox]:
    """What is left of candidates, in source pixels; `iou` None for networks that leave one box an object."""
    moved = [plain_to_source(one.xyxy_px, placement) for one in candidates]
    there = [index for index, (x1, y1, x2, y2) in enumerate(moved) if x2 > x1 and y2 > y1]
    some = [candidates[index] for index in there]
    if iou is None:
        kept = sorted(range(len(some)), key=lambda index: (-some[index].score, index))[:most]
    else:
        kept = plain_nms(some, iou, most)
    return [PlainBox(moved[there[index]], some[index].score, some[index].class_id) for index in kept]
