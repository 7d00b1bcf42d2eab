"""The two files: their nodes one by one, and that both say what the float network says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import openvino
import pytest
from onnx import numpy_helper

from engines.picture import PictureWriter
from engines.quantize.graph import graph_of
from engines.quantize.ranges import Range
from engines.quantize.writer import Step, step_of
from engines.runtimes.cpus import int8_sums_saturate
from engines.spec import InputSpec
from engines.stills import read_still
from tests.engines.quantize.conftest import Made


class Opened:
    """A file's graph, its constants as arrays."""

    def __init__(self, path: Path) -> None:
        self.graph = graph_of(onnx.load(path))

    def kind(self, kind: str) -> list[onnx.NodeProto]:
        return [node for node in self.graph.nodes if node.op_type == kind]

    def constant(self, name: str) -> npt.NDArray[Any]:
        return numpy_helper.to_array(self.graph.constants[name])

    def step(self, tensor: str) -> tuple[float, int]:
        return float(self.constant(f"{tensor}/scale")), int(self.constant(f"{tensor}/zero_point"))


@pytest.fixture(scope="module")
def unsigned(small: Made) -> Opened:
    return Opened(small.quantized.unsigned)


@pytest.fixture(scope="module")
def signed(small: Made) -> Opened:
    return Opened(small.quantized.signed)


def run(path: Path, inputs: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.x64quantprecision", "1")  # exact sums without VNNI, too
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": inputs}), strict=True))


def run_openvino(path: Path, inputs: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(inputs.shape)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return dict(zip(("boxes", "scores"), compiled(inputs).values(), strict=True))  # in the file's order


def batch(pictures: list[Path], size_wh: tuple[int, int]) -> npt.NDArray[np.float32]:
    spec = InputSpec(size=size_wh)
    writer = PictureWriter(spec)
    array = np.zeros((1, 3, size_wh[1], size_wh[0]), np.float32)
    writer.write(read_still(pictures[3]), array, 0)
    return array


def test_every_pair_is_read_in_place_of_its_tensor(unsigned: Opened) -> None:
    for node in unsigned.kind("QuantizeLinear"):
        (tensor,) = unsigned.graph.activations(node)
        assert [reader.op_type for reader in unsigned.graph.readers[tensor]] == ["QuantizeLinear"]
        made = unsigned.graph.producers.get(tensor)
        if made is not None and made.op_type == "Conv":
            pytest.fail(f"{tensor}: a pair between a convolution and its ReLU")
    assert len(unsigned.kind("QuantizeLinear")) == 18


def test_the_scaled_shortcut_is_another_reading_of_the_same_bytes(unsigned: Opened) -> None:
    readings = {node.output[0]: node for node in unsigned.graph.readers["stem/quantized"]}
    assert set(readings) == {"stem/dequantized", "first.mul"}
    scale = float(unsigned.constant(readings["first.mul"].input[1]))
    assert scale == pytest.approx(0.75 * unsigned.step("stem")[0])
    assert [node.name for node in unsigned.kind("Mul")] == ["second.mul", "to_pixels"]


def test_weights_are_int8_by_channel_and_biases_float(unsigned: Opened, signed: Opened) -> None:
    for file in (unsigned, signed):
        for node in [*file.kind("Conv"), *file.kind("ConvTranspose")]:
            made = file.graph.producers[node.input[1]]
            assert made.op_type == "DequantizeLinear"
            values, scales, zeros = (file.constant(name) for name in made.input)
            assert values.dtype == zeros.dtype == np.int8
            assert not zeros.any()
            axis = 0 if node.op_type == "Conv" else 1
            assert made.attribute[0].i == axis
            assert scales.shape == (values.shape[axis],)
            assert file.constant(node.input[2]).dtype == np.float32


def test_both_files_have_the_same_weights(unsigned: Opened, signed: Opened) -> None:
    for name in unsigned.graph.constants:
        if "/weights/" in name or name.endswith("bias"):
            assert (unsigned.constant(name) == signed.constant(name)).all()


def test_unsigned_zero_points_are_zero_but_for_what_can_be_negative(unsigned: Opened) -> None:
    zeros = {node.input[0]: int(unsigned.constant(node.input[2])) for node in unsigned.kind("QuantizeLinear")}
    assert {tensor for tensor, zero in zeros.items() if zero} == {"second.mul", "second.add", "reduce", "up"}
    assert unsigned.step("reduce") == unsigned.step("up")
    assert all(unsigned.constant(node.input[2]).dtype == np.uint8 for node in unsigned.kind("QuantizeLinear"))


def test_signed_zero_points_are_zero_and_ranges_the_same(unsigned: Opened, signed: Opened) -> None:
    for node in signed.kind("QuantizeLinear"):
        scale, zero = signed.step(node.input[0])
        assert zero == 0
        assert signed.constant(node.input[2]).dtype == np.int8
        wide, offset = unsigned.step(node.input[0])
        if not offset:
            assert scale == pytest.approx(wide * 255 / 127, rel=1e-6)


def test_shared_scales_are_equal(unsigned: Opened) -> None:
    for group in (("first.add", "side", "join"), ("squeeze", "pool", "spp.join"), ("reduce", "up")):
        assert len({unsigned.step(tensor) for tensor in group}) == 1


def test_a_picture_s_bytes_are_taken_as_they_are(unsigned: Opened) -> None:
    assert unsigned.step("images") == (pytest.approx(1 / 255), 0)


@pytest.mark.parametrize(
    ("extent", "form", "step"),
    [
        (Range(low=0.0, high=2.55), "unsigned", Step(scale=0.01, zero=0)),
        (Range(low=0.0, high=2.55), "signed", Step(scale=2.55 / 127, zero=0)),
        (Range(low=-0.55, high=2.0), "unsigned", Step(scale=0.01, zero=55)),
        (Range(low=-2.54, high=1.0), "signed", Step(scale=0.02, zero=0)),
        (Range(low=-1.0, high=0.0), "unsigned", Step(scale=1 / 255, zero=255)),
        (Range(low=0.0, high=0.0), "unsigned", Step(scale=1.0, zero=0)),
        (Range(low=0.0, high=1e-45), "signed", Step(scale=1.0, zero=0)),
    ],
)
def test_steps_follow_from_ranges(extent: Range, form: Any, step: Step) -> None:
    made = step_of(extent, form)
    assert made.scale == pytest.approx(step.scale, rel=1e-6)
    assert made.zero == step.zero


def test_both_files_say_what_the_float_network_says(small: Made) -> None:
    inputs = batch(small.pictures, (64, 64))
    exact = run(small.model, inputs)
    for path in (small.quantized.unsigned, small.quantized.signed):
        found = run(path, inputs)
        assert np.abs(found["scores"] - exact["scores"]).mean() < 0.02
        assert np.abs(found["boxes"] - exact["boxes"]).mean() < 0.05 * np.abs(exact["boxes"]).max()


same_sums = pytest.mark.skipif(int8_sums_saturate(), reason="without VNNI sums of INT8 saturate, here in OpenVINO")


@same_sums
def test_openvino_and_onnxruntime_agree_on_the_unsigned_file(small: Made) -> None:
    inputs = batch(small.pictures, (64, 64))
    one, other = run(small.quantized.unsigned, inputs), run_openvino(small.quantized.unsigned, inputs)
    assert np.abs(one["scores"] - other["scores"]).max() < 0.02
    assert np.abs(one["boxes"] - other["boxes"]).mean() < 0.01 * np.abs(one["boxes"]).max()


@same_sums
def test_engines_agree_on_the_seed(seed: Made) -> None:
    inputs = batch(seed.pictures, (416, 256))
    exact = run(seed.model, inputs)
    found = {
        "onnxruntime": run(seed.quantized.unsigned, inputs),
        "openvino": run_openvino(seed.quantized.unsigned, inputs),
        "signed": run(seed.quantized.signed, inputs),
    }
    for one in found.values():
        assert np.abs(one["scores"] - exact["scores"]).mean() < 0.01
        assert np.abs(one["boxes"] - exact["boxes"]).mean() < 5.0
    # Rounding a tie the other way spreads: the same file, the same numbers but for that.
    assert np.abs(found["onnxruntime"]["scores"] - found["openvino"]["scores"]).mean() < 0.003
    assert np.abs(found["onnxruntime"]["boxes"] - found["openvino"]["boxes"]).mean() < 2.0


def test_nothing_is_there_twice(unsigned: Opened) -> None:
    names = Counter(node.name for node in unsigned.graph.nodes)
    assert max(names.values()) == 1
    read = {name for node in unsigned.graph.nodes for name in node.input}
    assert set(unsigned.graph.constants) <= read
