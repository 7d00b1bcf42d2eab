"""torch as it runs on GPUs, with what is scripted that only a GPU has: lanes, batches and precision are the real ones.

A device is the host's memory, a graph the network itself; the facts of the machine are made up. What this cannot
show (capture, streams, speed) is in tests/gpu.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
import torch

import engines.runtimes.choice as choice
import engines.runtimes.cuda as cuda
import engines.runtimes.torch as torch_runtime
from engines.cuda.av_surface import SurfaceAvPicture
from engines.cuda.suppression import detections
from engines.engine import Engine
from engines.options import ModelOptions
from engines.runtimes import open_engine
from engines.runtimes.cuda import Load, MakeLane
from engines.runtimes.device_lanes import Runner
from engines.runtimes.gpus import Gpu
from engines.runtimes.lanes import Lane, LaneEngine
from engines.runtimes.placement import GpuMemory, Network
from engines.runtimes.stage_times import BatchTimes
from engines.runtimes.surface_lanes import LaneKernels
from engines.runtimes.torch_network import load_network
from stages.preprocess import Preprocess
from tests.engines.cuda.host import HostKernels
from tests.support.engine_contract import EngineContract, fill, submit, taken
from tests.support.host_device import HostDevice, HostStream, PlainRunner
from tests.support.tiny_models import ROWS, mean_model, slow_model
from vedette.errors import EngineError, GpuError, ModelError

SHIPPED = Path(__file__).resolve().parents[2] / "engines/weights/vedette-n-seed_416x256.onnx"
H100 = Gpu(name="NVIDIA H100", capability=(9, 0))
L4 = tuple(Gpu(name="NVIDIA L4", capability=(8, 9), index=index) for index in range(2))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """torch's threads wait for each other in vain where the cores are busy: twenty times the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class HostRuntime:
    """`CudaRuntime` over the host's memory."""

    def __init__(self, load: Load, lane: MakeLane) -> None:
        self._load = load
        self._lane = lane

    def memory(self, gpu: Gpu) -> GpuMemory:
        return GpuMemory(free=1 << 40, total=1 << 40)

    def limit(self, gpu: Gpu, most_bytes: int) -> None: ...

    def load(self, gpu: Gpu) -> Network:
        return _HostNetwork(self._load(gpu), gpu, self._lane)


class _HostNetwork:
    def __init__(self, runner: Callable[[], Runner], gpu: Gpu, lane: MakeLane) -> None:
        self._runner = runner
        self._gpu = gpu
        self._lane = lane

    def context(self, index: int) -> Lane:
        return self._lane(HostDevice(), self._gpu, self._runner(), index)


def machine(monkeypatch: pytest.MonkeyPatch, *gpus: Gpu) -> list[torch.device]:
    """This machine with these GPUs and no TensorRT; the devices that networks are loaded on."""
    asked: list[torch.device] = []

    def load(file: Any, spec: Any, precision: Any, device: torch.device) -> Any:
        asked.append(device)
        return load_network(file, spec, precision, torch.device("cpu"))

    monkeypatch.setattr(choice, "find_gpus", lambda: gpus)
    monkeypatch.setattr("engines.runtimes.tensorrt_api.installed", tuple)
    monkeypatch.setattr(torch_runtime, "find_gpus", lambda: gpus)
    monkeypatch.setattr(torch_runtime, "CudaRuntime", HostRuntime)
    monkeypatch.setattr(torch_runtime, "TorchRunner", PlainRunner)
    monkeypatch.setattr(torch_runtime, "load_network", load)
    monkeypatch.setattr("torch.cuda.is_available", lambda: bool(gpus))
    return asked


def opened(
    path: Path, *, batch: int | None = None, at_most: int | None = None, one_size: bool = False, **options: Any
) -> Engine:
    given = msgspec.convert({"path": str(path), **options}, ModelOptions)
    return open_engine(given, now_ns=time.monotonic_ns, batch=batch, at_most=at_most, one_size=one_size)


@pytest.fixture(scope="module")
def mean_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mean_model(tmp_path_factory.mktemp("mean") / "mean.onnx")


@pytest.fixture(scope="module")
def slow_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_model(tmp_path_factory.mktemp("slow") / "slow.onnx")


@pytest.mark.parametrize("backend", ["torch"])
class TestContract(EngineContract):
    @pytest.fixture(autouse=True)
    def _on_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        machine(monkeypatch, H100)

    def opened(self, path: Path, backend: str, *, batch: int | None = None) -> Engine:
        return opened(path, backend=backend, batch=batch, precision="fp32")


def test_auto_takes_torch_in_half_precision_says_so_and_finds_what_float32_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels = np.random.default_rng(1).integers(0, 256, (3, 256, 416), np.uint8)
    whole = seen(opened(SHIPPED, backend="onnxruntime"), levels)
    machine(monkeypatch, H100)
    engine = opened(SHIPPED, gpu={"contexts": 1})
    version = torch.__version__.partition("+")[0]
    assert engine.description == (
        f"torch {version} on NVIDIA H100 (auto: NVIDIA H100, TensorRT is not installed), {engine.spec.name}, FP16, "
        "channels_last, CUDA graphs, batch 1, 1 runs in flight"
    )

    half = seen(engine, levels)

    assert 0 < np.abs(half["scores"] - whole["scores"]).max() < 1e-2
    assert np.abs(half["boxes"] - whole["boxes"]).max() < 2


@pytest.mark.parametrize("one_size", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_every_number_of_pictures_runs_in_the_next_larger_batch_and_of_files_in_the_largest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int, one_size: bool
) -> None:
    """Which of several waited is a matter of timing, and a graph of another size may give other last bits."""
    machine(monkeypatch, H100)
    runners: list[PlainRunner] = []

    def runner(network: Any) -> PlainRunner:
        runners.append(PlainRunner(network))
        return runners[-1]

    monkeypatch.setattr(torch_runtime, "TorchRunner", runner)
    engine = opened(mean_model(tmp_path / "free.onnx", batch="n"), precision="fp32", one_size=one_size)
    assert engine.max_batch == 8
    buffer = engine.acquire()
    assert buffer is not None
    buffer.array[:] = np.arange(10, 18)[:, None, None, None]

    engine.submit(buffer, count)

    outputs = taken(engine).outputs
    assert outputs is not None
    np.testing.assert_allclose(outputs["output"], ROWS + np.arange(10, 10 + count)[:, None, None], rtol=1e-5)
    assert runners[0].sizes[-1] == (8 if one_size else {1: 1, 2: 2, 3: 4, 5: 8, 8: 8}[count])
    assert not one_size or set(runners[0].sizes) == {8}


@pytest.mark.parametrize(("at_most", "batch"), [(None, 8), (3, 3), (1, 1), (32, 8)])
def test_no_buffer_is_larger_than_the_configured_batch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at_most: int | None, batch: int
) -> None:
    machine(monkeypatch, H100)

    assert opened(mean_model(tmp_path / "free.onnx", batch="n"), at_most=at_most).max_batch == batch


def test_each_gpu_and_each_engine_has_weights_of_its_own(monkeypatch: pytest.MonkeyPatch, mean_path: Path) -> None:
    devices = machine(monkeypatch, *L4)

    engine = opened(mean_path, gpu={"devices": [0, 1], "engines": 2, "contexts": 3})

    assert devices == [torch.device("cuda", index) for index in (0, 0, 1, 1)]
    assert "on NVIDIA L4 (GPUs 0, 1) (auto: NVIDIA L4 (GPUs 0, 1), TensorRT is not installed)" in engine.description
    assert engine.description.endswith("12 runs in flight")


def test_levels_that_cross_the_bus_are_counted_and_timed(monkeypatch: pytest.MonkeyPatch, mean_path: Path) -> None:
    machine(monkeypatch, H100)
    engine = opened(mean_path, precision="fp32")
    assert isinstance(engine, LaneEngine)
    seen: list[BatchTimes] = []
    engine.record(seen.append)

    submit(engine, 1.0)
    completion = taken(engine)

    assert completion.outputs is not None
    (times,) = seen
    assert times.to_device_bytes == completion.buffer.array.nbytes
    assert times.to_host_bytes == completion.outputs["output"].nbytes
    assert times.network_ms > 0


def test_gpu_that_torch_cannot_use_is_refused_where_it_was_named(
    monkeypatch: pytest.MonkeyPatch, mean_path: Path
) -> None:
    machine(monkeypatch, H100)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    for asked in ({"devices": [0]}, {"decode": "gpu"}):
        with pytest.raises(GpuError, match=r"model\.gpu: torch \S+ cannot use NVIDIA H100: expected a torch for CUDA"):
            opened(mean_path, backend="torch", gpu=asked)
        with pytest.raises(GpuError, match=r"model\.gpu: NVIDIA H100 cannot run \S+mean\.onnx \(no TensorRT or torch"):
            opened(mean_path, gpu=asked)
    assert opened(mean_path).description.startswith("OpenVINO")


def test_pictures_that_stay_on_the_gpu_have_lanes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the device: the kernels are the host's, half precision is torch's on a CPU."""
    machine(monkeypatch, H100)
    made: list[Gpu] = []

    def kernels(_: object, gpu: Gpu) -> LaneKernels:
        made.append(gpu)
        return LaneKernels(preprocess=HostKernels("host_preprocess"), nms=HostKernels("host_nms"))

    monkeypatch.setattr(cuda, "_kernels", kernels)
    engine = opened(SHIPPED, gpu={"decode": "gpu"})
    grey = SurfaceAvPicture(
        av.VideoFrame.from_ndarray(np.full((360, 640), 128, np.uint8), format="gray").reformat(format="nv12")
    )
    buffer = engine.acquire()
    assert buffer is not None
    Preprocess(engine.spec).write(grey, buffer, 0)
    engine.submit(buffer, 1)

    outputs = taken(engine).outputs

    assert outputs is not None
    assert list(outputs) == ["found"]
    assert len(detections(outputs["found"])[0]) == 0
    assert engine.description.endswith("batch 1, pictures stay on the GPU, 2 runs in flight")
    assert made == [H100]  # compiled and loaded once for all lanes of a GPU


def test_network_that_the_kernels_do_not_serve_is_refused(monkeypatch: pytest.MonkeyPatch, mean_path: Path) -> None:
    machine(monkeypatch, H100)

    with pytest.raises(ModelError, match=r"model\.gpu\.decode: gpu .* is for models of the head yolo_nas, got end2end"):
        opened(mean_path, gpu={"decode": "gpu"})


def test_fp32_is_float32(monkeypatch: pytest.MonkeyPatch, mean_path: Path) -> None:
    """From Ampere on torch computes convolutions of float32 with 10 bits of fraction, unless it is told not to."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    machine(monkeypatch, H100)

    opened(mean_path, precision="fp32")

    assert not torch.backends.cudnn.allow_tf32


def test_network_that_fails_on_the_gpu_is_an_error_of_its_run(monkeypatch: pytest.MonkeyPatch, mean_path: Path) -> None:
    machine(monkeypatch, H100)
    engine = opened(mean_path)
    buffer = engine.acquire()
    assert buffer is not None

    def broken(*_: Any) -> Any:
        msg = "CUDA error: an illegal memory access was encountered\nCompile with …"
        raise RuntimeError(msg)

    monkeypatch.setattr(HostStream, "begin", broken)
    with pytest.raises(EngineError, match="the GPU did not start a run: CUDA error: an illegal memory access"):
        engine.submit(buffer, 1)
    engine.release(buffer)  # it is its caller's again


def seen(engine: Engine, levels: Any) -> dict[str, Any]:
    buffer = engine.acquire()
    assert buffer is not None
    fill(buffer, levels)
    engine.submit(buffer, 1)
    completion = taken(engine)
    assert completion.outputs is not None
    copied = {name: array.copy() for name, array in completion.outputs.items()}
    engine.close()
    return copied
