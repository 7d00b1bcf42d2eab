"""ONNX operators in torch, but for those with a window (`windows.py`) and with a scale (`quantized.py`).

Each is `function(node, *inputs) -> tensor or tuple of tensors`; an input that a node leaves out is None. Integers of 64
bits (shapes, axes, indices) and the scales of Resize stay on the CPU, whatever device the network is on: they are read
while the network runs, and must not make it wait for a GPU. Definitions: the operator pages of ONNX, opset 11 to 22.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import Tensor

from engines.runtimes.onnx_in_torch.quantized import dequantize, quantize
from engines.runtimes.onnx_in_torch.windows import (
    average_pool,
    conv,
    conv_transpose,
    global_average_pool,
    max_pool,
    resize,
)

DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip
"""TensorProto.DataType to torch's."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """What an operator may ask of its node."""

    kind: str
    name: str
    opset: int
    attributes: Mapping[str, Any]
    outputs: int

    def get(self, name: str, default: Any) -> Any:
        return self.attributes.get(name, default)


Operator = Callable[..., Any]


def _integers(value: Tensor | None) -> list[int] | None:
    return None if value is None else [int(number) for number in value.flatten().tolist()]


def _axes(node: Node, value: Tensor | None) -> list[int] | None:
    """Axes are an attribute in older opsets and an input in newer ones."""
    given: list[int] | None = node.get("axes", None)
    return given if given is not None else _integers(value)


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def operator(_: Node, a: Tensor, b: Tensor) -> Tensor:
        # A constant of one element must not make float32 of half precision, as one with dimensions would.
        if a.dtype != b.dtype:
            if b.numel() == 1 and a.dim() >= b.dim():
                b = b.reshape(())
            elif a.numel() == 1 and b.dim() >= a.dim():
                a = a.reshape(())
        return function(a, b)

    return operator


def _of_one(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda _, x: function(x)


def _precise(function: Callable[[Tensor], Tensor]) -> Operator:
    """Computed in float32 at least: what comes of these is boxes and scores."""
    return lambda _, x: function(x.float() if x.dtype in {torch.float16, torch.bfloat16} else x)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    if a.is_floating_point() or b.is_floating_point():
        return a / b
    return torch.div(a, b, rounding_mode="trunc")


def _matmul(_: Node, a: Tensor, b: Tensor) -> Tensor:
    kind = torch.promote_types(a.dtype, b.dtype)
    return torch.matmul(a.to(kind), b.to(kind))


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    product: Tensor = node.get("alpha", 1.0) * (a.to(b.dtype) @ b)
    return product if c is None else product + node.get("beta", 1.0) * c


def _concat(node: Node, *parts: Tensor) -> Tensor:
    return torch.cat(parts, node.attributes["axis"])


def _softmax(node: Node, x: Tensor) -> Tensor:
    if node.opset < 13:
        axis = node.get("axis", 1) % x.dim()
        return torch.softmax(x.flatten(axis).float(), -1).reshape(x.shape)
    return torch.softmax(x.float(), node.get("axis", -1))


def _reshape(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    sides = _integers(shape) or []
    if not node.get("allowzero", 0):
        sides = [x.shape[axis] if side == 0 else side for axis, side in enumerate(sides)]
    return x.reshape(sides)


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm", list(reversed(range(x.dim())))))


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    rows = 1
    for side in x.shape[: axis if axis >= 0 else axis + x.dim()]:
        rows *= side
    return x.reshape(rows, -1)


def _reduce(function: Callable[..., Tensor]) -> Operator:
    def operator(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
        over = _axes(node, axes)
        if not over:
            if node.get("noop_with_empty_axes", 0):
                return x
            over = list(range(x.dim()))
        x = x.float() if x.dtype in {torch.float16, torch.bfloat16} else x
        return function(x, dim=over, keepdim=bool(node.get("keepdims", 1)))

    return operator


def _split(node: Node, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = node.get("axis", 0)
    given = node.get("split", None) or _integers(sizes)
    if given is None:
        return torch.split(x, -(-x.shape[axis] // node.get("num_outputs", node.outputs)), axis)
    return torch.split(x, given, axis)


def _slice(
    _: Node,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first, last = _integers(starts) or [], _integers(ends) or []
    along = _integers(axes) or list(range(len(first)))
    by = _integers(steps) or [1] * len(first)
    for start, end, axis, step in zip(first, last, along, by, strict=True):
        if step < 0:
            positions = range(*slice(start, None if end < -x.shape[axis] else end, step).indices(x.shape[axis]))
            x = x.index_select(axis, torch.tensor(list(positions), device=x.device))
        else:
            index: list[slice] = [slice(None)] * x.dim()
            index[axis] = slice(start, end, step)
            x = x[tuple(index)]
    return x


def _gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.dim()
    places = [place % x.shape[axis] for place in _integers(indices) or []]
    if places and places == list(range(places[0], places[0] + len(places))):
        found = x.narrow(axis, places[0], len(places))  # no copy of indices to the device: see above
    else:
        found = x.index_select(axis, torch.tensor(places, dtype=torch.int64, device=x.device))
    return found.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _expand(_: Node, x: Tensor, shape: Tensor) -> Tensor:
    whole = torch.broadcast_shapes(x.shape, torch.Size(_integers(shape) or []))  # type: ignore[no-untyped-call]  # its own
    return x.expand(whole)


def _tile(_: Node, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(_integers(repeats) or [])


def _unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    where = _axes(node, axes) or []
    for axis in sorted(axis % (x.dim() + len(where)) for axis in where):
        x = x.unsqueeze(axis)
    return x


def _squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    where = _axes(node, axes)
    return x.squeeze() if where is None else x.squeeze(tuple(where))


def _shape(node: Node, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[node.get("start", 0) : node.get("end", None)], dtype=torch.int64)


def _filled(node: Node, shape: Tensor) -> Tensor:
    value: Tensor = node.get("value", torch.zeros(1))
    return value.reshape(()).expand(_integers(shape) or []).clone()


def _range(_: Node, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def _clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    least = node.get("min", None) if low is None else low.to(x.dtype)
    most = node.get("max", None) if high is None else high.to(x.dtype)
    return x if least is None and most is None else torch.clamp(x, least, most)


def _cast(node: Node, x: Tensor) -> Tensor:
    return x.to(DTYPES[node.attributes["to"]])


def _constant(node: Node) -> Tensor:
    for name, dtype in (("value", None), ("value_float", torch.float32), ("value_floats", torch.float32)):
        if name in node.attributes:
            return torch.as_tensor(node.attributes[name], dtype=dtype)
    for name in ("value_int", "value_ints"):
        if name in node.attributes:
            return torch.as_tensor(node.attributes[name], dtype=torch.int64)
    msg = "a Constant without numbers"
    raise NotImplementedError(msg)


def _batch_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return F.batch_norm(x.float(), mean, variance, scale, bias, False, 0.0, node.get("epsilon", 1e-5))


def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    return torch.clamp(x * node.get("alpha", 0.2) + node.get("beta", 0.5), 0.0, 1.0)


def _cumsum(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    if node.get("exclusive", 0) or node.get("reverse", 0):
        msg = "CumSum exclusive or in reverse"
        raise NotImplementedError(msg)
    return torch.cumsum(x, int(axis.item()), dtype=x.dtype)


OPERATORS: Mapping[str, Operator] = {
    "Abs": _of_one(torch.abs),
    "Add": _of_two(torch.add),
    "AveragePool": average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Ceil": _of_one(torch.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "CumSum": _cumsum,
    "DequantizeLinear": dequantize,
    "Div": _of_two(_divide),
    "Equal": _of_two(torch.eq),
    "Exp": _precise(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _of_one(torch.floor),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": global_average_pool,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _of_one(F.hardswish),
    "Identity": _of_one(lambda x: x),
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01)),
    "MatMul": _matmul,
    "Max": lambda _, *parts: _fold(torch.maximum, parts),
    "MaxPool": max_pool,
    "Min": lambda _, *parts: _fold(torch.minimum, parts),
    "Mul": _of_two(torch.mul),
    "Neg": _of_one(torch.neg),
    "Pow": _of_two(torch.pow),
    "QuantizeLinear": quantize,
    "Range": _range,
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _of_one(torch.relu),
    "Reshape": _reshape,
    "Resize": resize,
    "Round": _of_one(torch.round),
    "Shape": _shape,
    "Sigmoid": _precise(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Sqrt": _of_one(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _of_two(torch.sub),
    "Tanh": _of_one(torch.tanh),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": lambda _, condition, a, b: torch.where(condition, a, b),
}


def _fold(function: Callable[[Tensor, Tensor], Tensor], parts: tuple[Tensor, ...]) -> Tensor:
    result = parts[0]
    for part in parts[1:]:
        result = function(result, part)
    return result
