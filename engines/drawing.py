"""Boxes with class and score, drawn into a still picture, for people to look at."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from engines.picture import PictureWriter
from engines.spec import InputSpec
from engines.types import U8, Detections, Picture, RgbPicture

_GOLDEN = 0.618033988749895  # neighbouring classes get hues that are far apart


def to_rgb(picture: Picture | RgbPicture) -> U8:
    """The whole picture as (H, W, 3) uint8 RGB, a copy that may be drawn into. Raises PictureError.

    Planes go the way of a network's input that is as large as the picture, so that what people see is what networks
    see. A picture with an odd side is stretched by one pixel there.
    """
    planes = picture if isinstance(picture, RgbPicture) else picture.planes()
    if isinstance(planes, RgbPicture):
        return planes.rgb.copy()
    width, height = planes.size_wh
    spec = InputSpec(size=(width + width % 2, height + height % 2), fit="stretch")
    levels = np.empty((1, 3, spec.size[1], spec.size[0]), np.uint8)
    PictureWriter(spec).write(planes, levels, 0)
    return np.ascontiguousarray(levels[0].transpose(1, 2, 0)[:height, :width])


def draw(rgb: U8, detections: Detections, classes: tuple[str, ...]) -> None:
    """Draw the boxes into `rgb` (H, W, 3), the surest on top; thickness and letters grow with the picture."""
    thick = max(1, round(min(rgb.shape[:2]) / 300))
    scale = max(0.35, min(rgb.shape[:2]) / 1000)
    rows = list(zip(detections.xyxy_px, detections.scores, detections.class_ids, strict=True))[::-1]
    corners = [tuple(round(float(value)) for value in xyxy) for xyxy, _, _ in rows]
    for (x1, y1, _, _), (_, score, number) in zip(corners, rows, strict=True):
        label = f"{classes[number]} {score:.2f}"
        (width, height), base = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        left, top = max(0, min(x1, rgb.shape[1] - width - 4)), max(height + base + 2, y1)
        cv2.rectangle(rgb, (left, top - height - base - 2), (left + width + 4, top), _colour(number), cv2.FILLED)
        where = (left + 2, top - base)
        cv2.putText(rgb, label, where, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thick, cv2.LINE_AA)
    for (x1, y1, x2, y2), (_, _, number) in zip(corners, rows, strict=True):  # over the labels, which may hide others
        cv2.rectangle(rgb, (x1, y1), (x2, y2), _colour(number), thick, cv2.LINE_AA)


def _colour(number: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb((number * _GOLDEN) % 1.0, 0.75, 1.0)
    return (round(255 * red), round(255 * green), round(255 * blue))
