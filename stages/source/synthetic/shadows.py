"""Shadows on the ground: thrown by the sun, or at night the darkness at the feet of things.

In the frame of a body: (forward, left, up) metres; in the world: (x, y, z). Shadows are shapes on the canvas, painted
into one mask by `render`.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from stages.source.synthetic import gait
from stages.source.synthetic.camera import F64, I32, Camera
from stages.source.synthetic.mesh import SUN
from stages.source.synthetic.shapes import CONVEX, Shape

_WHITE = (255, 255, 255)
_FALL_X, _FALL_Z = float(SUN[0] / SUN[1]), float(SUN[2] / SUN[1])


def thrown(world: F64) -> F64:
    """Where the sun throws the shadow of points of the world."""
    out = world.copy()
    out[..., 0] -= _FALL_X * world[..., 1]
    out[..., 2] -= _FALL_Z * world[..., 1]
    out[..., 1] = 0.0
    return out


def vehicle_outline(direction: int, length_m: float, width_m: float, height_m: float) -> F64:
    """(12, 3) in the body's frame, all on the ground: footprint, shadows of body and roof, four corners each."""
    half_l, half_w = length_m / 2, width_m / 2
    corners = np.array([(-half_l, -half_w, 0), (half_l, -half_w, 0), (half_l, half_w, 0), (-half_l, half_w, 0.0)])
    narrow = 0.55 if height_m < 1.8 else 1.0
    out = [corners]
    for up, size in ((min(0.9, height_m * 0.6), (1.0, 1.0, 0.0)), (height_m, (narrow, 0.8, 0.0))):
        out.append(corners * size - np.array([_FALL_X, _FALL_Z, 0.0]) * (up * direction))
    return np.concatenate(out)


def vehicle_shadow(outline: I32, *, night: bool) -> list[Shape]:
    """The shapes between a `vehicle_outline` as the canvas has it (12, 2)."""
    if night:
        return [(CONVEX, outline[:4], _WHITE)]
    hulls = [np.asarray(cv2.convexHull(part), np.int32)[:, 0] for part in (outline[:8], outline[4:])]
    return [(CONVEX, hull, _WHITE) for hull in hulls]


def people_shadows(camera: Camera, joints: F64, *, night: bool) -> list[Shape]:
    """The shadows of skeletons (N, JOINTS, 3) in the world."""
    if night:
        flat = joints[:, [gait.LEFT + gait.HEEL, gait.RIGHT + gait.TOE, gait.RIGHT + gait.HEEL, gait.LEFT + gait.TOE]]
        flat = flat * np.array([1.0, 0.0, 1.0])
    else:
        flat = thrown(joints)
    xy, depth = camera.project(flat)
    canvas = camera.canvas(xy)
    shapes: list[Shape] = []
    for points, unit in zip(canvas, (camera.focal_px * camera.canvas_scale / depth[:, 0]).tolist(), strict=True):
        wide = _widths(unit)
        if night:
            shapes.append((wide(0.2), points, _WHITE))
            continue
        for side in (gait.LEFT, gait.RIGHT):
            shapes.append((wide(0.12), points[_LEG + side], _WHITE))
            shapes.append((wide(0.07), points[side + gait.SHOULDER : side + gait.WRIST + 1], _WHITE))
        shapes.append((wide(0.28), points[gait.PELVIS : gait.NECK + 1], _WHITE))
        shapes.append((wide(0.17), points[gait.NECK : gait.CROWN + 1], _WHITE))
    return shapes


_LEG = np.array([gait.HIP, gait.KNEE, gait.ANKLE, gait.TOE])


def _widths(unit: float) -> Callable[[float], int]:
    return lambda metres: max(1, round(metres * unit))
