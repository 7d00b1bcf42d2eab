"""What the engines make of the files: INT8 convolutions, and nothing left beside them that need not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.quantize import executed
from engines.quantize.dynamic import quantize_dynamically
from engines.runtimes import read_model_file
from engines.spec import find_spec
from tests.engines.quantize.conftest import Made

tensorrt = pytest.importorskip("tensorrt_rtx")


def test_openvino_runs_every_convolution_of_the_seed_in_int8_and_requantizes_nothing(seed: Made) -> None:
    found = executed.in_openvino(seed.quantized.unsigned, (416, 256))
    assert found.int8_convolutions == 100
    assert found.float_convolutions == ()
    assert found.requantized == 0
    assert found.others["Concatenation u8"] == 13
    # The picture's rounding, which vanishes with an input of bytes, and what decodes the predictions.
    assert found.others["Subgraph f32"] == 8


def test_openvino_runs_the_float_network_in_float(small: Made) -> None:
    found = executed.in_openvino(small.model, (64, 64))
    assert found.int8_convolutions == 0
    assert len(found.float_convolutions) == 13


def test_openvino_runs_the_small_network_in_int8(small: Made) -> None:
    found = executed.in_openvino(small.quantized.unsigned, (64, 64))
    assert found.int8_convolutions == 13
    assert found.float_convolutions == ()


def test_onnxruntime_fuses_the_convolutions_of_the_seed(seed: Made) -> None:
    found = executed.in_onnxruntime(seed.quantized.unsigned)
    # In float: what is transposed, what goes into a concat with a zero point and comes out of it, the predictions.
    assert found.int8_convolutions == 86
    assert len(found.float_convolutions) == 14
    assert found.others["QLinearAdd"] == 20
    assert found.requantized <= 47


def test_dynamic_quantization_runs_in_onnxruntime(small: Made, tmp_path: Path) -> None:
    path = quantize_dynamically(small.model, out_dir=tmp_path)
    assert path.name == "small-int8-dynamic.onnx"
    found = executed.in_onnxruntime(path)
    assert found.int8_convolutions == 12
    assert found.float_convolutions == ("up",)
    spec = find_spec(read_model_file(path)).spec
    assert (spec.name, spec.unverified) == ("small-int8-dynamic", True)


@pytest.mark.parametrize("name", ["small", "seed"])
def test_tensorrt_builds_the_signed_file(name: str, request: pytest.FixtureRequest) -> None:
    made: Made = request.getfixturevalue(name)
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    parsed = parser.parse_from_file(str(made.quantized.signed))
    assert [parser.get_error(place).desc() for place in range(parser.num_errors)] == []
    assert parsed
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(tensorrt.ComputeCapability.SM86, 0)
    shape = network.get_input(0).shape
    if -1 in shape:
        profile = builder.create_optimization_profile()
        profile.set_shape("images", *[(batch, *shape[1:]) for batch in (1, 1, 4)])
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None
    assert plan.nbytes > 10_000
