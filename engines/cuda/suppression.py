"""From a network's outputs to detections on the device: the records and launches of `nms.cu`, and its way back.

In:  addresses of `boxes` (n, A, 4) and `scores` (n, A, C), float32 or float16 both, as networks of the head `yolo_nas`
     have them, and each picture's Placement.
Out: one block of memory for the batch, `found_type(most)` a picture, copied to the host at once; `detections` of it.
The result is that of YoloNasHead.decode and `leave_best`, to the last bit; the classes are the best of each box.
Compile with `FLAGS`. Device memory is the caller's; `scratch_bytes` says how much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engines.cuda.launch import Launch
from engines.picture import Placement
from engines.types import Detections

OutputType = Literal["float16", "float32"]

FLAGS = ("-fmad=false",)
"""The intrinsics of nms.cu are never fused anyway; this keeps the next line that somebody writes there right, too."""

FOUND_OUTPUT = "found"
"""What an engine that suppresses on its device calls its one output: (n,) `found_type(most)`."""

TILE = 64
"""Anchors a block filters (`TILE` of nms.cu)."""

RULES = np.dtype(
    [
        ("iou", np.float64), ("wanted", np.uint64),
        ("anchors", np.int32), ("classes", np.int32), ("most", np.int32), ("score", np.float32),
    ],
    align=True,
)  # fmt: skip
"""`struct Rules` of nms.cu."""

PLACED = np.dtype([("scale", np.float64, 2), ("offset", np.float64, 2), ("limit", np.float64, 2)])
"""`struct Placed` of nms.cu."""

FOUND = np.dtype([("xyxy_px", np.float32, 4), ("score", np.float32), ("class_id", np.int32), ("anchor", np.int32)])
"""`struct Found` of nms.cu: a box in source pixels, and which anchor it is from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Where things lie on the device. `rules` (1,) RULES, `pictures` one int32 with how many there are, `placed` (n,)
    PLACED; scratch: `counts` (n,) int32, `keys` (n, A) uint64, `candidates` and `ordered` (n, A) FOUND, `kept`
    (n, most) int32; `out` (n,) `found_type(most)`.
    """

    rules: int
    pictures: int
    placed: int
    boxes: int
    scores: int
    counts: int
    keys: int
    candidates: int
    ordered: int
    kept: int
    out: int


def scratch_bytes(pictures: int, anchors: int, most: int) -> dict[str, int]:
    """How many bytes each of `Memory`'s scratch fields and `out` need for so many pictures."""
    boxes = pictures * anchors
    return {
        "counts": 4 * pictures,
        "keys": 8 * boxes,
        "candidates": FOUND.itemsize * boxes,
        "ordered": FOUND.itemsize * boxes,
        "kept": 4 * pictures * most,
        "out": found_type(most).itemsize * pictures,
    }


def found_type(most: int) -> np.dtype[Any]:
    """What a picture's result is: `count`, then room for `most` FOUND."""
    return np.dtype([("count", np.int32), ("found", FOUND, (most,))])


def rules_record(
    anchors: int, classes: int, *, score: float, iou: float | None, max_objects: int, wanted: int = 0
) -> npt.NDArray[Any]:
    """(1,) RULES. `iou` None is for networks that leave one box an object themselves; `wanted` the address of one byte
    a class, 0 for those that may not stay, or 0: all may.

    Raises ValueError for what nms.cu does not compute: a score or an overlap that is no share, no room at all.
    """
    if not 0.0 <= score <= 1.0 or not (iou is None or 0.0 <= iou <= 1.0):
        msg = f"expected score and iou from 0 to 1, got {score} and {iou}"
        raise ValueError(msg)
    if min(anchors, classes, max_objects) < 1:
        msg = f"expected anchors, classes and max_objects of at least 1, got {anchors}, {classes}, {max_objects}"
        raise ValueError(msg)
    record = np.zeros(1, RULES)
    record["iou"], record["wanted"] = math.inf if iou is None else iou, wanted
    record["anchors"], record["classes"], record["most"], record["score"] = anchors, classes, max_objects, score
    return record


def placed_records(placements: Sequence[Placement]) -> npt.NDArray[Any]:
    """(n,) PLACED."""
    records = np.zeros(len(placements), PLACED)
    for record, placement in zip(records, placements, strict=True):
        record["scale"], record["offset"] = placement.scale_xy, placement.offset_xy
        record["limit"] = placement.source_wh
    return records


def suppression_launches(memory: Memory, pictures: int, anchors: int, dtype: OutputType) -> list[Launch]:
    """What is to be launched on one stream, in this order, for the first `pictures` pictures."""
    rows = -(-anchors // 128)
    return [
        Launch(
            kernel="nms_reset",
            grid=(-(-pictures // 128), 1, 1),
            block=(128, 1, 1),
            arguments=(memory.pictures, memory.counts),
        ),
        Launch(
            kernel=f"nms_filter_{dtype}",
            grid=(-(-anchors // TILE), pictures, 1),
            block=(256, 1, 1),
            arguments=(
                memory.rules,
                memory.placed,
                memory.boxes,
                memory.scores,
                memory.counts,
                memory.keys,
                memory.candidates,
            ),
        ),
        Launch(
            kernel="nms_rank",
            grid=(rows, pictures, 1),
            block=(128, 1, 1),
            arguments=(memory.rules, memory.counts, memory.keys, memory.candidates, memory.ordered),
        ),
        Launch(
            kernel="nms_suppress",
            grid=(pictures, 1, 1),
            block=(256, 1, 1),
            arguments=(memory.rules, memory.placed, memory.counts, memory.ordered, memory.kept, memory.out),
        ),
    ]


def detections(out: npt.NDArray[Any]) -> list[Detections]:
    """Each picture's detections of `out` (n,) `found_type(most)` on the host; copies."""
    every = []
    for picture in out:
        found = picture["found"][: int(picture["count"])]
        every.append(
            Detections(
                xyxy_px=found["xyxy_px"].copy(), scores=found["score"].copy(), class_ids=found["class_id"].copy()
            )
        )
    return every
