"""Where the Q/DQ nodes stand, decided from the graph's topology alone.

A tensor that is rounded gets one Q/DQ pair at the node that makes it, and all its readers read what comes out of it:

- what a quantized convolution reads: after the ReLU, never between the convolution and its ReLU, so that an engine
  fuses convolution, ReLU and rounding into one kernel (FACTS: one more pair there costs a kernel a convolution);
- both inputs of a sum of two activations (the residual of a bottleneck) and its output, if a convolution reads that.
  A positive number that the shortcut is multiplied by (the learnt alpha) goes into the scale of a second
  DequantizeLinear of the same bytes: no multiplication is left, and nothing is rounded twice;
- the inputs of a concat, of a max-pool and of all else that only moves values, with one scale for all that goes in and
  comes out: a byte must mean the same on both sides. What comes out has a pair again, which moves nothing either, so
  that onnxruntime sees bytes on both sides; but not where a zero point is needed, since OpenVINO removes the second
  pair with zero point 0 only (else: one more kernel for each input of the concat).

None after a prediction convolution (one from which no other convolution can be reached): its INT8 kernel gives
floats, and softmax, sigmoid and decoding stay float. None on biases (TensorRT refuses int32 there; the engines add
them to 32-bit sums anyway).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx

from engines.quantize.graph import WEIGHTED, Graph, quantizable, scalar
from engines.quantize.signs import never_negative, only_moves
from vedette.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """A product that is not made: `factor` times `tensor` is another reading of the tensor's bytes."""

    tensor: str
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tensors that share one scale and one zero point.

    `tensors`: those with a pair, in the graph's order; `sources`: those that the values of all come from, which are
    measured; `never_negative`: nothing in it can be below zero, so that the zero point is 0.
    """

    tensors: tuple[str, ...]
    sources: tuple[str, ...]
    never_negative: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which tensors are rounded to 8 bits, which share a scale, and what stays float.

    `scaled`: outputs of Mul that became a DequantizeLinear. `convolutions`: names of the nodes with int8 weights;
    `predictions`: those of them that give floats. `left_float`: name of a convolution to the reason.
    """

    groups: tuple[Group, ...]
    scaled: Mapping[str, Scaled]
    convolutions: tuple[str, ...]
    predictions: tuple[str, ...]
    left_float: Mapping[str, str]

    @property
    def tensors(self) -> tuple[str, ...]:
        return tuple(tensor for group in self.groups for tensor in group.tensors)

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(tensor for group in self.groups for tensor in group.sources)


def place(graph: Graph, *, exclude: Sequence[str] = (), up_branch_float: bool = False) -> Placement:
    """Decide. `exclude`: shell patterns of node names whose nodes stay float.

    Raises ModelError for a pattern that fits no node, and if no convolution is left to quantize.
    """
    reasons = _excluded(graph, exclude)
    if up_branch_float:
        for name in _up_branch(graph):
            reasons.setdefault(name, "the up-branch is left float")
    convolutions: list[onnx.NodeProto] = []
    left_float: dict[str, str] = {}
    for node in graph.nodes:
        if node.op_type not in WEIGHTED:
            continue
        if node.name in reasons:
            left_float[node.name] = reasons[node.name]
        elif not quantizable(graph, node):
            left_float[node.name] = "its weights are not constant float32"
        else:
            convolutions.append(node)
    if not convolutions:
        msg = f"expected a convolution to quantize, got none: all {len(left_float)} are left float"
        raise ModelError(msg, hint="exclude fewer nodes")
    leading = graph.leading_to(WEIGHTED)
    groups, scaled = _Builder(graph, frozenset(reasons)).groups([node.input[0] for node in convolutions])
    return Placement(
        groups=groups,
        scaled=scaled,
        convolutions=tuple(node.name for node in convolutions),
        predictions=tuple(node.name for node in convolutions if node.name not in leading),
        left_float=left_float,
    )


def _excluded(graph: Graph, patterns: Sequence[str]) -> dict[str, str]:
    names = [node.name for node in graph.nodes]
    reasons: dict[str, str] = {}
    for pattern in patterns:
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            near = difflib.get_close_matches(pattern, names, 1, cutoff=0.4)
            msg = f"exclude: no node has a name like {pattern!r}"
            raise ModelError(msg, hint=f"a node is named {near[0]!r}" if near else "names are those of the ONNX nodes")
        reasons.update(dict.fromkeys(found, f"excluded by {pattern!r}"))
    return reasons


def _up_branch(graph: Graph) -> list[str]:
    """The transposed convolutions, what their values move through, and the convolutions that read those."""
    names: list[str] = []
    tensors: list[str] = []
    for node in graph.nodes:
        if node.op_type == "ConvTranspose":
            names.append(node.name)
            tensors += node.output
    while tensors:
        for reader in graph.readers.get(tensors.pop(), ()):
            names.append(reader.name)
            if only_moves(reader):
                tensors += reader.output
    return names


class _Builder:
    """Works backwards from what the convolutions read."""

    def __init__(self, graph: Graph, excluded: frozenset[str]) -> None:
        self._graph = graph
        self._excluded = excluded
        self._positive = never_negative(graph)
        self._parents: dict[str, str] = {}

    def groups(self, read: Sequence[str]) -> tuple[tuple[Group, ...], dict[str, Scaled]]:
        wanted: set[str] = set()
        waiting = list(read)
        while waiting:
            tensor = waiting.pop()
            if tensor not in wanted and tensor not in self._graph.constants:
                wanted.add(tensor)
                waiting += self._also(tensor)
        order = [*self._graph.inputs, *(output for node in self._graph.nodes for output in node.output)]
        members: dict[str, list[str]] = {}
        for name in order:
            if name in wanted:
                members.setdefault(self._root(name), []).append(name)
        found = [self._group(names) for names in members.values()]
        scaled = self._scaled({name for group in found for name in group.tensors}, members)
        return tuple(group for group in found if group.tensors[0] not in scaled), scaled

    def _also(self, tensor: str) -> list[str]:
        """What else must be rounded because `tensor` is."""
        node = self._graph.producers.get(tensor)
        if node is None or node.name in self._excluded:
            return []
        activations = self._graph.activations(node)
        if only_moves(node):
            moved = activations if node.op_type == "Concat" else activations[:1]
            for name in moved:
                self._parents[self._root(name)] = self._root(tensor)
            return moved
        if node.op_type == "Add" and len(activations) == len(node.input) == 2:
            return activations
        if scalar(self._graph, node) is not None and self._summed(tensor):
            return activations
        return []

    def _group(self, names: list[str]) -> Group:
        positive = all(name in self._positive for name in names)
        sources = tuple(name for name in names if not self._moved(name))
        return Group(tensors=tuple(names) if positive else sources, sources=sources, never_negative=positive)

    def _scaled(self, paired: set[str], members: Mapping[str, list[str]]) -> dict[str, Scaled]:
        scaled = {}
        for name in paired:
            node = self._graph.producers.get(name)
            factor = None if node is None or node.name in self._excluded else scalar(self._graph, node)
            if node is None or factor is None or factor < _LEAST_FACTOR or name in self._graph.outputs:
                continue
            (factored,) = self._graph.activations(node)
            alone = members[self._root(name)] == [name]
            sums = all(reader.op_type == "Add" for reader in self._graph.readers[name])
            if factored in paired and alone and sums:
                scaled[name] = Scaled(tensor=factored, factor=factor)
        return scaled

    def _moved(self, name: str) -> bool:
        node = self._graph.producers.get(name)
        return node is not None and node.name not in self._excluded and only_moves(node)

    def _summed(self, tensor: str) -> bool:
        return any(reader.op_type == "Add" for reader in self._graph.readers.get(tensor, ()))

    def _root(self, name: str) -> str:
        while (parent := self._parents.get(name, name)) != name:
            name = parent
        return name


_LEAST_FACTOR = 2.0**-20
"""A scale must stay a normal float32 and greater than 0; a shortcut that weighs less is as good as none (a guess)."""
