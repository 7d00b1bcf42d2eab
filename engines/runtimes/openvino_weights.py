"""INT8 weights for CPUs whose sums saturate: seven bits of them, by half as many steps of twice the size.

Without VNNI (`engines.runtimes.cpus.int8_sums_saturate`) kernels add the products of two uint8 activations and two
int8 weights in 16 bits. With weights of at most 64 that is 2 x 255 x 64 = 32,640, which they hold: sums are exact on
every CPU, at the same speed. AP of vedette-n at 640x384 with kernels limited to AVX2: 27.8 as the file is, 28.9 with
seven bits; 28.8 with VNNI, and in floats (docs/results/int8.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from openvino import opset8

LARGEST = 64


def in_seven_bits(model: Any) -> int:
    """Change the weights of an `openvino.Model` of the Q/DQ form in place; returns of how many layers.

    The form is constant (int8), convert, subtract a zero point of 0 if there is one, multiply by the scale; weights of
    another form are left.
    """
    changed = 0
    for scaled in model.get_ordered_ops():
        if scaled.get_type_name() != "Multiply":
            continue
        values, scale = (scaled.input_value(index).get_node() for index in (0, 1))
        if values.get_type_name() == "Subtract":
            zero = _folded(values.input_value(1))
            if zero is None or zero.any():
                continue
            values = values.input_value(0).get_node()
        if values.get_type_name() != "Convert" or values.input_value(0).get_element_type() != openvino.Type.i8:
            continue
        weights, step = _folded(values.input_value(0)), _folded(scaled.input_value(1))
        if weights is None or step is None:
            continue
        if step.size > 1 and step.ndim != weights.ndim:
            continue
        # Channel by channel: what is small enough stays as it is.
        along = tuple(axis for axis in range(weights.ndim) if step.size == 1 or step.shape[axis] == 1)
        too_large = np.abs(weights).max(axis=along, keepdims=True) > LARGEST
        if not too_large.any():
            continue
        halved = np.where(too_large, np.rint(weights / 2), weights).astype(np.int8)
        values.input(0).replace_source_output(opset8.constant(halved).output(0))
        twice = np.where(too_large, step * 2, step)
        scaled.input(1).replace_source_output(opset8.constant(twice, scale.get_element_type()).output(0))
        changed += 1
    return changed


def _folded(value: Any) -> Any:
    """What a constant says, through conversions and changes of shape; None for what is none."""
    node = value.get_node()
    kind = node.get_type_name()
    if kind == "Constant":
        return node.data.astype(np.float32)
    if kind == "Convert":
        return _folded(node.input_value(0))
    if kind in {"Reshape", "Unsqueeze"}:
        found = _folded(node.input_value(0))
        shape = value.get_partial_shape()
        return found.reshape(shape.to_shape()) if found is not None and shape.is_static else None
    return None
