"""FP16 by casting: what is halved, what stays float32, and that onnxruntime finds nearly the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import engines
from engines.half import as_float16, to_float16
from engines.runtimes import read_model_file
from engines.spec import InputSpec, ModelSpec, find_spec
from engines.yolo_nas.export import as_onnx
from engines.yolo_nas.random_weights import random_network
from vedette.errors import ModelError

SEED = Path(engines.__file__).parent / "weights" / "vedette-n-seed_416x256.onnx"

Floats = npt.NDArray[np.float32]


def session(model: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    given = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(given, settings, providers=["CPUExecutionProvider"])


def squares(batch: int, width: int, height: int) -> Floats:
    small = np.random.default_rng(2).random((batch, 3, height // 16, width // 16), np.float32)
    return small.repeat(16, axis=2).repeat(16, axis=3)


def types(model: onnx.ModelProto) -> dict[str, int]:
    graph = model.graph
    found = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
    return found | {weight.name: weight.data_type for weight in graph.initializer}


@pytest.mark.parametrize("dynamic_size", [False, True])
def test_yolo_nas_is_half_up_to_its_predictions_and_float_behind(dynamic_size: bool) -> None:
    spec = ModelSpec(name="n", head="yolo_nas", classes=("a", "b"), input=InputSpec(size=(96, 64)))
    whole = as_onnx(random_network("n", 2), spec, dynamic_size=dynamic_size)
    half = as_float16(whole, "n.onnx")
    kinds = types(half)
    for node in half.graph.node:
        body = node.name.startswith(("backbone.", "neck.", "heads.")) and node.op_type != "Cast"
        floats = [kinds[name] for name in (*node.input, *node.output) if kinds[name] != TensorProto.INT64]
        if node.op_type != "Cast":
            assert set(floats) <= {TensorProto.FLOAT16 if body else TensorProto.FLOAT}, node.name
    # One for the picture, one for each of six predictions, and those that computed anchors before.
    assert Counter(node.op_type for node in half.graph.node)["Cast"] == 7 + 6 * dynamic_size
    assert half.ByteSize() < 0.52 * whole.ByteSize()
    images = squares(3, 96, 64)
    boxes, scores = session(whole).run(["boxes", "scores"], {"images": images})
    half_boxes, half_scores = session(half).run(["boxes", "scores"], {"images": images})
    assert half_boxes.dtype == half_scores.dtype == np.float32
    assert float(np.abs(boxes - half_boxes).max()) < 0.5
    assert float(np.abs(scores - half_scores).max()) < 2e-3


def test_a_file_with_weights_stored_in_half_keeps_them_and_its_spec(tmp_path: Path) -> None:
    out = to_float16(SEED, tmp_path / "half.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["half.onnx"]
    half = onnx.load(out)
    casts = [node for node in half.graph.node if node.op_type == "Cast"]
    assert len(casts) < 12, "the weights' own Casts are gone"
    assert find_spec(read_model_file(out)).spec.classes == ("person", "vehicle", "bike")
    images = squares(1, 416, 256)
    boxes, scores = session(SEED).run(["boxes", "scores"], {"images": images})
    half_boxes, half_scores = session(out).run(["boxes", "scores"], {"images": images})
    assert float(np.abs(boxes - half_boxes).max()) < 1.0
    assert float(np.abs(scores - half_scores).max()) < 2e-3


def network(
    nodes: list[onnx.NodeProto], weights: dict[str, npt.NDArray[Any]], outputs: dict[str, list[int]]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def conv(given: str, name: str, weight: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [given, weight], [name], name=name)


POINT = np.array([[1.5, 0.25], [-1.0, 2.0]], np.float32).reshape(2, 2, 1, 1)


def test_an_output_keeps_its_name_and_type_also_where_the_network_goes_on() -> None:
    nodes = [conv("x", "first", "w"), helper.make_node("Relu", ["first"], ["relu"]), conv("relu", "last", "w")]
    model = network(nodes, {"w": POINT}, {"first": [1, 2, 4, 4], "last": [1, 2, 4, 4]})
    half = as_float16(model, "small")
    assert [(value.name, value.type.tensor_type.elem_type) for value in half.graph.output] == [
        ("first", 1),
        ("last", 1),
    ]
    x = np.random.default_rng(0).random((1, 2, 4, 4), np.float32)
    for got, wanted in zip(session(half).run(None, {"x": x}), session(model).run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(got, wanted, atol=5e-3)
    assert [weight.data_type for weight in half.graph.initializer] == [TensorProto.FLOAT16]


def test_what_half_cannot_hold_or_do_stays_float() -> None:
    nodes = [
        conv("x", "a", "w"),
        helper.make_node("Mul", ["a", "large"], ["b"]),
        helper.make_node("Softmax", ["b"], ["c"], axis=1),
        helper.make_node("Resize", ["c", "", "scales"], ["d"], mode="nearest"),
        conv("d", "e", "w"),
        conv("e", "f", "one"),
    ]
    weights = {
        "w": POINT,
        "large": np.array([1e6], np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "one": np.arange(2, dtype=np.float32).reshape(1, 2, 1, 1),
    }
    model = network(nodes, weights, {"f": [1, 1, 8, 8]})
    half = as_float16(model, "small")
    kinds = types(half)
    half_kind, float_kind = TensorProto.FLOAT16, TensorProto.FLOAT
    assert [kinds[name] for name in "abcdef"] == [half_kind, float_kind, float_kind, half_kind, half_kind, float_kind]
    assert kinds["large"] == kinds["scales"] == kinds["one"] == float_kind
    x = np.random.default_rng(0).random((1, 2, 4, 4), np.float32)
    np.testing.assert_allclose(session(half).run(None, {"x": x})[0], session(model).run(None, {"x": x})[0], atol=5e-3)


def test_a_quantized_file_is_refused() -> None:
    weights = {"w": POINT, "scale": np.array(0.1, np.float32), "zero": np.array(0, np.uint8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        conv("d", "y", "w"),
    ]
    with pytest.raises(ModelError, match=r"a\.onnx: is quantized, expected a float file to make FP16 of"):
        as_float16(network(nodes, weights, {"y": [1, 2, 4, 4]}), "a.onnx")


def test_a_file_without_convolutions_is_refused() -> None:
    model = network([helper.make_node("Relu", ["x"], ["y"])], {}, {"y": [1, 2, 4, 4]})
    with pytest.raises(ModelError, match=r"a\.onnx: has no convolutions"):
        as_float16(model, "a.onnx")


def test_a_file_that_is_none_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="is not an ONNX model that can be loaded"):
        to_float16(tmp_path / "bad.onnx", tmp_path / "half.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.onnx"]
