"""Placement on real GPUs: what tests/engines/test_placement.py scripts, asked of CUDA. Run with `make test-gpu`."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from engines.engine import Engine
from engines.options import GpuOptions, ModelOptions
from engines.runtimes import open_engine
from engines.runtimes.cuda import CudaRuntime
from engines.runtimes.gpus import find_gpus
from engines.runtimes.placement import MB
from tests.support.engine_contract import submit, taken
from tests.support.tiny_models import ROWS, mean_model
from vedette.errors import GpuError

GPUS = find_gpus()
SHIPPED = Path(__file__).resolve().parents[2] / "engines/weights/vedette-n-seed_640x384.onnx"

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason="there is no NVIDIA GPU, or no driver")]


@pytest.fixture(autouse=True)
def _no_limit_outlives_its_test() -> None:
    torch.cuda.empty_cache()
    for gpu in GPUS:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu.index)


def opened(path: Path, **gpu: object) -> Engine:
    options = msgspec.convert({"path": str(path), "backend": "torch", "precision": "fp32", "gpu": gpu}, ModelOptions)
    return open_engine(options, now_ns=time.monotonic_ns)


def test_driver_and_torch_see_the_same_gpus_in_the_same_order() -> None:
    assert [gpu.name for gpu in GPUS] == [torch.cuda.get_device_name(index) for index in range(len(GPUS))]
    for gpu in GPUS:
        assert torch.cuda.get_device_capability(gpu.index) == gpu.capability
        memory = CudaRuntime(lambda gpu: pytest.fail(str(gpu)), lambda *_: pytest.fail("no lane")).memory(gpu)
        assert 0 < memory.free <= memory.total
        assert abs(memory.total - gpu.memory_bytes) < gpu.memory_bytes // 20


@pytest.mark.parametrize(("engines", "contexts"), [(1, 1), (1, 4), (2, 2)])
def test_every_lane_of_every_gpu_gives_its_own_picture_s_outputs(tmp_path: Path, engines: int, contexts: int) -> None:
    engine = opened(
        mean_model(tmp_path / "mean.onnx"),
        devices=[gpu.index for gpu in GPUS],
        engines=engines,
        contexts=contexts,
    )
    lanes = len(GPUS) * engines * contexts
    assert engine.description.endswith(f"{lanes} runs in flight")

    for turn in range(3):
        for lane in range(lanes):
            submit(engine, float(10 * turn + lane))
        for lane in range(lanes):
            completion = taken(engine)
            assert completion.outputs is not None
            np.testing.assert_allclose(completion.outputs["output"], (ROWS + 10 * turn + lane)[None], rtol=1e-5)
            engine.release(completion.buffer)


def test_gpu_that_there_is_not() -> None:
    with pytest.raises(GpuError, match=rf"model\.gpu\.devices: expected a GPU from 0 to {len(GPUS) - 1}: .*63"):
        opened(SHIPPED, devices=[63])


def test_limit_below_what_the_network_needs_is_one_line_that_says_what_to_raise() -> None:
    with pytest.raises(GpuError, match=r"does not fit \(.*\); lower .*or raise model\.gpu\.memory_mb") as error:
        opened(SHIPPED, memory_mb=256)

    assert len(error.value.lines()) == 1


def test_limit_above_what_is_free() -> None:
    total_mb = GPUS[0].memory_bytes // MB
    with pytest.raises(GpuError, match=r"model\.gpu\.memory_mb: expected at most the \d+ MB that GPU 0"):
        opened(SHIPPED, memory_mb=min(999_999, total_mb + 1000))


def test_gpu_that_is_full_says_what_to_lower() -> None:
    """Of what is free all but a little is taken away first, by torch's own memory."""
    free, _ = torch.cuda.mem_get_info(0)
    taken_away = torch.empty(max(0, free - 300 * MB), dtype=torch.uint8, device="cuda")
    try:
        with pytest.raises(GpuError, match=r"GPU 0 .*: context \d+ of 8.* does not fit .*; lower model\.gpu\.engines"):
            opened(SHIPPED, contexts=8, engines=8)
    finally:
        del taken_away
        torch.cuda.empty_cache()


def test_default_is_what_it_says() -> None:
    assert GpuOptions() == GpuOptions(devices=None, engines=1, contexts=2, memory_mb=None)
