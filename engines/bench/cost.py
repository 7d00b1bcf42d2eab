"""What a network costs: parameters and multiply-accumulates of its convolutions, counted in the ONNX graph.

A multiply-accumulate is two operations. What is not a convolution (a percent or two of a detector) is not counted, as
is usual. Importing this needs the package onnx.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import onnx

from engines.types import SizeWH
from vedette.errors import ModelError

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_INT8 = ("QuantizeLinear", "DequantizeLinear")


class NetworkCost(msgspec.Struct, frozen=True, kw_only=True):
    """`flops` of one picture; `parameters`: weights and biases of convolutions; `quantized`: has Q/DQ nodes."""

    parameters: int
    flops: int
    quantized: bool


def network_cost(path: Path, size_wh: SizeWH) -> NetworkCost:
    """Count in the graph of a file that `read_model_file` takes, one picture of `size_wh`.

    Raises ModelError where the sizes within the network depend on what flows through it.
    """
    model = onnx.load(str(path))
    width, height = size_wh
    for side, value in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, height, width), strict=True):
        side.Clear()
        side.dim_value = value
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.output, *graph.input):
        dims = value.type.tensor_type.shape.dim
        if value.name not in shapes and all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    flops = parameters = 0
    for node in graph.node:
        if node.op_type not in _CONVOLUTIONS:
            continue
        weight = shapes.get(node.input[1], ())
        # A convolution's kernel is applied at every output, a transposed one's at every input.
        places = shapes.get(node.output[0] if node.op_type == "Conv" else node.input[0], ())
        if not weight or not places:
            msg = f"{path}: the sizes of {node.name or node.op_type} cannot be told"
            raise ModelError(msg)
        parameters += sum(math.prod(shapes.get(name, (0,))) for name in node.input[1:])
        flops += 2 * math.prod(places) * math.prod(weight[1:])
    quantized = any(node.op_type in _INT8 for node in graph.node)
    return NetworkCost(parameters=parameters, flops=flops, quantized=quantized)
