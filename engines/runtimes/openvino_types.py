"""What OpenVINO executes, read off the compiled model: a file that is INT8 is not therefore run in INT8.

Source: the runtime model's `layerType`, `execType`, `runtimePrecision` (OpenVINO's execution graph).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_INT8 = frozenset({"u8", "i8"})
_CONVOLUTIONS = frozenset({"Convolution", "Deconvolution"})
_PRODUCTS = _CONVOLUTIONS | {"FullyConnected", "MatMul"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """Nodes of the execution graph: how many of which kind compute in which type, `{("Convolution", "u8"): 98}`."""

    nodes: Mapping[tuple[str, str], int]

    @property
    def products(self) -> int:
        """Convolutions and matrix products: what takes the time."""
        return sum(count for (kind, _), count in self.nodes.items() if kind in _PRODUCTS)

    @property
    def int8_products(self) -> int:
        return sum(count for (kind, precision), count in self.nodes.items() if kind in _PRODUCTS and precision in _INT8)

    def count(self, kind: str) -> int:
        """How many nodes of a kind there are: `Subgraph` are element-wise leftovers, `Reorder` changes of layout."""
        return sum(count for (name, _), count in self.nodes.items() if name == kind)

    @property
    def said(self) -> str:
        """For a description: "INT8 in 98 of 98 convolutions, "; empty without INT8."""
        found = [(precision, count) for (kind, precision), count in self.nodes.items() if kind in _CONVOLUTIONS]
        int8 = sum(count for precision, count in found if precision in _INT8)
        return f"INT8 in {int8} of {sum(count for _, count in found)} convolutions, " if int8 else ""


def executed(compiled: Any) -> Executed:
    """What a compiled model (`openvino.CompiledModel`) runs."""
    nodes: Counter[tuple[str, str]] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        nodes[info["layerType"].astype(str), info["runtimePrecision"].astype(str).lower()] += 1
    return Executed(nodes=nodes)
