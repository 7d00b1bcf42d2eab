"""A sheet on which many small shapes are noted down first and turned into canvas coordinates at once.

Thousands of numpy calls on arrays of four points would cost more than the drawing; so points are plain numbers until
`finish`, which makes one array of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.source.synthetic.camera import F64, I32, Camera, Colour
from stages.source.synthetic.shapes import CONVEX, Shape

XY = tuple[float, float]

_CIRCLE = np.stack([np.cos(np.arange(14) / 14 * 2 * np.pi), np.sin(np.arange(14) / 14 * 2 * np.pi)], -1)


class Sheet:
    """Shapes of several owners, in drawing order within each."""

    def __init__(self) -> None:
        self._flat: list[float] = []
        self._blobs: list[tuple[float, float, float, float]] = []
        # (kind, first point, end; or blob's number and -1; or ready points), for each owner
        self._notes: list[tuple[int, int, int, I32 | None]] = []
        self._colours: list[Colour] = []
        self._owners: list[int] = []
        self._lights: list[Sequence[float]] = []

    def begin(self, light: Sequence[float]) -> None:
        """What follows belongs to the next owner, in this light (3,) by channel."""
        self._owners.append(len(self._notes))
        self._lights.append(light)

    def polygon(self, colour: Colour, *points: XY) -> None:
        """A convex polygon, picture pixels."""
        flat = self._flat
        first = len(flat) // 2
        for point in points:
            flat.extend(point)
        self._notes.append((CONVEX, first, first + len(points), None))
        self._colours.append(colour)

    def outline(self, colour: Colour, points: list[float], kind: int) -> None:
        """A polygon given as x, y, x, y, ..."""
        first = len(self._flat) // 2
        self._flat.extend(points)
        self._notes.append((kind, first, first + len(points) // 2, None))
        self._colours.append(colour)

    def blob(self, colour: Colour, x: float, y: float, rx: float, ry: float) -> None:
        """An upright ellipse."""
        self._notes.append((CONVEX, len(self._blobs), -1, None))
        self._blobs.append((x, y, rx, ry))
        self._colours.append(colour)

    def ready(self, colour: Colour, points: I32) -> None:
        """A convex polygon whose canvas coordinates are known."""
        self._notes.append((CONVEX, 0, 0, points))
        self._colours.append(colour)

    def finish(self, camera: Camera) -> list[list[Shape]]:
        """Everyone's shapes."""
        points = camera.canvas(np.array(self._flat).reshape(-1, 2))
        ellipses = np.array(self._blobs).reshape(-1, 4)
        blobs = camera.canvas(ellipses[:, None, :2] + _CIRCLE * ellipses[:, None, 2:])
        colours = self._lit()
        ends = [*self._owners[1:], len(self._notes)]
        out: list[list[Shape]] = []
        for start, end in zip(self._owners, ends, strict=True):
            shapes: list[Shape] = []
            for i in range(start, end):
                kind, first, last, known = self._notes[i]
                if known is None:
                    known = points[first:last] if last >= 0 else blobs[first]
                shapes.append((kind, known, colours[i]))
            out.append(shapes)
        return out

    def _lit(self) -> list[Colour]:
        if all(light == (1.0, 1.0, 1.0) for light in map(tuple, self._lights)):
            return self._colours
        counts = np.diff([*self._owners, len(self._notes)])
        light: F64 = np.repeat(np.array(self._lights), counts, axis=0)
        lit = np.minimum(np.array(self._colours) * light, 255.0).astype(np.int64)
        return [(blue, green, red) for blue, green, red in lit.tolist()]
