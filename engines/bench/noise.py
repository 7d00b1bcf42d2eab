"""Pictures of noise: where only speed is asked for, they calibrate as well as any."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from engines.types import SizeWH


def noise_images(folder: Path, size_wh: SizeWH, count: int) -> list[Path]:
    """Write `count` pictures of coarse and fine noise; the same at every call."""
    rng = np.random.default_rng(0)
    width, height = size_wh
    paths = []
    for number in range(count):
        coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
        fine = rng.integers(0, 256, (height, width, 3), np.uint8)
        path = folder / f"noise-{number}.png"
        cv2.imwrite(str(path), cv2.addWeighted(cv2.resize(coarse, size_wh), 0.7, fine, 0.3, 0.0))
        paths.append(path)
    return paths
