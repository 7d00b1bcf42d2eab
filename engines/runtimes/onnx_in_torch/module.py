"""The graph of an ONNX file as a list of steps over torch tensors.

What depends on constants alone is computed once, when the file is read (weights that are stored in half precision or
as INT8 become floats there); what depends on shapes alone (anchors of a file of free size) once for each shape of the
input, on the CPU. A value is let go after its last use. Any number of threads may run one module at once.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engines.runtimes.onnx_in_torch.operators import OPERATORS, Node, Operator
from engines.runtimes.onnx_in_torch.quantized import fake_quantize
from vedette.errors import ModelError

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """One node: `inputs` are names of values, "" for one left out; `last` is what nobody needs after it.

    `of_shapes`: its outputs depend on nothing but the shapes of tensors.
    """

    node: Node
    operator: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    last: tuple[str, ...] = ()
    of_shapes: bool = False


class OnnxInTorch(nn.Module):
    """The network of an ONNX file. Its floating constants are buffers: `.to(device)` moves them."""

    def __init__(self, graph: onnx.GraphProto, opset: int) -> None:
        super().__init__()
        from onnx import numpy_helper

        values: dict[str, Tensor] = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer
        }
        self.inputs = tuple(value.name for value in graph.input if value.name not in values)
        self.outputs = tuple(value.name for value in graph.output)
        steps = []
        with torch.no_grad():
            for step in _paired([_step(node, opset) for node in graph.node], self.outputs):
                if all(not name or name in values for name in step.inputs):
                    values.update(_results(step, values))
                else:
                    steps.append(step)
        self._steps = _planned(steps, values, self.outputs)
        self._of_shapes: dict[tuple[torch.Size, ...], dict[str, Tensor]] = {}
        used = {name for step in steps for name in step.inputs} | set(self.outputs)
        read = {name for step in steps if step.node.kind == "Resize" for name in step.inputs[1:]}
        self._buffer_of: dict[str, str] = {}
        self._whole: dict[str, Tensor] = {}
        for number, (name, value) in enumerate(item for item in values.items() if item[0] in used):
            if name in read or value.dtype == torch.int64 or value.dtype == torch.bool:
                self._whole[name] = value  # stays on the CPU: see operators.py
            else:
                self._buffer_of[name] = f"constant_{number}"
                self.register_buffer(self._buffer_of[name], value)

    def forward(self, *pictures: Tensor) -> dict[str, Tensor]:
        """The outputs by name for the inputs in the file's order."""
        values: dict[str, Tensor] = dict(zip(self.inputs, pictures, strict=True))
        values.update(self._whole)
        for name, buffer in self._buffer_of.items():
            values[name] = self._buffers[buffer]  # type: ignore[assignment]  # registered above, never None
        shapes = tuple(picture.shape for picture in pictures)
        known = self._of_shapes.get(shapes)
        learnt: dict[str, Tensor] = {}
        for step in self._steps:
            if not step.of_shapes:
                values.update(_results(step, values))
            elif known is None:
                made = {name: _beside(value, pictures[0]) for name, value in _results(step, values).items()}
                learnt.update(made)
                values.update(made)
            else:
                values.update((name, known[name]) for name in step.outputs)
            for name in step.last:
                del values[name]
        if known is None:
            self._of_shapes[shapes] = learnt
        return {name: values[name] for name in self.outputs}

    def to_precision(self, dtype: torch.dtype) -> OnnxInTorch:
        """Convolutions, with their weights, in `dtype` from here on; what makes boxes and scores stays float32."""
        kept = {
            name
            for step in self._steps
            for position, name in enumerate(step.inputs)
            if not (step.node.kind in {"Conv", "ConvTranspose"} and position)
        }
        for step in self._steps:
            if step.node.kind in {"Conv", "ConvTranspose"}:
                for name in step.inputs[1:]:
                    if name in self._buffer_of and name not in kept:
                        buffer = self._buffers[self._buffer_of[name]]
                        self._buffers[self._buffer_of[name]] = buffer.to(dtype) if buffer is not None else None
        return self


def read_onnx(path: Path) -> OnnxInTorch:
    """Read a file as a torch module on the CPU, in the file's own precision. Raises ModelError."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # its stubs are another package

    try:
        model = onnx.load(str(path))
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        msg = f"{path}: is not an ONNX model that can be loaded: {' '.join(str(error).split())[:300]}"
        raise ModelError(msg) from error
    opset = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 0)
    lacking = sorted({_label(node) for node in model.graph.node} - OPERATORS.keys())
    if lacking:
        msg = f"{path}: torch does not run it: no {', '.join(lacking)} in engines/runtimes/onnx_in_torch"
        raise ModelError(msg, hint="model.backend: onnxruntime or openvino runs it")
    try:
        return OnnxInTorch(model.graph, opset).eval()
    except UnsupportedNodeError as error:
        msg = f"{path}: torch does not run it: {error}"
        raise ModelError(msg, hint="model.backend: onnxruntime or openvino runs it") from error


class UnsupportedNodeError(RuntimeError):
    """A node that cannot be computed, with its name: at reading of what is constant, else while it runs."""


def _label(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in {"", "ai.onnx"} else f"{node.domain}.{node.op_type}"


def _step(node: onnx.NodeProto, opset: int) -> _Step:
    attributes = {attribute.name: _attribute(attribute) for attribute in node.attribute}
    name = node.name or next(iter(node.output), "?")
    made = Node(node.op_type, name, opset, attributes, len(node.output))
    return _Step(made, OPERATORS[node.op_type], tuple(node.input), tuple(node.output))


def _attribute(attribute: onnx.AttributeProto) -> Any:
    from onnx import AttributeProto, helper, numpy_helper

    value = helper.get_attribute_value(attribute)
    if attribute.type == AttributeProto.TENSOR:
        return torch.from_numpy(numpy_helper.to_array(value).copy())
    if attribute.type == AttributeProto.STRING:
        return value.decode()
    return list(value) if attribute.type in {AttributeProto.INTS, AttributeProto.FLOATS} else value


def _paired(steps: list[_Step], outputs: Iterable[str]) -> list[_Step]:
    """QuantizeLinear and the DequantizeLinear of the same scale and zero point become one step.

    A weight that is stored as INT8 has a DequantizeLinear alone.
    """
    uses: dict[str, int] = dict.fromkeys(outputs, 1)
    for step in steps:
        for name in step.inputs:
            uses[name] = uses.get(name, 0) + 1
    quantizers = {step.outputs[0]: step for step in steps if step.node.kind == "QuantizeLinear"}
    gone: set[str] = set()
    kept = []
    for step in steps:
        first = quantizers.get(step.inputs[0]) if step.node.kind == "DequantizeLinear" else None
        if first is not None and first.inputs[1:] == step.inputs[1:]:
            kept.append(_Step(first.node, fake_quantize, first.inputs, step.outputs))
            uses[first.outputs[0]] -= 1
            if not uses[first.outputs[0]]:
                gone.add(first.outputs[0])
        else:
            kept.append(step)
    return [step for step in kept if step.outputs[0] not in gone]


def _planned(steps: list[_Step], constants: Container[str], outputs: tuple[str, ...]) -> tuple[_Step, ...]:
    """The steps with what is known of them before anything runs."""
    of_shapes: set[str] = set()
    for step in steps:
        if step.node.kind == "Shape" or all(not name or name in constants or name in of_shapes for name in step.inputs):
            of_shapes.update(step.outputs)
    seen = set(outputs)
    result = []
    made = {name for step in steps for name in step.outputs}
    for step in reversed(steps):
        unused = {name for name in (*step.inputs, *step.outputs) if name in made and name not in seen}
        seen |= unused
        result.append(replace(step, last=tuple(unused), of_shapes=step.outputs[0] in of_shapes))
    return tuple(reversed(result))


def _beside(value: Tensor, picture: Tensor) -> Tensor:
    """What is calculated with lies where the picture does; shapes and indices stay on the CPU."""
    return value.to(picture.device) if value.is_floating_point() else value


def _results(step: _Step, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    inputs = [values[name] if name else None for name in step.inputs]
    try:
        given = step.operator(step.node, *inputs)
    except (NotImplementedError, RuntimeError, TypeError, ValueError, KeyError, IndexError) as error:
        msg = f"node {step.node.name} ({step.node.kind}): {' '.join(str(error).split())[:300]}"
        raise UnsupportedNodeError(msg) from error
    return dict(zip(step.outputs, given if isinstance(given, tuple) else (given,), strict=True))
