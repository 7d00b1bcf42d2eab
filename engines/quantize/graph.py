"""A float network as a graph one can ask: who makes a tensor, who reads it, what is constant.

`load_graph` takes an ONNX file and gives it folded: constants, casts of stored weights, identities and the batch
normalisation after a convolution are gone (onnxruntime's basic optimisations, which keep to standard operators), every
node has a name of its own, and the opset knows scales by channel (13 or later).
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from google.protobuf.message import DecodeError  # type: ignore[import-untyped] # it has no types of its own
from onnx import numpy_helper, version_converter

from engines.runtimes.onnxruntime_errors import refusals, said
from vedette.errors import ModelError

WEIGHTED = ("Conv", "ConvTranspose")
"""What holds nearly all of a detector's work and all of its weights: what is quantized."""

LEAST_OPSET = 13
"""QuantizeLinear and DequantizeLinear with one scale a channel: ONNX operators, version 13."""

_QUANTIZED = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
    "MatMulInteger", "FakeQuantize",
})  # fmt: skip

# Both would give the engines another graph than the exporter meant: transposes moved about, scalars made one.
_NOT_WANTED = ["TransposeOptimizer", "ConstantSharing"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """A folded model with its topology. The model belongs to the graph: copy it before changing it."""

    model: onnx.ModelProto
    producers: Mapping[str, onnx.NodeProto]
    readers: Mapping[str, Sequence[onnx.NodeProto]]
    constants: Mapping[str, onnx.TensorProto]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def nodes(self) -> Iterable[onnx.NodeProto]:
        """In an order in which they can be run."""
        nodes: Iterable[onnx.NodeProto] = self.model.graph.node
        return nodes

    def array(self, constant: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = numpy_helper.to_array(self.constants[constant])
        return values

    def activations(self, node: onnx.NodeProto) -> list[str]:
        """The inputs of a node that are not constant."""
        return [name for name in node.input if name and name not in self.constants]

    def leading_to(self, kinds: Iterable[str]) -> frozenset[str]:
        """The names of the nodes from whose outputs a node of one of the `kinds` can be reached."""
        wanted = frozenset(kinds)
        leading: set[str] = set()
        for node in reversed(self.model.graph.node):
            for output in node.output:
                if any(reader.op_type in wanted or reader.name in leading for reader in self.readers.get(output, ())):
                    leading.add(node.name)
        return frozenset(leading)


def graph_of(model: onnx.ModelProto) -> Graph:
    """The topology of a model whose nodes have names. Sub-graphs (If, Loop) are not looked into."""
    graph = model.graph
    readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            if name:
                readers[name].append(node)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    return Graph(
        model=model,
        producers={output: node for node in graph.node for output in node.output if output},
        readers=readers,
        constants=constants,
        inputs=tuple(value.name for value in graph.input if value.name not in constants),
        outputs=tuple(value.name for value in graph.output),
    )


def load_graph(path: Path) -> Graph:
    """Read and fold a float model. Raises ModelError for a file that is none, is quantized or has no convolution."""
    try:
        original = onnx.load(path)
    except (OSError, DecodeError) as error:
        msg = f"{path}: is not an ONNX model that can be loaded: {_first_line(error)}"
        raise ModelError(msg, hint="a file cut short or of another kind looks like this") from error
    kinds = {node.op_type for node in original.graph.node}
    if found := sorted(kinds & _QUANTIZED):
        msg = f"{path}: expected a float model, got a quantized one (it has {', '.join(found)})"
        raise ModelError(msg, hint="quantize the float file that it was made from")
    if not kinds & set(WEIGHTED):
        msg = f"{path}: expected a network with convolutions, got none ({', '.join(sorted(kinds)) or 'no node at all'})"
        raise ModelError(msg, hint="there is nothing in it to quantize")
    _name_nodes(original)
    if _opset(original) < LEAST_OPSET:
        original = _raised(original, path)
    folded = _fold(original, path)
    onnx.helper.set_model_props(folded, {prop.key: prop.value for prop in original.metadata_props})
    return graph_of(folded)


def _opset(model: onnx.ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=1)


def _raised(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    try:
        return version_converter.convert_version(model, LEAST_OPSET)
    except (RuntimeError, version_converter.ConvertError) as error:
        msg = f"{path}: opset {_opset(model)} cannot be raised to {LEAST_OPSET}: {_first_line(error)}"
        raise ModelError(msg, hint="export the model with opset 17") from error


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give a name to each node that has none, or one that another has, after its operator and place."""
    taken: set[str] = set()
    for place, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{place}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)


def _fold(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory(prefix="vedette-") as folder:
        settings.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(),
                settings,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=_NOT_WANTED,
            )
        except refusals() as error:
            msg = f"{path}: onnxruntime does not take it: {said(error)}"
            raise ModelError(msg, hint="a file cut short or of another kind looks like this") from error
        folded = onnx.load(settings.optimized_model_filepath)
    _name_nodes(folded)
    used = {node.domain for node in folded.graph.node} | {""}
    kept = [entry for entry in folded.opset_import if entry.domain in used]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    return folded


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def quantizable(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether the node is a convolution of an activation with weights (and a bias) that are constant float32."""
    if node.op_type not in WEIGHTED or node.input[0] in graph.constants:
        return False
    constants = [graph.constants.get(name) for name in node.input[1:] if name]
    return all(one is not None and one.data_type == onnx.TensorProto.FLOAT for one in constants)


def scalar(graph: Graph, node: onnx.NodeProto) -> float | None:
    """The one number that a Mul multiplies by, None if it is not a Mul by one constant number."""
    if node.op_type != "Mul":
        return None
    constants = [name for name in node.input if name in graph.constants]
    if len(constants) != 1:
        return None
    values = graph.array(constants[0])
    return float(values.reshape(())) if values.size == 1 and values.dtype == np.float32 else None
