"""What `engines/picture.py` promises, written down plainly in float64 and slowly.

The reference of its tests, and of `vedette model parity`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engines.picture import Placement
from engines.spec import InputSpec
from engines.types import RgbPicture, YuvMatrix, YuvPlanes

F64 = npt.NDArray[np.float64]


def bilinear(plane: npt.NDArray[Any], size_wh: tuple[int, int]) -> F64:
    """`plane` (H, W) or (H, W, C) at another size: pixel centres aligned, edges repeated."""
    rows = _weights(plane.shape[0], size_wh[1])
    columns = _weights(plane.shape[1], size_wh[0])
    scaled: F64 = np.einsum("yh,hw...,xw->yx...", rows, plane.astype(np.float64), columns, optimize=True)
    return scaled


def _weights(source: int, target: int) -> F64:
    """(target, source): how much of each source sample goes into each target sample."""
    centres = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    left = np.minimum(np.floor(centres).astype(int), max(0, source - 2))
    right = np.minimum(left + 1, source - 1)
    weights = np.zeros((target, source))
    np.add.at(weights, (np.arange(target), left), 1 - (centres - left))
    np.add.at(weights, (np.arange(target), right), centres - left)
    return weights


def levels_8bit(plane: npt.NDArray[Any], planes: YuvPlanes, size_wh: tuple[int, int]) -> F64:
    """A plane at another size, rounded to 8 bits."""
    depth = 8 if plane.dtype == np.uint8 else 16 if planes.msb_aligned else planes.bits
    return _rounded(bilinear(plane, size_wh) * 2.0 ** (8 - depth))


def to_rgb(y: F64, u: F64, v: F64, matrix: YuvMatrix, *, full_range: bool) -> F64:
    """(H, W, 3) levels, not yet rounded. ITU-R BT.601-7 and BT.709-6, from their definitions."""
    kr, kb = {YuvMatrix.BT601: (0.299, 0.114), YuvMatrix.BT709: (0.2126, 0.0722)}[matrix]
    if not full_range:
        y, u, v = np.maximum(y - 16, 0) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224
    else:
        u, v = u - 128, v - 128
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    return np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue], axis=-1)


def plain_levels(planes: YuvPlanes | RgbPicture, inner_wh: tuple[int, int]) -> F64:
    """The picture at the size that it has in the input, (h', w', 3) RGB levels, rounded and clipped."""
    if isinstance(planes, RgbPicture):
        return _rounded(bilinear(planes.rgb, inner_wh))
    width, height = inner_wh
    half = (width // 2, height // 2)
    if planes.uv is not None:
        u, v = (levels_8bit(planes.uv[..., index], planes, half) for index in (0, 1))
    elif planes.u is not None and planes.v is not None:
        u, v = (levels_8bit(plane, planes, half) for plane in (planes.u, planes.v))
    else:
        u = v = np.full((half[1], half[0]), 128.0)
    u, v = (np.repeat(np.repeat(plane, 2, axis=0), 2, axis=1) for plane in (u, v))
    rgb = to_rgb(levels_8bit(planes.y, planes, inner_wh), u, v, planes.matrix, full_range=planes.full_range)
    return _rounded(rgb)


def _rounded(levels: F64) -> F64:
    # Halves go up, those too that float64 misses by 1e-13 in a sum of sixths: at 4:3 every 36th sample is one.
    rounded: F64 = np.clip(np.floor(levels + 0.5 + 1e-9), 0, 255)
    return rounded


def plain_placement(size_wh: tuple[int, int], spec: InputSpec) -> Placement:
    """Where the picture goes, by the words of the definition."""
    (full_w, full_h), (width, height) = spec.size, size_wh
    even_w, even_h = full_w - full_w % 2, full_h - full_h % 2
    if spec.fit == "stretch":
        return Placement(source_wh=size_wh, inner_wh=(even_w, even_h), offset_xy=(0, 0))
    scale = min(full_w / width, full_h / height)
    inner_w = min(even_w, max(2, round(width * scale / 2) * 2))
    inner_h = min(even_h, max(2, round(height * scale / 2) * 2))
    offset_xy = (0, 0)
    if spec.align == "centre":
        offset_xy = ((full_w - inner_w) // 2 // 2 * 2, (full_h - inner_h) // 2 // 2 * 2)
    return Placement(source_wh=size_wh, inner_wh=(inner_w, inner_h), offset_xy=offset_xy)


def to_values(levels: F64, spec: InputSpec) -> F64:
    """(h, w, 3) RGB levels as the network's values (3, h, w)."""
    ordered = levels if spec.colour == "rgb" else levels[..., ::-1]
    values: F64 = np.moveaxis((ordered * spec.scale - np.array(spec.mean)) / np.array(spec.std), -1, 0)
    return values


def plain_input(planes: YuvPlanes | RgbPicture, spec: InputSpec) -> tuple[F64, Placement]:
    """The whole input (3, H, W) of the network, and where the picture lies in it."""
    width, height = spec.size
    placement = plain_placement(planes.size_wh, spec)
    levels = np.full((height, width, 3), float(spec.pad))
    (x, y), (inner_w, inner_h) = placement.offset_xy, placement.inner_wh
    levels[y : y + inner_h, x : x + inner_w] = plain_levels(planes, placement.inner_wh)
    return to_values(levels, spec), placement
