"""What everything that moves is drawn from: filled outlines and lines on the canvas.

One list of shapes serves twice: painted in colour it is the picture, painted in one value it is the exact mask from
which the ground truth is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stages.source.synthetic.camera import I32, SHIFT, Colour

CONVEX, OUTLINE = -1, -2

Shape = tuple[int, I32, Colour]
"""(kind, points (N, 2) in the canvas's fixed point, colour); kind is CONVEX, OUTLINE, or the width of a line."""

U8 = npt.NDArray[Any]
"""uint8; cv2's annotations know no narrower type."""


def paint(canvas: U8, shapes: Sequence[Shape]) -> None:
    """Draw the shapes in order, each over those before it."""
    for kind, points, colour in shapes:
        if kind == CONVEX:
            cv2.fillConvexPoly(canvas, points, colour, cv2.LINE_8, SHIFT)
        elif kind == OUTLINE:
            cv2.fillPoly(canvas, [points], colour, cv2.LINE_8, SHIFT)
        else:
            cv2.polylines(canvas, [points], False, colour, kind, cv2.LINE_8, SHIFT)


def paint_mask(mask: U8, shapes: Sequence[Shape], value: int, offset_xy: tuple[int, int] = (0, 0)) -> None:
    """Draw the silhouette of the shapes in one value, moved by `offset_xy` whole canvas pixels."""
    shift = np.array(offset_xy, np.int32) << SHIFT
    colour = (value,)
    for kind, points, _ in shapes:
        moved: npt.NDArray[Any] = points + shift
        if kind == CONVEX:
            cv2.fillConvexPoly(mask, moved, colour, cv2.LINE_8, SHIFT)
        elif kind == OUTLINE:
            cv2.fillPoly(mask, [moved], colour, cv2.LINE_8, SHIFT)
        else:
            cv2.polylines(mask, [moved], False, colour, kind, cv2.LINE_8, SHIFT)


def extent(shapes: Sequence[Shape]) -> tuple[float, float, float, float]:
    """(x1, y1, x2, y2) in canvas pixels around all the shapes, wherever they lie."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for kind, points, _ in shapes:
        pad = kind / 2 if kind > 0 else 0.0
        scaled: npt.NDArray[Any] = points / (1 << SHIFT)
        low = np.minimum(low, scaled.min(axis=0) - pad)
        high = np.maximum(high, scaled.max(axis=0) + pad)
    # whole numbers are the centres of pixels, so that a pixel reaches half a pixel further
    return float(low[0]), float(low[1]), float(high[0]) + 1.0, float(high[1]) + 1.0
