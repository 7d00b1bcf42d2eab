"""Area filtering, written down plainly in float64: on a side that shrinks, the mean of what a pixel covers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.types import YuvPlanes
from engines.validate.plain_picture import to_rgb

F64 = npt.NDArray[np.float64]


def weights(source: int, target: int) -> F64:
    """(target, source): how much of each source sample goes into each target sample."""
    table = np.zeros((target, source))
    for index in range(target):
        if source <= target:
            centre = min(max((index + 0.5) * source / target - 0.5, 0.0), source - 1.0)
            left = int(centre)
            table[index, left] += 1 - (centre - left)
            table[index, min(left + 1, source - 1)] += centre - left
        else:
            start, end = index * source / target, (index + 1) * source / target
            for one in range(int(start), min(source, int(np.ceil(end)))):
                table[index, one] = (min(end, one + 1) - max(start, one)) * target / source
    return table


def area_levels(planes: YuvPlanes, inner_wh: tuple[int, int]) -> F64:
    """(h', w', 3) RGB levels of an interleaved or grey picture, rounded and clipped."""

    def scaled(plane: npt.NDArray[np.generic], size_wh: tuple[int, int]) -> F64:
        rows, columns = weights(plane.shape[0], size_wh[1]), weights(plane.shape[1], size_wh[0])
        depth = 8 if plane.dtype == np.uint8 else 16 if planes.msb_aligned else planes.bits
        return rounded(rows @ plane.astype(np.float64) @ columns.T * 2.0 ** (8 - depth))

    width, height = inner_wh
    half = (width // 2, height // 2)
    if planes.uv is None:
        u = v = np.full((height, width), 128.0)
    else:
        u, v = (scaled(planes.uv[..., one], half).repeat(2, axis=0).repeat(2, axis=1) for one in (0, 1))
    return rounded(to_rgb(scaled(planes.y, inner_wh), u, v, planes.matrix, full_range=planes.full_range))


def rounded(levels: F64) -> F64:
    # Sums in float64 miss a half by less than this; the definition's halves are rounded up.
    half_up: F64 = np.clip(np.floor(levels + 0.5 + 1e-9), 0, 255)
    return half_up
