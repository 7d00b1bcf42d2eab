"""The anchor points of networks that predict on grids of several strides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.types import F32, SizeWH


def anchor_points(size_wh: SizeWH, strides: Sequence[int]) -> tuple[F32, F32]:
    """The cells of a network of input `size_wh`: their columns and rows (A, 2) and their strides (A, 1), float32.

    One grid a stride, in the order given, each by rows; a side that the stride does not divide is rounded up.
    """
    width, height = size_wh
    cells, pixels = [], []
    for stride in strides:
        columns, rows = -(-width // stride), -(-height // stride)
        y, x = np.indices((rows, columns), dtype=np.float32)
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        pixels.append(np.full((rows * columns, 1), stride, np.float32))
    return np.concatenate(cells), np.concatenate(pixels)
