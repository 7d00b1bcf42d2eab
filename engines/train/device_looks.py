"""What `looks` decided, done to a whole batch in torch: the twin of `appearance`, in the same order.

Each step takes float32 levels (m, 3, H, W), those of the batch that it concerns, and what it is to do to each; it gives
whole levels. Pictures differ from the host's by a level here and there. JPEG is in `device_codec`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.train.appearance import motion_kernel, noise_bank
from engines.train.device_codec import compressed
from engines.train.looks import NOISE_BANK, Lamp, Looks, Motion, Noise
from engines.train.to_device import sent
from engines.types import F32, U8

_KERNEL = 11
"""Side of the window that every blur fits into: a Gaussian of deviation 1.5, as OpenCV cuts it off."""


def change(levels: Tensor, looks: Sequence[Looks]) -> Tensor:
    """The batch (n, 3, H, W) float32, changed in place."""
    _each(levels, [one.matrix for one in looks], _coloured)
    _each(levels, [one.lamp for one in looks], _lit_by)
    _each(levels, [one.dark for one in looks], _through)
    _each(levels, [one.early for one in looks], _noisy)
    _each(levels, [one.light for one in looks], _through)
    _each(levels, [one.small for one in looks], _smaller)
    _each(levels, [one.blur for one in looks], _blurred)
    _each(levels, [one.late for one in looks], _noisy)
    _each(levels, [one.quality for one in looks], compressed)
    return levels


def _each(levels: Tensor, wanted: Sequence[object], step: Callable[[Tensor, Sequence[Any]], Tensor]) -> None:
    rows = [row for row, one in enumerate(wanted) if one is not None]
    if rows:
        there = sent(rows, levels.device)
        levels[there] = step(levels[there], [one for one in wanted if one is not None])


def _whole(levels: Tensor) -> Tensor:
    return levels.round_().clamp_(0, 255)


def _on(device: torch.device, values: Sequence[Any]) -> Tensor:
    return sent(np.stack([np.asarray(one, np.float32) for one in values]), device)


def _coloured(levels: Tensor, matrices: Sequence[np.ndarray[Any, np.dtype[np.float64]]]) -> Tensor:
    return _whole(torch.einsum("nij,njhw->nihw", _on(levels.device, matrices), levels))


def _through(levels: Tensor, tables: Sequence[U8]) -> Tensor:
    """Each level through its picture's table."""
    first = 256 * torch.arange(len(tables), device=levels.device)[:, None, None, None]
    return _on(levels.device, tables).flatten()[levels.long() + first]


def _lit_by(levels: Tensor, lamps: Sequence[Lamp]) -> Tensor:
    height, width = levels.shape[2:]
    x0, y0, fall, gain = (
        _on(levels.device, [(*lamp.at_xy, lamp.fall, lamp.gain) for lamp in lamps]).T[:, :, None, None, None].unbind(0)
    )
    y = torch.linspace(-1, 1, height, device=levels.device)[:, None] - y0
    x = torch.linspace(-1, 1, width, device=levels.device) - x0
    light = (1.0 - fall * (x * x + y * y).clamp(max=1.2)) * gain
    return (levels * light).clamp_(0, 255).floor_()


@lru_cache(maxsize=4)
def _bank(device: torch.device, count: int) -> Tensor:
    """The bank of noise, so long that any place can begin `count` numbers."""
    return torch.from_numpy(np.resize(noise_bank()[:NOISE_BANK], NOISE_BANK + count)).to(device)


def _noisy(levels: Tensor, noises: Sequence[Noise]) -> Tensor:
    height, width = levels.shape[2:]
    bank = _bank(levels.device, height * width * 3)
    drawn = []
    for noise in noises:
        shape = (height, width, 1 if noise.grey else 3)
        one = bank[noise.start : noise.start + height * width * shape[2]].view(shape)
        drawn.append(one.expand(height, width, 3).permute(2, 0, 1))
    strength = _on(levels.device, [noise.deviation / 32.0 for noise in noises])
    return levels.add_(torch.stack(drawn) * strength[:, None, None, None]).clamp_(0, 255).floor_()


def _blurred(levels: Tensor, blurs: Sequence[float | Motion]) -> Tensor:
    """Each picture through its own window, at once, as so many groups of one convolution."""
    m, channels, height, width = levels.shape
    kernels = _on(levels.device, [_window(blur) for blur in blurs])
    kernels = kernels[:, None, None].expand(m, channels, 1, _KERNEL, _KERNEL).reshape(-1, 1, _KERNEL, _KERNEL)
    reach = _KERNEL // 2
    around = functional.pad(levels, (reach, reach, reach, reach), mode="reflect")
    seen = functional.conv2d(around.view(1, m * channels, *around.shape[2:]), kernels, groups=m * channels)
    return _whole(seen.view(m, channels, height, width))


def _window(blur: float | Motion) -> F32:
    """(11, 11), around the place at which OpenCV puts its kernel."""
    window = np.zeros((_KERNEL, _KERNEL), np.float32)
    if isinstance(blur, Motion):
        kernel = motion_kernel(blur)
    else:
        side = round(blur * 6 + 1) | 1
        line = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * blur**2))
        kernel = np.asarray(np.outer(line, line) / line.sum() ** 2, np.float32)
    first = _KERNEL // 2 - len(kernel) // 2
    window[first : first + len(kernel), first : first + len(kernel)] = kernel
    return window


def _smaller(levels: Tensor, factors: Sequence[float]) -> Tensor:
    """Down by areas and up by lines, each side by a matrix."""
    height, width = levels.shape[2:]
    (down_h, up_h), (down_w, up_w) = (
        _scaling(side, [round(side * factor) for factor in factors], levels.device) for side in (height, width)
    )
    less = _whole(torch.einsum("nih,nchw,njw->ncij", down_h, levels, down_w))
    return _whole(torch.einsum("nhi,ncij,nwj->nchw", up_h, less, up_w))


def _scaling(side: int, less: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """From `side` to each of `less` by areas (m, most, side), and back by lines (m, side, most)."""
    count = _on(device, less)[:, None, None]
    ratio = side / count
    old = torch.arange(side, device=device)
    new = torch.arange(max(less), device=device)[:, None]
    covered = torch.minimum((new + 1) * ratio, old + 1.0) - torch.maximum(new * ratio, old.float())
    down = covered.clamp(min=0.0) / ratio * (new < count)
    at = ((old[:, None] + 0.5) / ratio - 0.5).clamp(min=torch.zeros_like(count), max=count - 1)
    up = (1.0 - (at - new[:, 0]).abs()).clamp(min=0.0)
    return down, up
