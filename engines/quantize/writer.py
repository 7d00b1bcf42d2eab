"""Writes a Q/DQ graph: a placement and ranges become QuantizeLinear and DequantizeLinear nodes.

For each tensor that is placed: producer -> x -> QuantizeLinear -> DequantizeLinear -> all who read x; x itself stays
an output of the graph if it was one. For each convolution: int8 weights -> DequantizeLinear -> convolution, its bias
float. Two forms of the same thing, from the same ranges and with the same weights (FACTS: signed activations around
concats come out wrong in OpenVINO and slow in onnxruntime, unsigned ones are not TensorRT's):

- unsigned: uint8, zero point 0 where nothing can be negative, else one that the range gives;
- signed: int8, zero point 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from engines.quantize.graph import Graph
from engines.quantize.placement import Placement, Scaled
from engines.quantize.ranges import Range
from engines.quantize.rounding import Rounded

Form = Literal["unsigned", "signed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """real = (byte - zero) * scale."""

    scale: float
    zero: int


def step_of(extent: Range, form: Form) -> Step:
    """The scale and zero point by which a range is rounded; the scale is one that float32 holds."""
    if form == "signed":
        return Step(scale=_scale(max(-extent.low, extent.high), 127), zero=0)
    scale = _scale(extent.high - extent.low, 255)
    return Step(scale=scale, zero=min(255, max(0, round(-extent.low / scale))))


def _scale(reach: float, levels: int) -> float:
    scale = np.float32(reach / levels)
    # Nothing but zeros was seen: any scale will do, but a scale must be a normal, positive number.
    return float(scale) if scale > np.finfo(np.float32).tiny else 1.0


def write(
    graph: Graph, placement: Placement, ranges: Mapping[str, Range], rounded: Mapping[str, Rounded], form: Form
) -> onnx.ModelProto:
    """The quantized model. `ranges`: one for every tensor that is placed, the same within a group.

    `rounded`: the weights of each placed convolution, by its name.
    """
    return _Writer(graph, form, rounded).model(placement, ranges)


class _Writer:
    def __init__(self, graph: Graph, form: Form, weights: Mapping[str, Rounded]) -> None:
        self._graph = graph
        self._form = form
        self._weights = weights
        self._constants: dict[str, onnx.TensorProto] = {}
        self._renamed: dict[str, str] = {}

    def model(self, placement: Placement, ranges: Mapping[str, Range]) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(self._graph.model)
        nodes: list[onnx.NodeProto] = []
        placed = set(placement.tensors)
        scaled = placement.scaled
        converted = set(placement.convolutions)
        for tensor in self._graph.inputs:
            if tensor in placed:
                nodes += self._rounded(tensor, ranges[tensor])
        for node in model.graph.node:
            if node.output[0] in scaled:
                nodes.append(self._scaled(node.output[0], scaled[node.output[0]], ranges))
                continue
            for place, name in enumerate(node.input):
                node.input[place] = self._renamed.get(name, name)
            if node.name in converted:
                nodes.append(self._weighted(node))
            nodes.append(node)
            for output in node.output:
                if output in placed:
                    nodes += self._rounded(output, ranges[output])
        read = {name for node in nodes for name in node.input} | set(self._graph.outputs)
        kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        del model.graph.initializer[:]
        model.graph.node.extend(copies)
        model.graph.initializer.extend([*kept, *self._constants.values()])
        return model

    def _rounded(self, tensor: str, extent: Range) -> list[onnx.NodeProto]:
        step = step_of(extent, self._form)
        kind = np.uint8 if self._form == "unsigned" else np.int8
        scale = self._constant(f"{tensor}/scale", np.array(step.scale, np.float32))
        zero = self._constant(f"{tensor}/zero_point", np.array(step.zero, kind))
        self._renamed[tensor] = f"{tensor}/dequantized"
        return [
            helper.make_node(
                "QuantizeLinear", [tensor, scale, zero], [f"{tensor}/quantized"], name=f"{tensor}/QuantizeLinear"
            ),
            helper.make_node(
                "DequantizeLinear",
                [f"{tensor}/quantized", scale, zero],
                [f"{tensor}/dequantized"],
                name=f"{tensor}/DequantizeLinear",
            ),
        ]

    def _scaled(self, product: str, scaled: Scaled, ranges: Mapping[str, Range]) -> onnx.NodeProto:
        """The bytes of a tensor read with another scale, in place of a multiplication."""
        step = step_of(ranges[scaled.tensor], self._form)
        scale = self._constant(f"{product}/scale", np.array(step.scale * scaled.factor, np.float32))
        inputs = [f"{scaled.tensor}/quantized", scale, f"{scaled.tensor}/zero_point"]
        return helper.make_node("DequantizeLinear", inputs, [product], name=f"{product}/DequantizeLinear")

    def _weighted(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Give the convolution int8 weights and its bias; returns the node that makes floats of the weights."""
        rounded = self._weights[node.name]
        weights = rounded.weights
        name = f"{node.name}/weights"
        inputs = [
            self._constant(f"{name}/int8", weights.values),
            self._constant(f"{name}/scale", weights.scales),
            self._constant(f"{name}/zero_point", np.zeros(weights.scales.shape, np.int8)),
        ]
        if rounded.shift is not None:
            has_bias = len(node.input) > 2 and node.input[2]
            bias = self._graph.array(node.input[2]) + rounded.shift if has_bias else rounded.shift
            del node.input[2:]
            node.input.append(self._constant(f"{node.name}/bias", bias.astype(np.float32)))
        node.input[1] = name
        made = helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}/DequantizeLinear")
        if weights.axis is not None:
            made.attribute.append(helper.make_attribute("axis", weights.axis))
        return made

    def _constant(self, name: str, values: npt.NDArray[Any]) -> str:
        self._constants[name] = numpy_helper.from_array(values, name)
        return name
