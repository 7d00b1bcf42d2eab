"""INT8 files for tests: the shipped network with Q/DQ nodes where they belong, its ranges plausible, not measured."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.quantize.calibration import input_range
from engines.quantize.graph import load_graph
from engines.quantize.placement import place
from engines.quantize.ranges import Range
from engines.quantize.rounding import nearest
from engines.quantize.signs import never_negative
from engines.quantize.writer import Form, write
from engines.runtimes import read_model_file
from engines.spec import find_spec
from tests.support.tiny_models import HEIGHT, SPEC, WIDTH

SEED = Path(__file__).resolve().parents[2] / "engines/weights/vedette-n-seed_416x256.onnx"

REACH = 6.0
"""Of every activation: about what the shipped network's have."""


def quantized_seed(folder: Path) -> dict[Form, Path]:
    """Both INT8 files of the shipped network, each with its spec beside it."""
    graph = load_graph(SEED)
    spec = find_spec(read_model_file(SEED)).spec
    placement = place(graph)
    positive = never_negative(graph)
    ranges = {name: Range(low=0.0 if name in positive else -REACH, high=REACH) for name in placement.tensors}
    ranges.update(dict.fromkeys(graph.inputs, input_range(spec.input)))
    convolutions = [node for node in graph.nodes if node.name in set(placement.convolutions)]
    rounded = {node.name: nearest(graph, node, per_channel=True) for node in convolutions}
    paths: dict[Form, Path] = {}
    forms: tuple[Form, ...] = ("unsigned", "signed")
    for form in forms:
        paths[form] = folder / f"seed-int8-{form}.onnx"
        paths[form].write_bytes(write(graph, placement, ranges, rounded, form).SerializeToString())
        plain = msgspec.structs.replace(spec, sha256="", unverified=True)
        paths[form].with_suffix(".yaml").write_bytes(msgspec.yaml.encode(plain))
    return paths


def quantized_model(path: Path, form: Form, *, zero_point: int = 0) -> Path:
    """A few INT8 convolutions around a Concat, whose sums stay small: (n, 2, 6) as the head `end2end` wants it.

    Scales are powers of two and weights small whole numbers, so that every way of computing it is exact.
    """
    kind = np.uint8 if form == "unsigned" else np.int8
    rng = np.random.default_rng(5)
    constants: dict[str, npt.NDArray[np.generic]] = {
        "scale": np.array(0.25, np.float32),
        "zero": np.array(zero_point, kind),
        "weight_scale": np.full(4, 0.125, np.float32),
        "weight_zero": np.zeros(4, np.int8),
        "rows": np.array([1, 2, 6], np.int64),
        "first": rng.integers(-3, 4, (4, 3, 3, 3)).astype(np.int8),
        "second": rng.integers(-3, 4, (4, 4, 3, 3)).astype(np.int8),
        "third": rng.integers(-3, 4, (12, 8, HEIGHT // 8, WIDTH // 8)).astype(np.int8),
        "third_scale": np.full(12, 0.125, np.float32),
        "third_zero": np.zeros(12, np.int8),
    }
    nodes = [
        *_pair("images", "scale", "zero"),
        *_convolution("first", "images_dq", "weight", strides=[4, 4], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["first_out"], ["a"]),
        *_pair("a", "scale", "zero"),
        *_convolution("second", "a_dq", "weight", strides=[1, 1], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["second_out"], ["b"]),
        *_pair("b", "scale", "zero"),
        helper.make_node("Concat", ["a_dq", "b_dq"], ["c"], axis=1),
        *_pair("c", "scale", "zero"),
        helper.make_node("MaxPool", ["c_dq"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        *_convolution("third", "d", "third", strides=[1, 1], pads=[0, 0, 0, 0]),
        helper.make_node("Reshape", ["third_out", "rows"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 2, 6])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    path.with_suffix(".yaml").write_text(SPEC)
    return path


def _pair(tensor: str, scale: str, zero: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [tensor, scale, zero], [f"{tensor}_q"], name=f"{tensor}_quantize"),
        helper.make_node(
            "DequantizeLinear", [f"{tensor}_q", scale, zero], [f"{tensor}_dq"], name=f"{tensor}_dequantize"
        ),
    ]


def _convolution(name: str, x: str, scale: str, **attributes: list[int]) -> list[onnx.NodeProto]:
    return [
        helper.make_node("DequantizeLinear", [name, f"{scale}_scale", f"{scale}_zero"], [f"{name}_w"], axis=0),
        helper.make_node("Conv", [x, f"{name}_w"], [f"{name}_out"], name=name, **attributes),
    ]
