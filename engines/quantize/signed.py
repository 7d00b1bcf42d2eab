"""The signed form of an unsigned Q/DQ file: the file is its own calibration table, so that no picture is needed.

Both forms are written from the same ranges and with the same weights (engines/quantize/writer.py). An unsigned scale
and zero point tell their range, low = -zero * scale and high = (255 - zero) * scale, to within half a step of what was
measured where the zero point is not 0; the signed scale follows from it, and weights and biases stay as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from engines.quantize.ranges import Range
from engines.quantize.writer import Step, step_of
from vedette.errors import ModelError


def as_signed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A new model, uint8 activations as int8 with zero point 0. Raises ModelError for a graph that it cannot follow."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    quantized: dict[str, Step] = {}
    changed: dict[str, npt.NDArray[Any]] = {}

    def set_constant(name: str, values: npt.NDArray[Any], reader: str) -> None:
        if name in changed and not np.array_equal(changed[name], values):
            msg = f"{reader}: the constant {name} is shared by activations of different scales"
            raise ModelError(msg)
        changed[name] = values

    def step(node: onnx.NodeProto) -> Step | None:
        """The unsigned step of a node's activation; None for one that is signed already (weights)."""
        zero = constants.get(node.input[2]) if len(node.input) > 2 else None
        if zero is None or zero.data_type != onnx.TensorProto.UINT8:
            return None
        scale = constants.get(node.input[1])
        if scale is None or numpy_helper.to_array(scale).size != 1:
            msg = f"{node.name}: expected one constant scale, as `vedette model quantize` writes it"
            raise ModelError(msg)
        return Step(
            scale=float(numpy_helper.to_array(scale).reshape(())), zero=int(numpy_helper.to_array(zero).reshape(()))
        )

    for node in made.graph.node:
        before = step(node) if node.op_type == "QuantizeLinear" else None
        if before is not None:
            quantized[node.output[0]] = before
            set_constant(node.input[1], np.array(_signed(before).scale, np.float32), node.name)
            set_constant(node.input[2], np.array(0, np.int8), node.name)
    for node in made.graph.node:
        read = step(node) if node.op_type == "DequantizeLinear" else None
        if read is None:
            continue
        if node.input[0] not in quantized:
            msg = f"{node.name}: its bytes come from no QuantizeLinear of this graph"
            raise ModelError(msg)
        before = quantized[node.input[0]]
        # Read with another scale (in place of a multiplication), it keeps its ratio to the scale it was written with.
        scale = _signed(before).scale * (read.scale / before.scale)
        set_constant(node.input[1], np.array(scale, np.float32), node.name)
        set_constant(node.input[2], np.array(0, np.int8), node.name)
    for name, values in changed.items():
        constants[name].CopyFrom(numpy_helper.from_array(values, name))
    return made


def _signed(step: Step) -> Step:
    return step_of(Range(low=-step.zero * step.scale, high=(255 - step.zero) * step.scale), "signed")
