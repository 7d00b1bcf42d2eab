"""The exact truth about a frame: what is where, and how much of it can be seen.

Taken from the very shapes that the picture is painted from: each object is drawn as a mask of its own, and all of them,
with everything that stands in the way, into one map of who is in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.source.synthetic.props import Layer
from stages.source.synthetic.scene import Drawing, Kind, Scene
from stages.source.synthetic.shapes import U8, extent, paint_mask

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueObject:
    """One object in one frame; boxes are (x1, y1, x2, y2) in picture pixels.

    `full_xyxy_px`: of the whole object, hidden parts and those outside the picture included; `xyxy_px`: the same,
    clipped to the picture; `visible_xyxy_px`: of what can be seen, None if nothing can. `visible`: the share of the
    object's pixels that can be seen; `truncated`: the share that lies outside the picture; what is left is hidden.
    `rider`: for a bike the id of who rides it, else None. `parked`: it stands, and always will.
    """

    id: int
    kind: Kind
    full_xyxy_px: Box
    xyxy_px: Box
    visible_xyxy_px: Box | None
    visible: float
    truncated: float
    area_px: float
    rider: int | None = None
    parked: bool = False

    @property
    def occluded(self) -> float:
        """The share of the object's pixels that something else hides."""
        return max(0.0, 1.0 - self.visible - self.truncated)


def true_objects(scene: Scene, frame: int) -> tuple[TrueObject, ...]:
    """Everything of which any part lies within the picture, in the order of ids. Far slower than rendering."""
    stage = scene.stage(frame)
    scale = scene.camera.canvas_scale
    width, height = (side * scale for side in scene.camera.size_wh)
    front = np.zeros((height, width), np.uint8)
    layers = list(scene.backdrop.layers)
    inside = [drawing for drawing in stage.drawings if _touches(extent(drawing.shapes), width, height)]
    for number, drawing in enumerate(inside, start=1):
        while layers and layers[0].z > drawing.z:
            _hide(front, layers.pop(0))
        paint_mask(front, drawing.shapes, number)
    for layer in layers:
        _hide(front, layer)
    found = []
    for number, drawing in enumerate(inside, start=1):
        truth = _measure(scene, drawing, front == number, scale)
        if truth is not None:
            found.append(truth)
    return tuple(sorted(found, key=lambda truth: truth.id))


def _touches(box: Box, width: int, height: int) -> bool:
    return box[0] < width and box[1] < height and box[2] > 0 and box[3] > 0


def _hide(front: U8, layer: Layer) -> None:
    tall, wide = layer.mask.shape
    part = front[layer.y : layer.y + tall, layer.x : layer.x + wide]
    part[layer.mask > 0] = 0


def _measure(
    scene: Scene, drawing: Drawing, seen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], scale: int
) -> TrueObject | None:
    full = extent(drawing.shapes)
    height, width = seen.shape
    x0, y0 = int(np.floor(full[0])) - 2, int(np.floor(full[1])) - 2
    whole = np.zeros((int(np.ceil(full[3])) + 3 - y0, int(np.ceil(full[2])) + 3 - x0), np.uint8)
    paint_mask(whole, drawing.shapes, 1, (-x0, -y0))
    # clipped by the picture's edge, cv2 may set other pixels than in the open: count each where it is drawn
    own = np.zeros((height, width), np.uint8)
    paint_mask(own, drawing.shapes, 1)
    in_picture = int(np.count_nonzero(own))
    if in_picture == 0:
        return None
    within = whole[max(0, -y0) : max(0, height - y0), max(0, -x0) : max(0, width - x0)]
    total = in_picture + int(np.count_nonzero(whole)) - int(np.count_nonzero(within))
    bounds = _bounds(whole > 0)
    assert bounds is not None
    full_px = tuple((value + offset) / scale for value, offset in zip(bounds, (x0, y0, x0, y0), strict=True))
    visible_count = int(np.count_nonzero(seen))
    visible_bounds = _bounds(seen)
    wide, tall = scene.camera.size_wh
    box = (max(0.0, full_px[0]), max(0.0, full_px[1]), min(float(wide), full_px[2]), min(float(tall), full_px[3]))
    return TrueObject(
        id=drawing.id,
        kind=drawing.kind,
        full_xyxy_px=(full_px[0], full_px[1], full_px[2], full_px[3]),
        xyxy_px=box,
        visible_xyxy_px=None if visible_bounds is None else _scaled(visible_bounds, scale),
        visible=visible_count / total,
        truncated=1.0 - in_picture / total,
        area_px=visible_count / (scale * scale),
        rider=drawing.rider,
        parked=any(drawing.id == parked[0] for parked in scene.traffic.parked),
    )


def _scaled(bounds: tuple[int, int, int, int], scale: int) -> Box:
    return (bounds[0] / scale, bounds[1] / scale, bounds[2] / scale, bounds[3] / scale)


def _bounds(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> tuple[int, int, int, int] | None:
    """(x1, y1, x2, y2) around the set pixels, the last two just beyond."""
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def by_id(objects: Sequence[TrueObject]) -> dict[int, TrueObject]:
    return {truth.id: truth for truth in objects}
