"""Pictures as a decoder leaves them on a device, here in the host's memory, for the kernels and for the definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.cuda.surfaces import Surface
from engines.types import YuvMatrix, YuvPlanes

Plane = npt.NDArray[Any]


def picture_of(
    layout: str,
    size_wh: tuple[int, int],
    *,
    bits: int = 10,
    matrix: YuvMatrix = YuvMatrix.BT601,
    full_range: bool = False,
    pads: tuple[int, int] = (0, 0),
    seed: int = 0,
) -> YuvPlanes:
    """Noise as `nv12`, `p01x` (`bits` in the high bits), `low` (in the low ones) or `grey`; `pads` samples a row."""
    rng = np.random.default_rng(seed)
    (width, height), bits = size_wh, 8 if layout in {"nv12", "grey"} else bits
    kind: dict[str, Any] = {"bits": bits, "msb_aligned": layout == "p01x", "matrix": matrix, "full_range": full_range}
    shift = 16 - bits if layout == "p01x" else 0
    dtype = np.uint8 if bits == 8 else np.uint16
    luma = (rng.integers(0, 1 << bits, (height, width + pads[0])) << shift).astype(dtype)[:, :width]
    if layout == "grey":
        return YuvPlanes(y=luma, **kind)
    rows, columns = -(-height // 2), -(-width // 2)
    chroma = (rng.integers(0, 1 << bits, (rows, columns + pads[1], 2)) << shift).astype(dtype)[:, :columns]
    return YuvPlanes(y=luma, uv=chroma, **kind)


def surface_of(planes: YuvPlanes, address: Callable[[Plane], int]) -> Surface:
    """The picture where `address` says that its planes lie."""
    return Surface(
        size_wh=planes.size_wh,
        luma=address(planes.y),
        luma_pitch=planes.y.strides[0],
        chroma=None if planes.uv is None else address(planes.uv),
        chroma_pitch=0 if planes.uv is None else planes.uv.strides[0],
        bits=planes.bits,
        msb_aligned=planes.msb_aligned,
        matrix=planes.matrix,
        full_range=planes.full_range,
    )
