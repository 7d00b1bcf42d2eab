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
    """Change the weights of an `openvino.Model` of our Q/DQ form in place; returns of how many layers.

    The form is constant (int8), convert, subtract the zero point, multiply by the scale: a weight of another is left.
    """
    changed = 0
    for scaled in model.get_ordered_ops():
        if scaled.get_type_name() != "Multiply":
            continue
        shifted, scale = (scaled.input_value(index).get_node() for index in (0, 1))
        if shifted.get_type_name() != "Subtract":
            continue
        widened, zero = (_folded(shifted.input_value(index)) for index in (0, 1))
        step = _folded(scaled.input_value(1))
        convert = shifted.input_value(0).get_node()
        if widened is None or step is None or zero is None or zero.any() or convert.get_type_name() != "Convert":
            continue
        weights = convert.input_value(0)
        if weights.get_element_type() != openvino.Type.i8:
            continue
        if step.size > 1 and step.ndim != widened.ndim:
            continue
        # Channel by channel: what is small enough stays as it is.
        along = tuple(axis for axis in range(widened.ndim) if step.size == 1 or step.shape[axis] == 1)
        too_large = np.abs(widened).max(axis=along, keepdims=True) > LARGEST
        halved = np.where(too_large, np.rint(widened / 2), widened).astype(np.int8)
        convert.input(0).replace_source_output(opset8.constant(halved).output(0))
        twice = np.where(too_large, step * 2, step)
        scaled.input(1).replace_source_output(opset8.constant(twice, scale.get_element_type()).output(0))
        changed += bool(too_large.any())
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
