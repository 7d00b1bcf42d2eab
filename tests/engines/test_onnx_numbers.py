"""What numbers a file computes with, read off its bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from engines.quantize.writer import Form
from engines.runtimes.onnx_numbers import numbers_of
from tests.support.quantized_models import quantized_model
from tests.support.tiny_models import mean_model
from vedette.errors import ModelError

SHIPPED = Path(__file__).resolve().parents[2] / "engines/weights/vedette-n-seed_640x384.onnx"


def test_shipped_file_is_float32_though_its_weights_are_stored_in_half() -> None:
    numbers = numbers_of(SHIPPED)

    assert (numbers.floats, numbers.activations, numbers.quantized) == ("float32", "float", False)
    assert numbers.operators["Conv"] == 98


@pytest.mark.parametrize("form", ["unsigned", "signed"])
def test_q_dq_files_say_how_their_activations_are_quantized(tmp_path: Path, form: Form) -> None:
    numbers = numbers_of(quantized_model(tmp_path / "m.onnx", form))

    assert (numbers.activations, numbers.quantized) == (form, True)
    assert numbers.operators["QuantizeLinear"] == 4


@pytest.mark.parametrize(("kind", "said"), [(np.float16, "float16"), (np.float32, "float32")])
def test_type_is_that_of_the_convolutions(tmp_path: Path, kind: type, said: str) -> None:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", element, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", element, [1, 4, 6, 6])],
        [numpy_helper.from_array(np.zeros((4, 3, 3, 3), kind), "w")],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))

    assert numbers_of(path).floats == said


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(
    ("zero", "said"), [(TensorProto.INT8, "signed"), (TensorProto.UINT8, "unsigned"), (0, "unsigned")]
)
def test_zero_point_may_be_a_constant_node_or_absent(tmp_path: Path, constant: bool, zero: int, said: str) -> None:
    """Without one, ONNX says, the result is uint8. A weight's QuantizeLinear says nothing of activations."""
    scale = numpy_helper.from_array(np.float32(0.5), "s")
    point = helper.make_tensor("z", zero or TensorProto.INT8, [], [0])
    nodes = [
        *([helper.make_node("Constant", [], ["z"], value=point)] if constant else []),
        helper.make_node("QuantizeLinear", ["x", "s", *(["z"] if zero else [])], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", *(["z"] if zero else [])], ["y"]),
        helper.make_node("QuantizeLinear", ["w", "s", "wz"], ["v"]),
    ]
    constants = [scale, numpy_helper.from_array(np.zeros(3, np.float32), "w")]
    constants += [numpy_helper.from_array(np.array(0, np.int8), "wz")] + ([] if constant else [point])
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
        constants,
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())

    assert numbers_of(path).activations == said


@given(cut=st.integers(1, 2000), garbage=st.binary(max_size=64))
def test_damaged_file_is_refused_in_one_line_or_read(
    tmp_path_factory: pytest.TempPathFactory, cut: int, garbage: bytes
) -> None:
    path = tmp_path_factory.mktemp("cut") / "m.onnx"
    whole = mean_model(path).read_bytes()
    path.write_bytes(whole[: cut % len(whole)] + garbage)

    said = ""
    try:
        numbers_of(path)
    except ModelError as error:
        said = str(error)

    assert said == "" or said.startswith(f"{path}: cannot be read: its bytes")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx: cannot be read: No such file"):
        numbers_of(tmp_path / "none.onnx")
