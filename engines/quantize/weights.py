"""Weights as int8: symmetric, zero point 0, one scale for each output channel or one for all.

-128 is not used, so that the range is the same on both sides, as TensorRT, OpenVINO and onnxruntime want it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.types import F32

GREATEST = 127

OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1}
"""Which axis of the weights counts output channels (ONNX: (M, C/g, kH, kW) and (C, M/g, kH, kW))."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Int8Weights:
    """weights = values * scale, along `axis` (None: `scales` has no axis and holds for all)."""

    values: npt.NDArray[np.int8]
    scales: F32
    axis: int | None

    def floats(self) -> F32:
        """What the int8 values stand for."""
        scales = self.scales
        if self.axis is not None:
            scales = scales.reshape([-1 if axis == self.axis else 1 for axis in range(self.values.ndim)])
        return (self.values * scales).astype(np.float32)


def to_int8(weights: F32, axis: int | None) -> Int8Weights:
    """Round to the nearest of 255 steps; nothing is clipped. A channel that is all zero has scale 1."""
    others = None if axis is None else tuple(other for other in range(weights.ndim) if other != axis)
    greatest = np.abs(weights).max(axis=others)
    # A scale below the least normal float32 would be flushed to zero by some engines.
    usable = greatest > np.finfo(np.float32).tiny * GREATEST
    scales: F32 = np.where(usable, greatest / GREATEST, 1.0).astype(np.float32)
    spread = scales if axis is None else scales.reshape([-1 if other == axis else 1 for other in range(weights.ndim)])
    values = np.clip(np.rint(weights / spread), -GREATEST, GREATEST).astype(np.int8)
    return Int8Weights(values=values, scales=scales, axis=axis)
