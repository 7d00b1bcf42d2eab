"""How far a detection is from a track: overlap, centres and sizes in one number below 1 where they may be the same.

In:  detections (D, 4) and predicted boxes (T, 4) as corners in source pixels, the reach of each prediction in pixels,
     and the class group of each.
Out: distances (D, T) float64; 1 or more (`NO_MATCH`) where they can't be the same object.
Called from `stages/track/ticks.py`, once or twice a frame; vectorised.

Overlap alone loses a walker who moves more than a width between two frames (2 to 4 frames a second); distance alone
confuses neighbours in a crowd. The centre's distance is measured in reaches: what the motion filter thinks possible
after the time that has passed, so the gate opens with the time and closes as the speed gets known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

NO_MATCH = 2.0

# What an association may be, in standard deviations of the predicted place.
_GATE_SD = 3.0
# Boxes that overlap this much may belong together wherever the centre was expected: a person cut by the picture's edge
# grows by more than the motion model thinks possible.
_SURE_IOU = 0.3
# Without overlap, sizes (square root of the area) that differ by more than this factor are two different things.
_LOG_SIZE_FACTOR = math.log(1.8)
_IOU_WEIGHT, _CENTRE_WEIGHT, _SIZE_WEIGHT = 0.3, 0.5, 0.2

# Names that detectors mix up from frame to frame for one and the same object; any other class stands alone.
_MIXED_UP = (
    frozenset({"car", "bus", "truck", "van", "train", "vehicle"}),
    frozenset({"bicycle", "motorcycle", "bike", "motorbike"}),
    frozenset({"cat", "dog"}),
)


def class_groups(classes: Sequence[str]) -> tuple[int, ...]:
    """For each class the lowest class id among those that it is mixed up with; detections match within a group only."""
    groups = []
    for class_id, name in enumerate(classes):
        family = next((family for family in _MIXED_UP if name.lower() in family), frozenset({name.lower()}))
        groups.append(next(i for i in range(class_id + 1) if classes[i].lower() in family))
    return tuple(groups)


def pairwise_iou(a: F64, b: F64) -> F64:
    """Intersection over union of corners (N, 4) and (M, 4), as (N, M); 0 for boxes without area."""
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    common = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    union = area_a[:, None] + area_b[None, :] - common
    overlap: F64 = common / np.maximum(union, 1e-9)
    return overlap


def distances(
    seen: F64, predicted: F64, reach_px: F64, seen_groups: npt.NDArray[Any], track_groups: npt.NDArray[Any]
) -> F64:
    """The distance of every detection (rows) to every track (columns); below 1 where they may be one object."""
    iou = pairwise_iou(seen, predicted)
    apart = (seen[:, None, :2] + seen[:, None, 2:]) - (predicted[:, :2] + predicted[:, 2:])
    across = np.hypot(apart[..., 0], apart[..., 1]) / (2.0 * _GATE_SD * reach_px)
    size = np.abs(_log_size(seen)[:, None] - _log_size(predicted)) / _LOG_SIZE_FACTOR
    possible = (iou > 0.0) | (size < 1.0)
    possible &= across < 1.0
    possible |= iou >= _SURE_IOU
    possible &= seen_groups[:, None] == track_groups
    together = _IOU_WEIGHT * (1.0 - iou)
    together += _CENTRE_WEIGHT * np.minimum(across, 1.0)
    together += _SIZE_WEIGHT * np.minimum(size, 1.0)
    np.minimum(together, 0.999, out=together)
    return np.where(possible, together, NO_MATCH)


def match(table: F64, limit: float) -> tuple[list[int], list[int]]:
    """Pair rows with columns, the smallest distance first, ties by row and then column; only what is below `limit`."""
    flat = table.ravel()
    (below,) = np.nonzero(flat < limit)
    columns = table.shape[1]
    rows_taken: dict[int, int] = {}
    columns_taken: set[int] = set()
    for index in below[np.argsort(flat[below], kind="stable")].tolist():
        row, column = divmod(index, columns)
        if row not in rows_taken and column not in columns_taken:
            rows_taken[row] = column
            columns_taken.add(column)
    return list(rows_taken), list(rows_taken.values())


def _log_size(boxes: F64) -> F64:
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    log_size: F64 = 0.5 * np.log(np.maximum(area, 1.0))
    return log_size
