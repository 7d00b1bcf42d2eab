"""torch and TensorRT on an NVIDIA GPU: the contract of engines, and that they find what a CPU finds.

Run with `make test-gpu`. TensorRT's tests are left out where it is not installed or does not run on the GPU.
"""

from __future__ import annotations

import logging
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

from engines.engine import Engine, Outputs
from engines.options import ModelOptions
from engines.quantize.writer import Form
from engines.runtimes import open_engine
from engines.runtimes.device_lanes import DeviceLane
from engines.runtimes.gpus import find_gpus
from engines.runtimes.lanes import LaneEngine
from engines.runtimes.stage_times import BatchTimes
from engines.runtimes.tensorrt_api import installed, load
from tests.support.engine_contract import EngineContract, fill, submit, taken
from tests.support.quantized_models import quantized_seed
from tests.support.tiny_models import ROWS, mean_model, slow_model
from vedette.errors import EngineError, MissingExtraError

GPUS = find_gpus()
ON_CPU = "openvino" if find_spec("openvino") else "onnxruntime"
SHIPPED = Path(__file__).resolve().parents[2] / "engines/weights/vedette-n-seed_640x384.onnx"

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason="there is no NVIDIA GPU, or no driver")]


def runs_tensorrt() -> bool:
    if not GPUS or not installed():
        return False
    try:
        return load().runs_on(GPUS[0])
    except (EngineError, MissingExtraError):
        return False


TENSORRT = pytest.mark.skipif(not runs_tensorrt(), reason="TensorRT is not installed or does not run on this GPU")
BACKENDS = ["torch", pytest.param("tensorrt", marks=TENSORRT)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def mean_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mean_model(tmp_path_factory.mktemp("mean") / "mean.onnx")


@pytest.fixture(scope="module")
def slow_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_model(tmp_path_factory.mktemp("slow") / "slow.onnx")


def opened(path: Path, backend: str, cache: Path, *, batch: int | None = None, precision: str = "auto") -> Engine:
    options = msgspec.convert({"path": str(path), "backend": backend, "precision": precision}, ModelOptions)
    return open_engine(options, now_ns=time.monotonic_ns, batch=batch, cache=cache)


def seen(engine: Engine, levels: npt.NDArray[np.uint8]) -> Outputs:
    buffer = engine.acquire()
    assert buffer is not None
    fill(buffer, levels)
    engine.submit(buffer, 1)
    completion = taken(engine)
    assert completion.outputs is not None
    copied = {name: array.copy() for name, array in completion.outputs.items()}
    engine.release(buffer)
    return copied


@pytest.mark.parametrize("backend", BACKENDS)
class TestContract(EngineContract):
    @pytest.fixture(autouse=True)
    def _keep(self, cache: Path) -> None:
        self._cache = cache

    def opened(self, path: Path, backend: str, *, batch: int | None = None) -> Engine:
        return opened(path, backend, self._cache, batch=batch, precision="fp32")


@pytest.mark.parametrize("backend", BACKENDS)
class TestOnAGpu:
    @pytest.mark.parametrize(("precision", "scores", "boxes_px"), [("fp32", 2e-3, 0.5), ("fp16", 1e-2, 2.0)])
    def test_shipped_network_finds_what_it_finds_on_a_cpu(
        self, backend: str, cache: Path, precision: str, scores: float, boxes_px: float
    ) -> None:
        levels = np.random.default_rng(1).integers(0, 256, (3, 384, 640), np.uint8)
        want = seen(opened(SHIPPED, ON_CPU, cache), levels)
        engine = opened(SHIPPED, backend, cache, precision=precision)

        got = seen(engine, levels)

        assert GPUS[0].name in engine.description
        assert precision.upper() in engine.description
        np.testing.assert_allclose(got["scores"], want["scores"], atol=scores)
        np.testing.assert_allclose(got["boxes"], want["boxes"], atol=boxes_px)

    def test_runs_are_captured_for_every_size_of_batch(self, backend: str, cache: Path, tmp_path: Path) -> None:
        engine = opened(mean_model(tmp_path / "free.onnx", batch="n"), backend, cache, precision="fp32")
        assert isinstance(engine, LaneEngine)

        assert ", CUDA graphs" in engine.description
        for lane in engine.lanes:
            assert isinstance(lane, DeviceLane)
            assert sorted(lane._graphs._captured) == [1, 2, 4, 8]

    def test_nothing_is_allocated_once_it_runs(self, backend: str, cache: Path, tmp_path: Path) -> None:
        engine = opened(mean_model(tmp_path / "free.onnx", batch="n"), backend, cache, precision="fp32")
        before = torch.cuda.memory_stats()["allocation.all.allocated"]

        for _ in range(20):
            submit(engine, 3.0)
            engine.release(taken(engine).buffer)

        assert torch.cuda.memory_stats()["allocation.all.allocated"] == before

    def test_stages_of_a_batch_add_up_to_what_the_engine_took(self, backend: str, cache: Path) -> None:
        engine = opened(SHIPPED, backend, cache)
        assert isinstance(engine, LaneEngine)
        seen: list[BatchTimes] = []
        engine.record(seen.append)
        took_ms = []
        for _ in range(10):
            submit(engine, 3.0)
            completion = taken(engine)
            took_ms.append(completion.engine_ns / 1e6)
            engine.release(completion.buffer)

        stages = [one.input_ms + one.preprocess_ms + one.network_ms + one.output_ms for one in seen]
        np.testing.assert_allclose(stages, took_ms, atol=0.01)
        assert [one.began_ms for one in seen] == sorted(one.began_ms for one in seen)
        assert all(one.network_ms > max(one.preprocess_ms, 0.01) for one in seen)
        assert {one.to_device_bytes for one in seen} == {3 * 384 * 640}

    @pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
    def test_every_number_of_pictures_up_to_the_batch(
        self, backend: str, cache: Path, tmp_path: Path, count: int
    ) -> None:
        engine = opened(mean_model(tmp_path / "free.onnx", batch="n"), backend, cache, precision="fp32")
        assert engine.max_batch == 8
        buffer = engine.acquire()
        assert buffer is not None
        buffer.array[:] = np.arange(10, 18)[:, None, None, None]

        engine.submit(buffer, count)

        outputs = taken(engine).outputs
        assert outputs is not None
        want = ROWS + np.arange(10, 10 + count)[:, None, None]
        np.testing.assert_allclose(outputs["output"], want, rtol=1e-5)

    def test_same_picture_gives_the_same_bytes_in_either_buffer(self, backend: str, cache: Path) -> None:
        engine = opened(SHIPPED, backend, cache)
        levels = np.random.default_rng(2).integers(0, 256, (3, 384, 640), np.uint8)
        results = set()
        for _ in range(3):
            submit(engine, 7.0)  # on the other stream, at the same time
            buffer = engine.acquire()
            assert buffer is not None
            fill(buffer, levels)
            engine.submit(buffer, 1)
            engine.release(taken(engine).buffer)
            outputs = taken(engine).outputs
            assert outputs is not None
            results.add(b"".join(outputs[name].tobytes() for name in ("boxes", "scores")))
            engine.release(buffer)

        assert len(results) == 1


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[Form, Path]:
    return quantized_seed(tmp_path_factory.mktemp("seeds"))


@TENSORRT
def test_signed_int8_file_agrees_with_the_unsigned_one_on_a_cpu(seeds: dict[Form, Path], cache: Path) -> None:
    levels = np.random.default_rng(3).integers(0, 256, (3, 256, 416), np.uint8)
    want = seen(opened(seeds["unsigned"], ON_CPU, cache), levels)
    engine = opened(seeds["signed"], "tensorrt", cache)

    got = seen(engine, levels)

    assert "INT8" in engine.description
    assert np.abs(got["scores"] - want["scores"]).mean() < 5e-3
    assert np.abs(got["boxes"] - want["boxes"]).mean() < 3.0


@TENSORRT
def test_engine_is_kept_and_runs_when_it_is_given_itself(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = mean_model(tmp_path / "kept.onnx")
    opened(path, "tensorrt", cache, precision="fp32")
    caplog.set_level(logging.INFO, "engines")

    opened(path, "tensorrt", cache, precision="fp32")

    assert caplog.text == ""
    (kept,) = cache.glob("kept-*.engine")
    engine = opened(kept, "auto", cache)
    submit(engine, 4.0)
    outputs = taken(engine).outputs
    assert outputs is not None
    np.testing.assert_allclose(outputs["output"], (ROWS + 4.0)[None], rtol=1e-5)


def test_auto_takes_the_gpu(mean_path: Path, cache: Path) -> None:
    engine = opened(mean_path, "auto", cache, precision="fp32")

    assert engine.description.startswith("TensorRT" if runs_tensorrt() else "torch")
    assert f"auto: {GPUS[0].name}" in engine.description


def test_dynamic_shapes_and_resizing_are_captured(cache: Path, tmp_path: Path) -> None:
    """Nothing in a replayed graph may wait for the host: scales and shapes are read where they are."""
    path = resizing_model(tmp_path / "resizing.onnx")
    engine = opened(path, "torch", cache, precision="fp32")
    submit(engine, 3.0)
    outputs = taken(engine).outputs

    assert outputs is not None
    np.testing.assert_allclose(outputs["output"], (ROWS + 3.0)[None], rtol=1e-5)


def resizing_model(path: Path) -> Path:
    """`mean_model` whose picture is doubled first."""
    model = onnx.load(str(mean_model(path)))
    scales: Any = onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    model.graph.initializer.append(scales)
    resize = onnx.helper.make_node(
        "Resize",
        ["images", "", "scales"],
        ["doubled"],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    model.graph.node[0].input[0] = "doubled"
    model.graph.node.insert(0, resize)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
