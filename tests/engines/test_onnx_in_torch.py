"""ONNX files in torch against onnxruntime, which is the reference for each operator and for whole networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engines.quantize.writer import Form
from engines.runtimes.onnx_in_torch import read_onnx
from engines.runtimes.onnx_in_torch.module import UnsupportedNodeError
from engines.spec import InputSpec, ModelSpec
from engines.yolo_nas.export import export_onnx
from engines.yolo_nas.random_weights import random_network
from tests.support.models import colour_model
from tests.support.quantized_models import quantized_model, quantized_seed
from tests.support.shared import SHARED
from tests.support.tiny_models import HEIGHT, WIDTH
from vedette.errors import ModelError

SHIPPED = Path(__file__).resolve().parents[2] / "engines/weights/vedette-n-seed_640x384.onnx"
Arrays = dict[str, npt.NDArray[Any]]


@pytest.fixture(autouse=True, scope="module")
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def in_onnxruntime(path: Path, x: npt.NDArray[Any]) -> Arrays:
    """Plain: nothing fused, so that Q/DQ nodes are computed as they stand."""
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 2
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # torch runs next
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: x}), strict=True))


def in_torch(path: Path, x: npt.NDArray[Any]) -> Arrays:
    with torch.inference_mode():
        return {name: output.numpy() for name, output in read_onnx(path)(torch.from_numpy(x)).items()}


def picture(*shape: int, high: float = 1.0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).random(shape, dtype=np.float32) * np.float32(high)


def test_shipped_network_agrees() -> None:
    x = picture(1, 3, 384, 640)
    want, got = in_onnxruntime(SHIPPED, x), in_torch(SHIPPED, x)

    np.testing.assert_allclose(got["boxes"], want["boxes"], atol=5e-3)
    np.testing.assert_allclose(got["scores"], want["scores"], atol=1e-5)


@pytest.mark.skipif(SHARED is None, reason="the teachers are not here")
@pytest.mark.parametrize(("name", "side"), [("yolox_nano_dynamic", 320), ("nanodet_plus_m_416", 416)])
def test_foreign_networks_agree(name: str, side: int) -> None:
    path = Path(str(SHARED)) / "teachers" / f"{name}.onnx"
    x = picture(1, 3, side, side, high=255.0)

    np.testing.assert_allclose(in_torch(path, x)["output"], in_onnxruntime(path, x)["output"], atol=2e-3, rtol=1e-4)


def test_a_network_of_many_operators_agrees(tmp_path: Path) -> None:
    path = colour_model(tmp_path / "colours.onnx")
    x = picture(1, 3, 96, 160)
    want, got = in_onnxruntime(path, x), in_torch(path, x)

    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-3)


def test_network_of_free_size_agrees_at_each_size_and_batch(tmp_path: Path) -> None:
    """Its anchors are made of the input's shape: they are kept for each."""
    path = tmp_path / "free.onnx"
    spec = ModelSpec(name="free", head="yolo_nas", classes=("a", "b"), input=InputSpec(size=(64, 64)))
    export_onnx(random_network("n", 2), spec, path, dynamic_size=True)
    network = read_onnx(path)

    for shape in ((1, 3, 64, 96), (2, 3, 96, 64), (1, 3, 64, 96)):
        x = picture(*shape)
        want = in_onnxruntime(path, x)
        with torch.inference_mode():
            got = {name: output.numpy() for name, output in network(torch.from_numpy(x)).items()}
        np.testing.assert_allclose(got["boxes"], want["boxes"], atol=5e-3)
        np.testing.assert_allclose(got["scores"], want["scores"], atol=1e-5)


@pytest.mark.parametrize("zero_point", [0, 3])
@pytest.mark.parametrize("form", ["unsigned", "signed"])
def test_q_dq_nodes_are_computed_as_onnx_defines_them(tmp_path: Path, form: Form, zero_point: int) -> None:
    """All numbers of this network are exact in float32: so must the results be."""
    path = quantized_model(tmp_path / "m.onnx", form, zero_point=zero_point)
    x = picture(1, 3, HEIGHT, WIDTH, high=40.0)

    np.testing.assert_array_equal(in_torch(path, x)["output"], in_onnxruntime(path, x)["output"])


@pytest.mark.parametrize("form", ["unsigned", "signed"])
def test_int8_form_of_the_shipped_network_agrees(tmp_path: Path, form: Form) -> None:
    """Not to the last bit: a sum that lies between two steps is rounded to either."""
    path = quantized_seed(tmp_path)[form]
    x = picture(1, 3, 256, 416)
    want, got = in_onnxruntime(path, x), in_torch(path, x)

    assert np.abs(got["scores"] - want["scores"]).max() < 0.03
    assert np.abs(got["scores"] - want["scores"]).mean() < 2e-3
    assert np.abs(got["boxes"] - want["boxes"]).mean() < 1.0


def node(
    path: Path, kind: str, x: npt.NDArray[Any], *more: npt.NDArray[Any] | None, opset: int = 17, **attributes: Any
) -> Path:
    """A file of one node: `x` goes in, `more` are constants."""
    names = [f"c{index}" if array is not None else "" for index, array in enumerate(more)]
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", *names], ["y"], name="the_node", **attributes)],
        "g",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), list(x.shape))],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(array, name) for name, array in zip(names, more, strict=True) if array is not None],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


I = np.array  # noqa: E741
FLOORED = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
CORNERS = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
WEIGHT = np.random.default_rng(2).normal(size=(4, 2, 3, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "more", "attributes"),
    [
        ("Conv", [WEIGHT, np.ones(4, np.float32)], {"pads": [0, 1, 2, 1], "strides": [2, 1], "group": 2}),
        ("Conv", [WEIGHT], {"auto_pad": "SAME_UPPER", "strides": [2, 2], "group": 2}),
        ("Conv", [WEIGHT], {"auto_pad": "SAME_LOWER", "strides": [3, 2], "group": 2}),
        ("ConvTranspose", [WEIGHT[:4]], {"strides": [2, 2], "output_padding": [1, 1], "pads": [1, 1, 1, 1]}),
        ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
        ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
        ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
        ("GlobalAveragePool", [], {}),
        ("Resize", [None, I([1, 1, 2, 2], np.float32)], FLOORED),
        ("Resize", [None, I([1, 1, 2, 2], np.float32)], {"mode": "linear"}),
        ("Resize", [None, None, I([2, 4, 5, 9])], CORNERS),
        ("Reshape", [I([0, -1])], {}),
        ("Transpose", [], {"perm": [0, 2, 3, 1]}),
        ("Transpose", [], {}),
        ("Flatten", [], {"axis": 2}),
        ("ReduceSum", [I([2, -1])], {"keepdims": 0}),
        ("ReduceMean", [], {"axes": [1]}),
        ("ReduceMax", [], {"axes": [-1], "keepdims": 0}),
        ("Softmax", [], {"axis": 1}),
        ("Slice", [I([1, -3]), I([2**31, -1]), I([2, 3])], {}),
        ("Slice", [I([-1]), I([-(2**31)]), I([3]), I([-2])], {}),
        ("Gather", [I([[0, -1], [2, 1]])], {"axis": 2}),
        ("Gather", [I(1)], {"axis": 1}),
        ("Unsqueeze", [I([0, -1])], {}),
        ("Expand", [I([3, 1, 1, 1, 1])], {}),
        ("Tile", [I([1, 2, 1, 3])], {}),
        ("Clip", [I(0.2, np.float32), I(0.7, np.float32)], {}),
        ("Clip", [None, I(0.7, np.float32)], {}),
        ("Add", [I([0.5], np.float32)], {}),
        ("Pow", [I(2.0, np.float32)], {}),
        ("MatMul", [np.ones((7, 3), np.float32)], {}),
        ("LeakyRelu", [], {"alpha": 0.1}),
        ("HardSigmoid", [], {}),
        ("HardSwish", [], {}),
        ("Sigmoid", [], {}),
        ("Cast", [], {"to": TensorProto.INT64}),
        ("BatchNormalization", [np.arange(1, 5, dtype=np.float32)] * 4, {}),
        ("QuantizeLinear", [I([0.1, 0.2, 0.3, 0.4], np.float32), I([1, 2, 3, 4], np.uint8)], {"axis": 1}),
        ("QuantizeLinear", [I(0.01, np.float32), I(-3, np.int8)], {}),
        ("QuantizeLinear", [I(0.01, np.float32)], {}),
        ("Shape", [], {}),
    ],
)  # fmt: skip
def test_operator_is_onnxruntime_s(tmp_path: Path, kind: str, more: Sequence[Any], attributes: dict[str, Any]) -> None:
    x = picture(2, 4, 5, 7)
    path = node(tmp_path / "m.onnx", kind, x, *more, **attributes)

    want, got = in_onnxruntime(path, x)["y"], in_torch(path, x)["y"]

    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("parts", [[I([1, 3])], []])
def test_split(tmp_path: Path, parts: list[Any]) -> None:
    x = picture(1, 4)
    names = ["sizes"] if parts else []
    graph = helper.make_graph(
        [helper.make_node("Split", ["x", *names], ["a", "b"], axis=1)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_empty_tensor_value_info(name) for name in "ab"],
        [numpy_helper.from_array(array, "sizes") for array in parts],
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    )

    want, got = in_onnxruntime(path, x), in_torch(path, x)

    for name in "ab":
        np.testing.assert_array_equal(got[name], want[name])


def test_operator_that_is_lacking_is_named_at_once(tmp_path: Path) -> None:
    path = node(tmp_path / "m.onnx", "Einsum", picture(2, 2), equation="ij->ji")

    with pytest.raises(ModelError, match=r"torch does not run it: no Einsum in") as error:
        read_onnx(path)
    assert error.value.hint == "model.backend: onnxruntime or openvino runs it"


def test_operator_used_in_a_way_that_is_lacking_is_named_with_its_node(tmp_path: Path) -> None:
    x = picture(1, 1, 4, 4)
    path = node(tmp_path / "m.onnx", "Resize", x, None, I([1, 1, 1.5, 1.5], np.float32), mode="cubic")

    with pytest.raises(UnsupportedNodeError, match=r"node the_node \(Resize\): Resize cubic with half_pixel"):
        in_torch(path, x)


def test_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model, just words that nobody meant to be one")

    with pytest.raises(ModelError, match=r"m\.onnx: is not an ONNX model that can be loaded"):
        read_onnx(path)


def test_half_precision_is_of_the_convolutions_alone() -> None:
    network = read_onnx(SHIPPED).to_precision(torch.bfloat16)
    with torch.inference_mode():
        outputs = network(torch.zeros(1, 3, 384, 640))

    assert {output.dtype for output in outputs.values()} == {torch.float32}
    kinds = {buffer.dtype for buffer in network.buffers()}
    assert kinds == {torch.bfloat16, torch.float32}
