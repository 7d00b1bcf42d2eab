"""FP16 by casting an ONNX file, for runtimes that know no flag for it: TensorRT 11 takes the types of the file.

What feeds convolutions is computed in float16; inputs and outputs stay float32, and so does what makes boxes and scores
of the last convolutions: softmax and the sums over bins, anchors in pixels, sigmoid. So do kinds of nodes that are not
known to bear half precision, and nodes with a weight that float16 cannot hold. Works on float files of any origin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.onnx_file import save_onnx
from engines.runtimes.model_file import read_model_file
from engines.spec import find_spec
from vedette.errors import ModelError

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_BEAR_HALF = _CONVOLUTIONS | {
    "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "DepthToSpace", "Flatten", "GlobalAveragePool",
    "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "MatMul", "MaxPool", "Mul", "PRelu", "Pad", "Relu", "Reshape",
    "Resize", "Sigmoid", "Slice", "SpaceToDepth", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze",
}  # fmt: skip
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "DynamicQuantizeLinear"})
_HALF_MAX = float(np.finfo(np.float16).max)

# Inputs that the standard wants in float32 whatever the others are: regions and scales of Resize.
_ALWAYS_FLOAT = {"Resize": (1, 2)}


def to_float16(model: Path, out: Path) -> Path:
    """Write `model` (.onnx, float) in half precision to `out`, with its spec, if it has one, inside; returns `out`.

    Raises ModelError for a file that cannot be read, is quantized or has no convolutions, and where it cannot write.
    """
    file = read_model_file(model)
    try:
        spec = find_spec(file).spec
    except ModelError:  # whoever runs the file says what is wrong with it, or knows the spec from elsewhere
        spec = None
    return save_onnx(as_float16(onnx.load(model), str(model)), out, spec)


def as_float16(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The model in half precision, a new one. Raises ModelError, which names the file as `where`."""
    kinds = {node.op_type for node in model.graph.node}
    if kinds & _QUANTIZED:
        msg = f"{where}: is quantized, expected a float file to make FP16 of"
        raise ModelError(msg, hint="give the file that it was quantized from")
    if any(attribute.HasField("g") or attribute.graphs for node in model.graph.node for attribute in node.attribute):
        msg = f"{where}: has branches or loops ({', '.join(sorted(kinds & {'If', 'Loop', 'Scan'}))}), expected none"
        raise ModelError(msg, hint="export it without")
    if not kinds & _CONVOLUTIONS:
        msg = f"{where}: has no convolutions, expected a network that finds things"
        raise ModelError(msg)
    halved = _Halving(onnx.shape_inference.infer_shapes(model), where).run()
    onnx.checker.check_model(halved, full_check=True)
    return onnx.shape_inference.infer_shapes(halved, strict_mode=True, data_prop=True)


@dataclass(slots=True)
class _Halving:
    """One model on its way to half precision."""

    model: onnx.ModelProto
    where: str
    types: dict[str, int] = field(init=False)
    constants: dict[str, npt.NDArray[Any]] = field(init=False)
    nodes: list[onnx.NodeProto] = field(init=False, default_factory=list)
    weights: dict[str, onnx.TensorProto] = field(init=False, default_factory=dict)
    half: set[str] = field(init=False, default_factory=set)
    """Values that are float16 now."""
    casts: dict[tuple[str, int], str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.model.graph
        values = (*graph.input, *graph.value_info, *graph.output)
        self.types = {value.name: value.type.tensor_type.elem_type for value in values}
        self.constants = {}
        for weight in graph.initializer:
            self.types[weight.name] = weight.data_type
            self.constants[weight.name] = numpy_helper.to_array(weight)
        for node in graph.node:
            self._note_constant(node)

    def _note_constant(self, node: onnx.NodeProto) -> None:
        """A Constant, or a weight that is stored in half precision behind a Cast, is a constant, too."""
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            value = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Cast" and node.input[0] in self.constants:
            value = self.constants[node.input[0]].astype(helper.tensor_dtype_to_np_dtype(node.attribute[0].i))
        else:
            return
        self.constants[node.output[0]] = value
        self.types[node.output[0]] = helper.np_dtype_to_tensor_dtype(value.dtype)

    def run(self) -> onnx.ModelProto:
        graph = self.model.graph
        chosen = self._chosen()
        outputs = {value.name for value in graph.output}
        for place, node in enumerate(graph.node):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            self._convert(copy, halve=place in chosen, outputs=outputs)
        made = helper.make_graph(
            self._alive(outputs),
            graph.name,
            list(graph.input),
            list(graph.output),
            [weight for weight in graph.initializer if weight.name not in self.weights] + list(self.weights.values()),
            doc_string=graph.doc_string,
        )
        used = {name for node in made.node for name in node.input} | outputs
        kept = [weight for weight in made.initializer if weight.name in used]
        del made.initializer[:]
        made.initializer.extend(kept)
        halved = onnx.ModelProto()
        halved.CopyFrom(self.model)
        halved.graph.CopyFrom(made)
        return halved

    def _chosen(self) -> set[int]:
        """Places of the nodes that compute in half precision: those whose result reaches a convolution."""
        wanted: set[str] = set()
        chosen: set[int] = set()
        for place in range(len(self.model.graph.node) - 1, -1, -1):
            node = self.model.graph.node[place]
            if set(node.output) & self.constants.keys():
                continue
            if node.op_type in _CONVOLUTIONS and not self._sums_bins(node):
                wanted.update(node.input)
            elif not wanted.intersection(node.output):
                continue
            wanted.update(node.input)
            if node.op_type in _BEAR_HALF and not any(self._too_large(name) for name in node.input):
                chosen.add(place)
        return chosen

    def _sums_bins(self, node: onnx.NodeProto) -> bool:
        """A convolution to a single channel: how some heads write the expectation over the bins of a box's side."""
        kernel = self.constants.get(node.input[1])
        return kernel is not None and node.op_type == "Conv" and kernel.shape[0] == 1

    def _too_large(self, name: str) -> bool:
        value = self.constants.get(name)
        return value is not None and value.dtype.kind == "f" and bool((np.abs(value) > _HALF_MAX).any())

    def _convert(self, node: onnx.NodeProto, *, halve: bool, outputs: set[str]) -> None:
        for index, name in enumerate(node.input):
            always_float = index in _ALWAYS_FLOAT.get(node.op_type, ())
            node.input[index] = self._input(name, halve=halve and not always_float)
        renamed = {}
        if halve:
            for index, name in enumerate(node.output):
                if self._type(name) != TensorProto.FLOAT:
                    continue
                if name in outputs:  # an output keeps its name and type: a Cast has to make it
                    renamed[name] = node.output[index] = f"{name}.float16"
                self.half.add(node.output[index])
        self.nodes.append(node)
        for name, inner in renamed.items():
            self.nodes.append(_cast(inner, name, TensorProto.FLOAT))

    def _input(self, name: str, *, halve: bool) -> str:
        """The name under which a node gets `name` in its own precision; a weight or a Cast is made where need be."""
        if name == "" or self._type(name) != TensorProto.FLOAT:
            return name
        inner = f"{name}.float16" if f"{name}.float16" in self.half else name
        if (inner in self.half) == halve:
            return inner
        if halve and name in self.constants:
            half = f"{name}.float16"
            if half not in self.weights:
                self.weights[half] = numpy_helper.from_array(self.constants[name].astype(np.float16), half)
            return half
        to = TensorProto.FLOAT16 if halve else TensorProto.FLOAT
        if (inner, to) not in self.casts:
            cast = f"{name}.to_{'float16' if halve else 'float32'}"
            self.nodes.append(_cast(inner, cast, to))
            self.casts[inner, to] = cast
        return self.casts[inner, to]

    def _type(self, name: str) -> int:
        kind = self.types.get(name)
        if kind is None:
            msg = f"{self.where}: the type of {name} cannot be told"
            raise ModelError(msg, hint="export it with ONNX operators alone")
        return kind

    def _alive(self, outputs: Iterable[str]) -> list[onnx.NodeProto]:
        """The nodes that something needs: the Casts of stored weights are of no use any more."""
        needed = set(outputs)
        alive: list[onnx.NodeProto] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                alive.append(node)
        return alive[::-1]


def _cast(given: str, name: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [given], [name], name=f"{name}.cast", to=to)
