"""QuantizeLinear and DequantizeLinear as ONNX defines them, computed in floats.

A quantized tensor is kept as whole numbers in its own type; a pair of both is one step (`fake_quantize`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from engines.runtimes.onnx_in_torch.operators import Node

_RANGES = {torch.uint8: (0, 255), torch.int8: (-128, 127)}


def quantize(node: Node, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    """X / scale, rounded half to even, plus zero point, clipped to the type of the zero point (absent: uint8)."""
    kind, shift = _zero(zero_point)
    low, high = _RANGES[kind]
    axis = node.get("axis", 1)
    steps = (x.float() / _along(scale.float(), x, axis)).round_()
    if shift is not None:
        steps += _along(shift, x, axis)
    return steps.clamp_(low, high).to(kind)


def dequantize(node: Node, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    """(x - zero point) * scale, in the type of the scale."""
    axis = node.get("axis", 1)
    steps = x.to(scale.dtype)
    if zero_point is not None:
        steps = steps - _along(zero_point.to(scale.dtype), x, axis)
    return steps * _along(scale, x, axis)


def fake_quantize(node: Node, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    """`dequantize(quantize(x))`, without whole numbers between."""
    kind, shift = _zero(zero_point)
    low, high = _RANGES[kind]
    axis = node.get("axis", 1)
    size = _along(scale.float(), x, axis)
    steps = (x.float() / size).round_()
    if shift is None:
        steps.clamp_(low, high)
    else:
        at = _along(shift, x, axis)
        torch.clamp(steps, low - at, high - at, out=steps)
    return steps.mul_(size).to(scale.dtype)


def _zero(zero_point: Tensor | None) -> tuple[torch.dtype, Tensor | None]:
    if zero_point is None:
        return torch.uint8, None
    if zero_point.dtype not in _RANGES:
        msg = f"quantization to {str(zero_point.dtype).removeprefix('torch.')}"
        raise NotImplementedError(msg)
    return zero_point.dtype, zero_point.float()


def _along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """One value for all, or one for each index of an axis."""
    if values.numel() == 1:
        return values.reshape(())
    if values.dim() != 1:
        msg = "quantization in blocks"
        raise NotImplementedError(msg)
    sides = [1] * x.dim()
    sides[axis] = -1
    return values.reshape(sides)
