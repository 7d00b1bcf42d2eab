"""What a convolution's weights are multiplied with: windows of its input, sampled, and their second moments.

A row of weights w gives w @ x for a window x; what an error e in w does to the output is e @ M @ e, M = E[x x^T]. The
windows end in a 1, for the bias. Used by `rounding`, which makes these errors small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from engines.quantize.graph import Graph
from engines.types import F32

SAMPLES = 128
"""Windows taken of each picture: neighbours say much the same (a guess; 400 gave the same boxes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Of which tensor, and how large, how far apart and padded (top, left, bottom, right)."""

    tensor: str
    kernel_hw: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]


def windows_of(graph: Graph, node: onnx.NodeProto) -> Windows | None:
    """The windows of a convolution; None for groups, dilation and transposed ones whose windows overlap."""
    shape = tuple(graph.constants[node.input[1]].dims)
    if len(shape) != 4 or _attribute(node, "group", 1) != 1 or _attribute(node, "dilations", (1, 1)) != (1, 1):
        return None
    kernel, strides = (shape[2], shape[3]), _attribute(node, "strides", (1, 1))
    pads = _attribute(node, "pads", (0, 0, 0, 0))
    if _attribute(node, "auto_pad", b"NOTSET") != b"NOTSET":
        return None
    if node.op_type == "ConvTranspose":
        # Each output pixel is made of one input pixel: one matrix for each place in the kernel.
        alone = kernel == strides and not any(pads) and not any(_attribute(node, "output_padding", (0, 0)))
        return Windows(tensor=node.input[0], kernel_hw=(1, 1), strides=(1, 1), pads=(0, 0, 0, 0)) if alone else None
    return Windows(tensor=node.input[0], kernel_hw=kernel, strides=strides, pads=pads)


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            value = onnx.helper.get_attribute_value(attribute)
            return tuple(value) if isinstance(value, list) else value
    return default


class Moments:
    """Adds up x x^T over windows of many pictures. Takes (C * kh * kw) ** 2 floats for each `Windows`: 0.2 GB for S."""

    def __init__(self, windows: Iterable[Windows], seed: int = 0) -> None:
        self._sums: dict[Windows, F32] = {}
        self._counts: dict[Windows, int] = {}
        self._windows = tuple(dict.fromkeys(windows))
        self._rng = np.random.default_rng(seed)

    @property
    def tensors(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(windows.tensor for windows in self._windows))

    def add(self, values: Mapping[str, F32]) -> None:
        """Sample the windows of one picture's activations (1, C, H, W)."""
        for windows in self._windows:
            rows = self._sampled(values[windows.tensor][0], windows)
            product = rows.T @ rows
            if windows in self._sums:
                self._sums[windows] += product
            else:
                self._sums[windows] = product
            self._counts[windows] = self._counts.get(windows, 0) + len(rows)

    def of(self, windows: Windows) -> F32:
        """(K + 1, K + 1), K = C * kh * kw: the mean of x x^T, the last row and column being of the 1."""
        mean: F32 = self._sums[windows] / np.float32(self._counts[windows])
        return mean

    def _sampled(self, values: F32, windows: Windows) -> F32:
        (kh, kw), (down, right) = windows.kernel_hw, windows.strides
        top, left, bottom, end = windows.pads
        padded = np.pad(values, ((0, 0), (top, bottom), (left, end))) if any(windows.pads) else values
        rows = (padded.shape[1] - kh) // down + 1
        columns = (padded.shape[2] - kw) // right + 1
        count = min(SAMPLES, rows * columns)
        places: npt.NDArray[np.int64] = self._rng.choice(rows * columns, count, replace=False)
        every: F32 = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(1, 2))  # type: ignore[call-overload] # numpy's stub knows one axis only
        taken = every[:, places // columns * down, places % columns * right]  # (C, count, kh, kw)
        flat = np.ascontiguousarray(taken.transpose(1, 0, 2, 3)).reshape(count, -1)
        return np.concatenate([flat, np.ones((count, 1), np.float32)], axis=1)
