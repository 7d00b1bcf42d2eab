"""What the engines of a CPU make of a Q/DQ file: whether its convolutions run in INT8, and what is left beside them.

A graph may be right and slow: one pair too many, and an engine runs a kernel of its own for it. Both engines tell:
OpenVINO by its execution graph, onnxruntime by the optimised graph that it can save.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import onnx
import onnxruntime
import openvino

from engines.types import SizeWH

_INT8 = frozenset({"u8", "i8"})
_OPENVINO_CONVOLUTIONS = frozenset({"Convolution", "Deconvolution"})
_NOT_RUN = frozenset({"Const", "Input", "Output", "Reshape"})
"""Of OpenVINO's execution graph: what costs nothing."""

_INT8_CONVOLUTIONS = frozenset({"QLinearConv", "ConvInteger"})
_FLOAT_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "ConvTranspose"})


class Executed(msgspec.Struct, frozen=True, kw_only=True):
    """Convolutions by their type, names of those in float, and all else that is run, by operator (OpenVINO: and type).

    A convolution that reads bytes is INT8, whatever it gives. `requantized`: OpenVINO's nodes that make bytes of
    bytes, onnxruntime's QuantizeLinear and DequantizeLinear: what a better placement would not need.
    """

    runtime: str
    int8_convolutions: int
    float_convolutions: tuple[str, ...]
    requantized: int
    others: Mapping[str, int]


def in_openvino(model: Path, size_wh: SizeWH) -> Executed:
    """Compile the file for one picture of `size_wh` and read the execution graph."""
    width, height = size_wh
    core = openvino.Core()
    network = core.read_model(model)
    if network.is_dynamic():
        network.reshape([1, 3, height, width])
    compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    int8, floats, requantized, others = 0, [], 0, Counter[str]()
    for node in compiled.get_runtime_model().get_ordered_ops():
        kind, reads, gives = (_said(node, key) for key in ("layerType", "runtimePrecision", "outputPrecisions"))
        if kind in _OPENVINO_CONVOLUTIONS:
            if reads in _INT8:
                int8 += 1
            else:
                floats.append(node.get_friendly_name())
        elif kind not in _NOT_RUN:
            others[f"{kind} {reads}"] += 1
            requantized += kind in {"Subgraph", "Eltwise", "FakeQuantize"} and reads in _INT8 and gives in _INT8
    return Executed(
        runtime="openvino",
        int8_convolutions=int8,
        float_convolutions=tuple(floats),
        requantized=requantized,
        others=dict(others),
    )


def _said(node: Any, key: str) -> str:
    text: str = node.get_rt_info()[key].astype(str)
    return text if key == "layerType" else text.lower()


def in_onnxruntime(model: Path) -> Executed:
    """Open the file and read the optimised graph."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory(prefix="vedette-") as folder:
        settings.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        onnxruntime.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
        nodes = onnx.load(settings.optimized_model_filepath).graph.node
    kinds = Counter(node.op_type for node in nodes)
    convolutions = _INT8_CONVOLUTIONS | _FLOAT_CONVOLUTIONS
    return Executed(
        runtime="onnxruntime",
        int8_convolutions=sum(kinds[kind] for kind in _INT8_CONVOLUTIONS),
        float_convolutions=tuple(node.name for node in nodes if node.op_type in _FLOAT_CONVOLUTIONS),
        requantized=kinds["QuantizeLinear"] + kinds["DequantizeLinear"],
        others={kind: count for kind, count in kinds.items() if kind not in convolutions},
    )
