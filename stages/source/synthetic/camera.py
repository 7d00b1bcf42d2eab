"""The synthetic camera's eye: a pinhole over the street, and the light that falls on it.

World: metres, x along the street, y up, z across it, away from the camera. Picture: pixels, origin at the top left
corner of the top left pixel. Canvas: the picture enlarged by `canvas_scale`, in the fixed point that cv2 draws with.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
Colour = tuple[int, int, int]
"""(blue, green, red), 0 to 255."""

SHIFT = 4
"""Fractional bits of canvas coordinates."""

_NEAREST_M = 0.4
_FAR_PX = 30000.0


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A pinhole at `position`, `rotation` rows being right, down and forward."""

    size_wh: tuple[int, int]
    canvas_scale: int
    focal_px: float
    position: F64
    rotation: F64

    def project(self, world: npt.NDArray[Any]) -> tuple[F64, F64]:
        """World points (..., 3) to picture pixels (..., 2) and depth (...,) in metres.

        Points behind the camera come out far outside the picture.
        """
        seen = (world - self.position) @ self.rotation.T
        depth = np.maximum(seen[..., 2], _NEAREST_M)
        xy = seen[..., :2] * (self.focal_px / depth)[..., None]
        xy += (self.size_wh[0] / 2, self.size_wh[1] / 2)
        return xy, depth

    def canvas(self, xy: F64) -> I32:
        """Picture pixels to the canvas's fixed point, where whole numbers are the centres of pixels."""
        scale = self.canvas_scale * (1 << SHIFT)
        fixed = np.clip(xy, -_FAR_PX, _FAR_PX) * scale - (1 << (SHIFT - 1))
        rounded: I32 = np.rint(fixed).astype(np.int32)
        return rounded

    def canvas_pixels(self, world: npt.ArrayLike) -> F64:
        """World points to canvas pixels, not rounded."""
        return self.project(np.asarray(world, np.float64))[0] * self.canvas_scale

    def ground_view(self, z: float) -> tuple[float, float]:
        """The x at which the line z = const on the ground (metres) enters and leaves the picture's width."""
        half = self.size_wh[0] / 2 / self.focal_px
        yaw = math.atan2(self.rotation[2, 0], self.rotation[2, 2])
        spread = math.atan(half)
        far = min(yaw + spread, math.radians(72.0))
        return math.tan(yaw - spread) * z + self.position[0], math.tan(far) * z + self.position[0]


def street_camera(size_wh: tuple[int, int], canvas_scale: int) -> Camera:
    """A camera on a lamp post, looking across the street and along it."""
    yaw, pitch = math.radians(23.0), math.radians(10.0)
    forward = np.array([math.sin(yaw) * math.cos(pitch), -math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
    right = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
    down = np.cross(right, forward)
    focal = 0.92 * max(size_wh[0], size_wh[1] * 16 / 9)
    if size_wh[1] > size_wh[0]:
        focal = 0.92 * size_wh[1]
    return Camera(size_wh, canvas_scale, focal, np.array([0.0, 3.5, 0.0]), np.stack([right, down, forward]))


@functools.lru_cache(maxsize=8192)
def tint(colour: Colour, factor: float) -> Colour:
    """The colour, `factor` times as bright."""
    return (
        min(255, max(0, round(colour[0] * factor))),
        min(255, max(0, round(colour[1] * factor))),
        min(255, max(0, round(colour[2] * factor))),
    )


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of `other` in `one`."""
    blue, green, red = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return (blue, green, red)
