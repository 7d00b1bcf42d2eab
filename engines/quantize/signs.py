"""What operators do to values: which only move them, and which tensors cannot be below zero."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from engines.quantize.graph import Graph

_MOVES = frozenset({
    "MaxPool", "Concat", "Slice", "Split", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity",
    "DepthToSpace", "SpaceToDepth",
})  # fmt: skip

_NEVER_NEGATIVE = frozenset({"Relu", "Sigmoid", "Softmax", "Abs", "Exp", "HardSigmoid"})

_KEEP_SIGN = frozenset({"Add", "Mul", "AveragePool", "GlobalAveragePool"})
"""Of numbers none of which is negative these make no negative one."""


def only_moves(node: onnx.NodeProto) -> bool:
    """Whether its output holds nothing but values of its inputs, so that one scale serves both."""
    if node.op_type in {"Resize", "Upsample"}:
        return next((attribute.s for attribute in node.attribute if attribute.name == "mode"), b"nearest") == b"nearest"
    if node.op_type == "MaxPool":
        return len(node.output) == 1  # the second would be places, not values
    return node.op_type in _MOVES


def never_negative(graph: Graph) -> frozenset[str]:
    """The tensors that cannot be below zero, whatever the picture, by what makes them."""
    known = dict.fromkeys(graph.inputs, False)
    for node in graph.nodes:
        positive = _never_negative(graph, node, known)
        known.update(dict.fromkeys(node.output, positive))
    return frozenset(name for name, positive in known.items() if positive)


def _never_negative(graph: Graph, node: onnx.NodeProto, known: Mapping[str, bool]) -> bool:
    if node.op_type in _NEVER_NEGATIVE:
        return True
    if node.op_type == "Clip":
        least = node.input[1] if len(node.input) > 1 else ""
        return least in graph.constants and float(graph.array(least).min()) >= 0.0
    activations = graph.activations(node)
    if only_moves(node):
        moved = activations if node.op_type == "Concat" else activations[:1]
        constants = [name for name in node.input if name in graph.constants] if node.op_type == "Concat" else []
        return bool(moved) and all(known.get(name, False) for name in moved) and not constants
    if node.op_type in _KEEP_SIGN:
        numbers = [graph.array(name) for name in node.input if name in graph.constants]
        return all(known.get(name, False) for name in activations) and all(array.min() >= 0 for array in numbers)
    return False
