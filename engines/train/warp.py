"""Pictures at the places that `geometry` planned for them, by OpenCV on the host."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from engines.train.geometry import PAD, Layout, wide_factor
from engines.types import U8, SizeWH


def warped(layout: Layout, sources: Sequence[U8]) -> U8:
    """(H, W, 3) uint8 of the layout's size out of the source (H, W, 3) of each of its tiles."""
    width, height = layout.size_wh
    rgb = np.full((height, width, 3), PAD, np.uint8)
    for tile, source in zip(layout.tiles, sources, strict=True):
        x1, y1, x2, y2 = tile.place
        # OpenCV's coordinates are of pixels' middles, ours of their edges.
        centred = tile.matrix.copy()
        centred[:, 2] += tile.matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
        rgb[y1:y2, x1:x2] = cv2.warpAffine(
            source, centred, (x2 - x1, y2 - y1), flags=cv2.INTER_LINEAR, borderValue=(PAD, PAD, PAD)
        )
    return rgb if layout.wide is None else widened(rgb, layout.wide)


def widened(rgb: U8, strength: float) -> U8:
    """The picture behind a wide-angle lens."""
    height, width = rgb.shape[:2]
    maps = wide_maps((width, height), strength)
    return np.asarray(
        cv2.remap(rgb, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(PAD,) * 3), np.uint8
    )


def wide_maps(size_wh: SizeWH, strength: float) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Of each pixel the column and the row that it shows, (H, W) float32 both, counted from pixels' middles."""
    width, height = size_wh
    x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    factor = wide_factor(x * x + y * y, size_wh, strength)
    across, down = (axis * factor + side / 2 - 0.5 for axis, side in ((x, width), (y, height)))
    return across.astype(np.float32), down.astype(np.float32)
