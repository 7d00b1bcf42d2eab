"""INT8 files in the runtimes: what they execute, that they agree, and who refuses which."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engines.engine import Engine, Outputs
from engines.options import ModelOptions
from engines.quantize.writer import Form
from engines.runtimes import open_engine, read_model_file
from engines.runtimes.cpus import int8_sums_saturate
from engines.runtimes.openvino import compile_model, cpu_settings
from engines.runtimes.openvino_core import core
from engines.runtimes.openvino_sound import sound
from engines.runtimes.openvino_types import executed
from engines.runtimes.openvino_weights import in_seven_bits
from engines.spec import find_spec
from tests.support.quantized_models import quantized_model, quantized_seed
from vedette.errors import ModelError

BACKENDS = ("openvino", "onnxruntime", "torch")


def opened(path: Path, backend: Any, **options: Any) -> Engine:
    return open_engine(ModelOptions(path=str(path), backend=backend, **options), now_ns=time.monotonic_ns)


def seen(engine: Engine, levels: Any) -> Outputs:
    buffer = engine.acquire()
    assert buffer is not None
    scale = engine.spec.input.scale
    buffer.array[0] = levels if buffer.array.dtype == np.uint8 else levels * np.float32(scale)
    engine.submit(buffer, 1)
    completion = engine.completed()
    assert completion is not None
    assert completion.outputs is not None
    return {name: array.copy() for name, array in completion.outputs.items()}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[Form, Path]:
    return quantized_seed(tmp_path_factory.mktemp("seeds"))


@pytest.fixture(scope="module")
def levels() -> Any:
    return np.random.default_rng(8).integers(0, 256, (3, 256, 416), np.uint8)


def test_runtimes_agree_exactly_where_the_numbers_are_exact(tmp_path: Path) -> None:
    """Concat of INT8 is where OpenVINO goes wrong with signed activations; unsigned ones must be right."""
    small = np.random.default_rng(9).integers(0, 50, (3, 32, 64), np.uint8)
    path = quantized_model(tmp_path / "m.onnx", "unsigned")
    results = [seen(opened(path, backend), small)["output"] for backend in BACKENDS]

    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_runtimes_agree_on_the_int8_form_of_the_shipped_network(seeds: dict[Form, Path], levels: Any) -> None:
    """Within what one rounding more or less makes after a hundred layers; and so does the signed file."""
    reference = seen(opened(seeds["unsigned"], "openvino"), levels)
    others = [(seeds["unsigned"], "onnxruntime"), (seeds["unsigned"], "torch")]
    others += [(seeds["signed"], "onnxruntime"), (seeds["signed"], "torch")]

    for path, backend in others:
        result = seen(opened(path, backend), levels)
        assert np.abs(result["scores"] - reference["scores"]).mean() < 5e-3
        assert np.abs(result["boxes"] - reference["boxes"]).mean() < 3.0


def test_description_says_what_is_executed_in_int8(seeds: dict[Form, Path]) -> None:
    said = {backend: opened(seeds["unsigned"], backend, precision="int8").description for backend in BACKENDS}

    products = executed(_compiled(seeds["unsigned"]))
    assert products.int8_products >= 0.9 * products.products
    assert re.search(r"INT8 in (9\d|100) of 100 convolutions, ", said["openvino"])
    assert "INT8 with unsigned activations" in said["onnxruntime"]
    assert "INT8 as «fake» quantization in FP32" in said["torch"]
    assert all("(unverified)" in text for text in said.values())


def test_levels_as_input_leave_the_first_convolution_int8_and_change_nothing(
    seeds: dict[Form, Path], levels: Any
) -> None:
    """Bytes in place of floats: the scale joins the first quantization, no node is added."""
    path = seeds["unsigned"]
    options = ModelOptions(path=str(path), threads=2)
    bytes_in = _compiled(path)
    model = core().read_model(str(path))
    if int8_sums_saturate():
        in_seven_bits(model)
    floats_in = core().compile_model(model, "CPU", cpu_settings(options, "LATENCY", 1))

    got = bytes_in.create_infer_request().infer([levels[None]])
    want = floats_in.create_infer_request().infer([levels[None] / np.float32(255)])

    for index in range(2):
        np.testing.assert_array_equal(got[index], want[index])
    of_bytes, of_floats = executed(bytes_in), executed(floats_in)
    assert of_bytes.int8_products == of_floats.int8_products
    assert of_bytes.count("Subgraph") <= of_floats.count("Subgraph")
    first = next(
        node.get_rt_info()
        for node in bytes_in.get_runtime_model().get_ordered_ops()
        if node.get_rt_info()["layerType"].astype(str) == "Convolution"
    )
    assert first["runtimePrecision"].astype(str) == "u8"


def _compiled(path: Path) -> Any:
    file = read_model_file(path)
    return compile_model(file, find_spec(file).spec, ModelOptions(path=str(path), threads=2), "LATENCY", 1)


class Spoiled:
    """A compiled model that computes wrongly, as OpenVINO's sometimes are (engines/runtimes/openvino_sound.py)."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compiled, name)

    def create_infer_request(self) -> Any:
        request = self._compiled.create_infer_request()
        return SimpleNamespace(infer=lambda x: {key: value + 0.1 for key, value in request.infer(x).items()})


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="on one core OpenVINO gives one stream, whatever is asked")
class TestSoundness:
    @pytest.fixture
    def compiles(self, seeds: dict[Form, Path]) -> Callable[[dict[str, Any]], Any]:
        model = core().read_model(str(seeds["unsigned"]))
        settings = cpu_settings(ModelOptions(path="", threads=2), "THROUGHPUT", 2)
        return lambda more: core().compile_model(model, "CPU", settings | {"NUM_STREAMS": 2} | more)

    def test_model_that_computes_wrongly_is_compiled_again(
        self, compiles: Callable[[dict[str, Any]], Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        asked: list[dict[str, Any]] = []

        def compile_with(more: dict[str, Any]) -> Any:
            asked.append(more)
            return Spoiled(compiles(more)) if len(asked) == 1 else compiles(more)

        compiled = sound(compile_with)

        assert not isinstance(compiled, Spoiled)
        assert compiled.get_property("NUM_STREAMS") == 2
        assert asked[:2] == [{}, {"NUM_STREAMS": 1}]
        assert "computes wrongly" in caplog.text

    def test_one_stream_is_used_where_several_never_compute_rightly(
        self, compiles: Callable[[dict[str, Any]], Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        compiled = sound(lambda more: compiles(more) if more else Spoiled(compiles({"NUM_STREAMS": 2})))

        assert compiled.get_property("NUM_STREAMS") == 1
        assert "one stream is used instead of several" in caplog.text

    def test_float_models_and_single_streams_are_taken_as_they_are(
        self, compiles: Callable[[dict[str, Any]], Any]
    ) -> None:
        asked: list[dict[str, Any]] = []

        def compile_with(more: dict[str, Any]) -> Any:
            asked.append(more)
            return compiles({"NUM_STREAMS": 1})

        sound(compile_with)

        assert asked == [{}]


@pytest.mark.parametrize("backend", ["openvino", "auto"])
def test_signed_file_is_refused_on_a_cpu_and_the_unsigned_one_beside_it_named(
    seeds: dict[Form, Path], backend: str
) -> None:
    with pytest.raises(ModelError, match="its INT8 activations are signed, which OpenVINO computes wrongly") as error:
        opened(seeds["signed"], backend)
    assert error.value.hint == f"take {seeds['unsigned']}"
    assert len(error.value.lines()) == 2


def test_signed_file_alone_is_refused_with_how_to_get_the_other(tmp_path: Path) -> None:
    path = quantized_model(tmp_path / "m.onnx", "signed")

    with pytest.raises(ModelError, match="signed") as error:
        opened(path, "openvino")
    assert error.value.hint == "take the unsigned file, for CPUs: `vedette model quantize` writes both"


def test_signed_file_runs_in_onnxruntime_which_says_that_it_is_slow(seeds: dict[Form, Path]) -> None:
    assert "INT8 with signed activations, slow on a CPU" in opened(seeds["signed"], "onnxruntime").description


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_float_precision_of_an_int8_file_is_refused(seeds: dict[Form, Path], precision: str) -> None:
    with pytest.raises(ModelError, match=rf"precision: {precision}, but .* is an INT8 file"):
        opened(seeds["unsigned"], "auto", precision=precision)
