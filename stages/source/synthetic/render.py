"""From a scene to a picture like a decoder's: paint, shrink, add lamps and the sensor's noise, in YUV 4:2:0."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from engines.types import SizeWH, YuvMatrix, YuvPlanes
from stages.source.synthetic.props import Layer
from stages.source.synthetic.scene import Headlamps, Scene
from stages.source.synthetic.shapes import U8, Shape, paint

_NOISE_MARGIN = 64
_MIX = 0x9E3779B97F4A7C15


class SyntheticPicture:
    """A rendered picture as planes, BT.601 limited range, as a decoder would have left it."""

    __slots__ = ("_i420", "_size_wh")

    def __init__(self, i420: U8, size_wh: SizeWH) -> None:
        i420.flags.writeable = False
        self._i420, self._size_wh = i420, size_wh

    @property
    def size_wh(self) -> SizeWH:
        return self._size_wh

    @property
    def i420(self) -> U8:
        """(H * 3 / 2, W) uint8, read-only: Y, then U and V at half size."""
        return self._i420

    def planes(self) -> YuvPlanes:
        width, height = self._size_wh
        chroma = self._i420[height:].reshape(2, height // 2, width // 2)
        return YuvPlanes(y=self._i420[:height], u=chroma[0], v=chroma[1], matrix=YuvMatrix.BT601, full_range=False)

    def release(self) -> None:
        """Nothing: the planes are this object's own, and who draws into it comes later."""

    def bgr(self) -> U8:
        """The picture as (H, W, 3) uint8 BGR, for people to look at."""
        return np.asarray(cv2.cvtColor(self._i420, cv2.COLOR_YUV2BGR_I420), np.uint8)


class Renderer:
    """Renders any frame of a scene; keeps its canvas between frames. Used by one thread."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._backdrop = scene.backdrop
        self._canvas = np.empty_like(self._backdrop.lit)
        self._mask = np.zeros(self._canvas.shape[:2], np.uint8)
        width, height = scene.camera.size_wh
        far_ground = scene.camera.project(np.array([0.0, 0.0, 1e6]))[0]
        self._horizon = min(max(0, int(far_ground[1])), height) * scene.camera.canvas_scale
        self._small = np.empty((height, width, 3), np.uint8)
        options = scene.options
        rng = np.random.Generator(np.random.PCG64([options.seed, 99]))
        strength = options.noise * (3.6 if scene.night else 2.0)
        self._noise = _noise_bank(rng, width, height * 3 // 2, strength) if options.noise > 0 else None
        self._flare = _flare(65)

    def render(self, frame: int) -> SyntheticPicture:
        """The picture of frame number `frame`; the same number gives the same bytes."""
        width, height = self.scene.camera.size_wh
        i420 = np.empty((height * 3 // 2, width), np.uint8)
        cv2.cvtColor(self.paint(frame), cv2.COLOR_BGR2YUV_I420, dst=i420)
        if self._noise is not None:
            # a place in the bank that looks random and follows from the frame's number
            spot = ((frame + 1) * _MIX + self.scene.options.seed * 0x2545F4914F6CDD1D) & 0xFFFFFFFFFFFFFFFF
            x, y = (spot >> 40) % _NOISE_MARGIN, (spot >> 50) % _NOISE_MARGIN
            tile = self._noise[y : y + i420.shape[0], x : x + width]
            cv2.add(i420, tile, dst=i420, dtype=cv2.CV_8U)
        return SyntheticPicture(i420, self.scene.camera.size_wh)

    def paint(self, frame: int) -> U8:
        """The picture in BGR, without noise; valid until the next call."""
        stage = self.scene.stage(frame)
        canvas = self._canvas
        np.copyto(canvas, self._backdrop.lit)
        self._cast(stage.shadows)
        layers = list(self._backdrop.layers)
        for drawing in stage.drawings:
            while layers and layers[0].z > drawing.z:
                self._restore(layers.pop(0))
            paint(canvas, drawing.shapes)
        for layer in layers:
            self._restore(layer)
        if self.scene.camera.canvas_scale == 1:
            np.copyto(self._small, canvas)
        else:
            cv2.resize(canvas, self.scene.camera.size_wh, dst=self._small, interpolation=cv2.INTER_AREA)
        for lamps in stage.lamps:
            self._shine(lamps)
        return self._small

    def _restore(self, layer: Layer) -> None:
        tall, wide = layer.mask.shape
        part = (slice(layer.y, layer.y + tall), slice(layer.x, layer.x + wide))
        cv2.copyTo(self._backdrop.lit[part], layer.mask, self._canvas[part])

    def _cast(self, shadows: Sequence[Shape]) -> None:
        """Replace the ground under the shadows by the ground in shadow."""
        paint(self._mask, shadows)
        ground = slice(self._horizon, None)
        cv2.copyTo(self._backdrop.shaded[ground], self._mask[ground], self._canvas[ground])
        self._mask.fill(0)

    def _shine(self, lamps: Headlamps) -> None:
        """Add the light of a vehicle's lamps to the small picture."""
        if lamps.red:
            tone = (0.12, 0.1, 0.75)
        else:
            tone = (0.8, 0.95, 1.0)
            self._add_light(lamps.beam, lamps.beam_px, (0.22, 0.27, 0.3))
        for spot in lamps.lamps:
            self._add_light(spot, (lamps.radius_px, lamps.radius_px), tone)

    def _add_light(
        self, centre: tuple[float, float], radius_px: tuple[float, float], tone: tuple[float, float, float]
    ) -> None:
        height, width = self._small.shape[:2]
        rx, ry = max(2, round(radius_px[0])), max(2, round(radius_px[1]))
        x0, y0 = round(centre[0]) - rx, round(centre[1]) - ry
        left, top, right, bottom = max(0, x0), max(0, y0), min(width, x0 + 2 * rx), min(height, y0 + 2 * ry)
        if left >= right or top >= bottom:
            return
        glow: U8 = cv2.resize(self._flare, (2 * rx, 2 * ry), interpolation=cv2.INTER_LINEAR)
        part = glow[top - y0 : bottom - y0, left - x0 : right - x0]
        coloured = cv2.merge([cv2.convertScaleAbs(part, alpha=factor) for factor in tone])
        area = self._small[top:bottom, left:right]
        self._small[top:bottom, left:right] = cv2.add(area, coloured)


def _flare(size: int) -> U8:
    """Light around a lamp, brightest in the middle, 0 at the rim."""
    axis = np.linspace(-1, 1, size)
    away = np.minimum(np.hypot(axis[None, :], axis[:, None]), 1.0)
    strength = (1 - away) ** 2 * (0.35 + 0.65 / (1.0 + (away / 0.12) ** 2))
    return np.clip(strength * 255, 0, 255).astype(np.uint8)


def _noise_bank(
    rng: np.random.Generator, width: int, height: int, strength: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    """Nearly normal noise with the given deviation, larger than a picture so that each frame can take another part.

    Sums of whole numbers only: the same on every machine.
    """
    shape = (height + _NOISE_MARGIN, width + _NOISE_MARGIN)
    total = np.zeros(shape, np.int32)
    for _ in range(4):
        total += rng.integers(-1000, 1001, size=shape, dtype=np.int32)
    # four uniform numbers from -1000 to 1000 have a deviation of 1155
    scaled = total * round(strength * 1000) // 1155000
    return np.clip(scaled, -100, 100).astype(np.int8)
