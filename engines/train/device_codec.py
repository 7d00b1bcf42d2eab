"""What JPEG leaves of a batch, in torch: everything of the codec that loses anything, nothing of what packs bits.

YCbCr with halved chroma, blocks of 8 x 8, cosine transform, division by the standard's tables (ITU-T T.81, K.1 and K.2)
scaled to the quality as libjpeg does it, and back; chroma goes up again by lines, as in libjpeg. Not bit-exact: libjpeg
transforms in integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.train.to_device import sent

_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)  # fmt: skip
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def compressed(levels: Tensor, qualities: Sequence[int]) -> Tensor:
    """(m, 3, H, W) float32 RGB levels, H and W multiples of 16, each at its quality, 1 to 100."""
    ycc = torch.einsum("ij,njhw->nihw", _matrix(_TO_YCC, levels.device), levels).round_()
    luma, chroma = ycc[:, :1] - 128.0, functional.avg_pool2d(ycc[:, 1:], 2)
    luma = _quantised(luma, _tables(_LUMA, qualities, levels.device)) + 128.0
    chroma = _quantised(chroma, _tables(_CHROMA, qualities, levels.device))
    chroma = functional.interpolate(chroma, scale_factor=2.0, mode="bilinear", align_corners=False)
    whole = torch.cat([luma.clamp_(0, 255), chroma], dim=1)
    return torch.einsum("ij,njhw->nihw", _matrix(_TO_RGB, levels.device), whole).round_().clamp_(0, 255)


def _quantised(plane: Tensor, tables: Tensor) -> Tensor:
    """(m, C, H, W) through `tables` (m, 8, 8), by blocks."""
    m, channels, height, width = plane.shape
    cosines = _cosines(plane.device)
    blocks = plane.view(m, channels, height // 8, 8, width // 8, 8)
    spectrum = torch.einsum("ui,ncaibj,vj->ncaubv", cosines, blocks, cosines)
    steps = tables[:, None, None, :, None, :]
    kept = (spectrum / steps).round_() * steps
    return torch.einsum("ui,ncaubv,vj->ncaibj", cosines, kept, cosines).reshape(plane.shape).round_()


def _tables(base: tuple[int, ...], qualities: Sequence[int], device: torch.device) -> Tensor:
    scales = np.array([5000 // one if one < 50 else 200 - 2 * one for one in qualities])[:, None, None]
    tables = (np.array(base).reshape(1, 8, 8) * scales + 50) // 100
    return sent(tables.clip(1, 255).astype(np.float32), device)


@lru_cache(maxsize=4)
def _cosines(device: torch.device) -> Tensor:
    """(8, 8), orthonormal: frequency by place."""
    frequency, place = np.mgrid[:8, :8]
    values = np.cos((2 * place + 1) * frequency * np.pi / 16) / 2
    values[0] /= np.sqrt(2)
    return sent(values, device)


@lru_cache(maxsize=8)
def _matrix(rows: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    return sent(rows, device)
