"""The signed form made from the unsigned file alone is what calibration itself would have written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engines.quantize.signed import as_signed
from engines.weights import find_model
from tests.engines.quantize.conftest import Made
from tests.engines.quantize.test_writer import batch, run
from tests.support.quantized_models import quantized_model
from vedette.errors import ModelError


@pytest.mark.parametrize("name", ["small", "seed"])
def test_it_is_what_calibration_wrote(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    made: Made = request.getfixturevalue(name)
    unsigned, written = onnx.load(made.quantized.unsigned), onnx.load(made.quantized.signed)

    got = as_signed(unsigned)

    assert [node.SerializeToString() for node in got.graph.node] == [
        node.SerializeToString() for node in written.graph.node
    ]
    expected = {tensor.name: numpy_helper.to_array(tensor) for tensor in written.graph.initializer}
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in unsigned.graph.initializer}
    assert {tensor.name for tensor in got.graph.initializer} == set(expected)
    for tensor in got.graph.initializer:
        values = numpy_helper.to_array(tensor)
        assert values.dtype == expected[tensor.name].dtype
        zero = before.get(tensor.name.removesuffix("/scale") + "/zero_point")
        shifted = zero is not None and zero.size == 1 and zero != 0
        np.testing.assert_allclose(
            values, expected[tensor.name], rtol=0.5 / 127 if shifted else 1e-6, err_msg=tensor.name
        )


def test_it_says_what_the_file_itself_says(small: Made, tmp_path: Path) -> None:
    inputs = batch(small.pictures, (64, 64))
    path = tmp_path / "signed.onnx"

    path.write_bytes(as_signed(onnx.load(small.quantized.unsigned)).SerializeToString())

    for name, values in run(small.quantized.signed, inputs).items():
        np.testing.assert_allclose(run(path, inputs)[name], values, atol=0.02 * np.abs(values).max())


def test_the_file_that_ships_becomes_signed() -> None:
    got = as_signed(onnx.load(find_model("vedette-n")))

    kinds = {tensor.data_type for tensor in got.graph.initializer}
    assert onnx.TensorProto.UINT8 not in kinds
    assert onnx.TensorProto.INT8 in kinds
    onnx.checker.check_model(got)


def test_a_signed_file_stays_as_it_is(tmp_path: Path) -> None:
    model = onnx.load(quantized_model(tmp_path / "m.onnx", "signed"))

    assert as_signed(model).SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_one_scale_for_everything_may_stay_shared(tmp_path: Path) -> None:
    got = as_signed(onnx.load(quantized_model(tmp_path / "m.onnx", "unsigned")))

    scale = next(tensor for tensor in got.graph.initializer if tensor.name == "scale")
    assert numpy_helper.to_array(scale) == pytest.approx(0.25 * 255 / 127)


def test_bytes_of_elsewhere_are_refused(tmp_path: Path) -> None:
    model = onnx.load(quantized_model(tmp_path / "m.onnx", "unsigned"))
    reader = next(node for node in model.graph.node if node.op_type == "DequantizeLinear" and "scale" in node.input)
    reader.input[0] = "images"

    with pytest.raises(ModelError, match="its bytes come from no QuantizeLinear of this graph"):
        as_signed(model)
