"""With which numbers an ONNX file computes: floats, or INT8 by Q/DQ nodes, signed or unsigned.

Read off the file's own bytes (Protocol Buffers' wire format), since a machine that only runs models has no `onnx`
package. Field numbers are those of onnx.proto3 (ONNX 1.23). Weights are skipped, not read: a large file costs little.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vedette.errors import ModelError

Activations = Literal["float", "unsigned", "signed", "mixed"]
Floats = Literal["float32", "float16", "bfloat16"]

# TensorProto.DataType
_FLOAT, _UINT8, _INT8, _FLOAT16, _BFLOAT16 = 1, 2, 3, 10, 16
_FLOATS: dict[int, Floats] = {_FLOAT: "float32", _FLOAT16: "float16", _BFLOAT16: "bfloat16"}
_UNKNOWN = 0

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
_RESHAPING = frozenset({"Identity", "Cast", "Reshape", "Transpose", "Unsqueeze", "Squeeze"})

_Span = tuple[int, int]
_Node = tuple[str, list[str], list[str], int | None]
"""Type, inputs, outputs, and of a Constant the type of its tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What the nodes of a file say.

    `floats`: the type in which most of its convolutions and matrix products compute (what is stored smaller and cast
    counts as what it is cast to). `activations`: `float` for a file without Q/DQ nodes, else how its activations are
    quantized. `operators`: how often each type of node occurs.
    """

    floats: Floats
    activations: Activations
    operators: Mapping[str, int]

    @property
    def quantized(self) -> bool:
        return self.activations != "float"


FLOAT = Numbers(floats="float32", activations="float", operators={})
"""What a file that is no ONNX file counts as."""


def numbers_of(path: Path) -> Numbers:
    """Look through an ONNX file. Raises ModelError if it is none."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _numbers(data)
    except (OSError, ValueError, IndexError) as error:
        why = error.strerror if isinstance(error, OSError) else "its bytes are not those of an ONNX model"
        msg = f"{path}: cannot be read: {why}"
        raise ModelError(msg) from error


def _numbers(data: mmap.mmap) -> Numbers:
    types: dict[str, int] = {}  # of constants
    nodes: list[_Node] = []
    for field, graph in _spans(data, (0, len(data))):
        if field != 7:  # ModelProto.graph
            continue
        for part, span in _spans(data, graph):
            if part == 5:  # GraphProto.initializer
                name, kind = _tensor(data, span)
                types[name] = kind
            elif part == 1:  # GraphProto.node
                nodes.append(_node(data, span))
    floats: Counter[Floats] = Counter()
    signs: set[int] = set()
    dequantized: dict[str, int] = {}  # output of a DequantizeLinear -> type of its scale
    for operator, inputs, outputs, constant in nodes:
        if constant is not None:
            types[outputs[0]] = constant
        elif operator in _RESHAPING and inputs[0] in types:
            types[outputs[0]] = _UNKNOWN if operator == "Cast" else types[inputs[0]]
        elif operator == "DequantizeLinear":
            dequantized[outputs[0]] = types.get(inputs[1], _UNKNOWN)
        elif operator == "QuantizeLinear" and inputs[0] not in types:  # else it is a weight's
            # An absent zero point means unsigned, says ONNX.
            signs.add(types.get(inputs[2], _UINT8) if len(inputs) > 2 else _UINT8)
        elif operator in _PRODUCTS:
            kind = types.get(inputs[1], dequantized.get(inputs[1], _UNKNOWN))
            floats[_FLOATS.get(kind, "float32")] += 1
    activations: Activations = "float"
    if signs:
        activations = "mixed" if len(signs) > 1 else ("signed" if _INT8 in signs else "unsigned")
    return Numbers(
        floats=floats.most_common(1)[0][0] if floats else "float32",
        activations=activations,
        operators=Counter(node[0] for node in nodes),
    )


def _node(data: mmap.mmap, node: _Span) -> _Node:
    operator, constant = "", None
    inputs, outputs = [], []
    for field, span in _spans(data, node):
        if field == 1:
            inputs.append(_text(data, span))
        elif field == 2:
            outputs.append(_text(data, span))
        elif field == 4:
            operator = _text(data, span)
        elif field == 5 and operator == "Constant":
            constant = _UNKNOWN
            for part, tensor in _spans(data, span):
                if part == 5:  # AttributeProto.t
                    _, constant = _tensor(data, tensor)
    return operator, inputs, outputs, constant


def _tensor(data: mmap.mmap, tensor: _Span) -> tuple[str, int]:
    """A tensor's name and type."""
    name, kind = "", _UNKNOWN
    for field, span in _spans(data, tensor):
        if field == 8:
            name = _text(data, span)
        elif field == 2:
            kind = span[0]
    return name, kind


def _spans(data: mmap.mmap, message: _Span) -> Iterator[tuple[int, _Span]]:
    """The fields of a message: number and where its bytes lie; of a number its value, with -1 for the end."""
    position, end = message
    while position < end:
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield tag >> 3, (value, -1)
        elif kind == _BYTES:
            length, position = _varint(data, position)
            if position + length > end:
                raise ValueError
            yield tag >> 3, (position, position + length)
            position += length
        elif kind in {_FIXED64, _FIXED32}:
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _text(data: mmap.mmap, span: _Span) -> str:
    return data[span[0] : span[1]].decode(errors="replace")
