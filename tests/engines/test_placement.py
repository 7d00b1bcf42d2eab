"""Where a network is placed on GPUs, and what is said where it does not fit: a runtime by a script, real lanes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from engines.engine import Outputs
from engines.options import GpuOptions
from engines.runtimes.cuda import CudaRuntime, taking
from engines.runtimes.gpus import Gpu, find_gpus, why_no_gpu
from engines.runtimes.lanes import Lane, LaneEngine
from engines.runtimes.placement import (
    MB,
    GpuFullError,
    GpuMemory,
    Network,
    chosen_gpus,
    place_lanes,
    said_of,
)
from tests.support.specs import small_spec
from vedette.errors import EngineError, GpuError

A2000 = Gpu(name="NVIDIA RTX A2000", capability=(8, 6), index=0, memory_bytes=6138 * MB)
H100 = Gpu(name="NVIDIA H100", capability=(9, 0), index=1, memory_bytes=80_000 * MB)
L4 = [Gpu(name="NVIDIA L4", capability=(8, 9), index=index, memory_bytes=24_000 * MB) for index in range(3)]
NO_GPU = pytest.mark.skipif(bool(find_gpus()), reason="there is a GPU: see tests/gpu")


class ScriptedLane(Lane):
    """Says whose it is; adds one to its picture."""

    __slots__ = ("gpu",)

    def __init__(self, gpu: Gpu, index: int) -> None:
        super().__init__(np.zeros((2, 3, 4, 4), np.uint8), index)
        self.gpu = gpu

    def start(self, count: int) -> None:
        self.count = count

    def finish(self) -> tuple[Outputs, int]:
        return {"output": self.array[: self.count] + 1}, 1


@dataclass
class ScriptedRuntime:
    """GPUs whose memory is counted. `lost`: asked so many times for its memory a GPU is gone, as CUDA says it."""

    weights_mb: int = 100
    context_mb: int = 400
    elsewhere_mb: int = 338
    overhead_mb: int = 0
    lost: int | None = None
    taken: Counter[int] = field(default_factory=Counter)
    limits: dict[int, int] = field(default_factory=dict)
    loads: Counter[int] = field(default_factory=Counter)
    _asked: int = 0

    def memory(self, gpu: Gpu) -> GpuMemory:
        self._asked += 1
        if self.lost is not None and self._asked > self.lost:
            msg = "CUDA error: the GPU has fallen off the bus"
            raise EngineError(msg)
        free = gpu.memory_bytes - self.elsewhere_mb * MB - self.taken[gpu.index]
        return GpuMemory(free=free, total=gpu.memory_bytes)

    def limit(self, gpu: Gpu, most_bytes: int) -> None:
        self.limits[gpu.index] = most_bytes

    def load(self, gpu: Gpu) -> Network:
        self.loads[gpu.index] += 1
        self.take(gpu, self.weights_mb)
        return ScriptedNetwork(self, gpu)

    def take(self, gpu: Gpu, size_mb: int) -> None:
        left = gpu.memory_bytes - self.elsewhere_mb * MB - self.taken[gpu.index]
        limit = self.limits.get(gpu.index)
        beyond = limit is not None and self.taken[gpu.index] + size_mb * MB > limit + self.overhead_mb * MB
        if size_mb * MB > left or beyond:
            msg = f"tried to allocate {size_mb} MB"
            raise GpuFullError(msg)
        self.taken[gpu.index] += size_mb * MB


@dataclass
class ScriptedNetwork:
    runtime: ScriptedRuntime
    gpu: Gpu

    def context(self, index: int) -> Lane:
        self.runtime.take(self.gpu, self.runtime.context_mb)
        return ScriptedLane(self.gpu, index)


def placed(options: GpuOptions, *gpus: Gpu, runtime: ScriptedRuntime | None = None, batch: int = 8) -> list[Any]:
    return place_lanes(options, gpus, runtime or ScriptedRuntime(), batch=batch)


def refused(options: GpuOptions, *gpus: Gpu, runtime: ScriptedRuntime, batch: int = 8) -> str:
    """The one line that is said."""
    with pytest.raises(GpuError) as error:
        placed(options, *gpus, runtime=runtime, batch=batch)
    (line,) = error.value.lines()
    assert "\n" not in line
    assert error.value.exit_status == 2
    return line.removeprefix("GpuError: ")


class TestWhichGpus:
    def test_first_one_is_taken_where_none_is_named(self) -> None:
        assert chosen_gpus(GpuOptions(), (A2000, H100)) == (A2000,)
        assert chosen_gpus(GpuOptions(), ()) == ()

    def test_named_ones_in_the_order_of_their_naming(self) -> None:
        assert chosen_gpus(GpuOptions(devices=(1, 0)), (A2000, H100)) == (H100, A2000)

    def test_one_that_there_is_not_is_named_with_those_that_there_are(self) -> None:
        with pytest.raises(GpuError) as error:
            chosen_gpus(GpuOptions(devices=(0, 2)), (A2000, H100))

        assert error.value.lines() == [
            "GpuError: model.gpu.devices: expected a GPU from 0 to 1: GPU 0 (NVIDIA RTX A2000), "
            "GPU 1 (NVIDIA H100), got 2"
        ]
        assert error.value.exit_status == 2

    @NO_GPU
    def test_named_one_without_a_driver(self) -> None:
        with pytest.raises(GpuError) as error:
            chosen_gpus(GpuOptions(devices=(0,)), find_gpus())

        assert error.value.lines() == [f"GpuError: model.gpu.devices: expected a GPU here, but {why_no_gpu()}, got 0"]

    @pytest.mark.parametrize(
        ("gpus", "said"),
        [
            ((A2000,), "NVIDIA RTX A2000"),
            ((H100,), "NVIDIA H100 (GPU 1)"),
            ((L4[0], L4[2]), "NVIDIA L4 (GPUs 0, 2)"),
            ((A2000, H100), "NVIDIA RTX A2000 (GPU 0) and NVIDIA H100 (GPU 1)"),
        ],
    )
    def test_description_names_them(self, gpus: tuple[Gpu, ...], said: str) -> None:
        assert said_of(gpus) == said


class TestPlacing:
    def test_double_buffer_on_one_gpu_by_default(self) -> None:
        lanes = placed(GpuOptions(), A2000)

        assert [(lane.gpu, lane.index) for lane in lanes] == [(A2000, 0), (A2000, 1)]

    def test_every_gpu_has_its_engines_and_the_first_frames_go_to_different_gpus(self) -> None:
        runtime = ScriptedRuntime()

        lanes = placed(GpuOptions(engines=2, contexts=3), *L4, runtime=runtime)

        assert [lane.gpu.index for lane in lanes] == [0, 1, 2] * 6
        assert [lane.index for lane in lanes] == list(range(18))
        assert runtime.loads == {0: 2, 1: 2, 2: 2}
        assert runtime.limits == {}

    def test_lanes_of_several_gpus_are_one_engine(self) -> None:
        engine = LaneEngine(placed(GpuOptions(), *L4), small_spec("yolo_nas"), "three GPUs")
        levels = []
        for level in range(6):
            buffer = engine.acquire()
            assert buffer is not None
            buffer.array[:] = level
            engine.submit(buffer, 2)
        engine.close()
        while (completion := engine.completed()) is not None:
            assert completion.outputs is not None
            levels.append(int(completion.outputs["output"][0, 0, 0, 0]))

        assert levels == [1, 2, 3, 4, 5, 6]

    def test_limit_is_set_before_anything_is_loaded(self) -> None:
        runtime = ScriptedRuntime()

        placed(GpuOptions(memory_mb=1000), *L4, runtime=runtime)

        assert runtime.limits == {0: 1000 * MB, 1: 1000 * MB, 2: 1000 * MB}


class TestTooLittle:
    def test_second_context_does_not_fit(self) -> None:
        line = refused(GpuOptions(), A2000, runtime=ScriptedRuntime(context_mb=3000))

        assert line == (
            "GPU 0 (NVIDIA RTX A2000): context 2 of 2, for 8 pictures a run, does not fit (tried to allocate 3000 MB; "
            "5800 MB of 6138 MB were free at the start); lower model.gpu.contexts (2) or batch.max (8)"
        )

    def test_not_even_the_first_does(self) -> None:
        line = refused(GpuOptions(contexts=1), A2000, runtime=ScriptedRuntime(context_mb=6000), batch=1)

        assert line == (
            "GPU 0 (NVIDIA RTX A2000): context 1 of 1, for one picture a run, does not fit (tried to allocate 6000 MB; "
            "5800 MB of 6138 MB were free at the start); lower the model's size"
        )

    def test_second_engine_s_weights_do_not(self) -> None:
        line = refused(GpuOptions(engines=2), A2000, runtime=ScriptedRuntime(weights_mb=3000, context_mb=900))

        assert "context 1 of 2 of engine 2 of 2, for 8 pictures a run, does not fit" in line
        assert line.endswith("lower model.gpu.engines (2) or model.gpu.contexts (2) or batch.max (8)")

    def test_second_gpu_has_too_little_of_it(self) -> None:
        line = refused(GpuOptions(), H100, A2000, runtime=ScriptedRuntime(weights_mb=5000, context_mb=500))

        assert line.startswith("GPU 0 (NVIDIA RTX A2000): context 2 of 2, for 8 pictures a run, does not fit")

    def test_limit_is_more_than_what_is_free(self) -> None:
        line = refused(GpuOptions(memory_mb=6000), A2000, runtime=ScriptedRuntime())

        assert line == (
            "model.gpu.memory_mb: expected at most the 5800 MB that GPU 0 (NVIDIA RTX A2000) has free of 6138 MB, "
            "got 6000; lower it"
        )

    def test_runtime_refuses_what_is_beyond_the_limit(self) -> None:
        line = refused(GpuOptions(memory_mb=800), A2000, runtime=ScriptedRuntime())

        assert "context 2 of 2, for 8 pictures a run, does not fit (tried to allocate 400 MB; " in line
        assert line.endswith("lower model.gpu.contexts (2) or batch.max (8), or raise model.gpu.memory_mb")

    def test_what_the_runtime_cannot_limit_is_measured(self) -> None:
        line = refused(GpuOptions(memory_mb=800), A2000, runtime=ScriptedRuntime(overhead_mb=1000))

        assert "context 2 of 2" in line
        assert "it takes 900 MB, and model.gpu.memory_mb allows 800 MB" in line


class TestLost:
    def test_gpu_that_cannot_be_started(self) -> None:
        line = refused(GpuOptions(), A2000, runtime=ScriptedRuntime(lost=0))

        assert line == "GPU 0 (NVIDIA RTX A2000) cannot be used: CUDA error: the GPU has fallen off the bus"

    def test_gpu_that_is_lost_while_it_is_filled(self) -> None:
        line = refused(GpuOptions(memory_mb=2000), A2000, runtime=ScriptedRuntime(lost=1))

        assert line.endswith("cannot be used: CUDA error: the GPU has fallen off the bus")


def nothing_loaded() -> CudaRuntime:
    return CudaRuntime(lambda gpu: pytest.fail(str(gpu)), lambda *_: pytest.fail("no lane is made"))


class TestWhatCudaSays:
    """How CUDA's errors become ours; torch raises them here by script."""

    @pytest.mark.parametrize(
        "error",
        [
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has …"),
            RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
            RuntimeError("GET was unable to find an engine to execute this computation"),
        ],
    )
    def test_memory_that_is_used_up(self, error: RuntimeError) -> None:
        with pytest.raises(GpuFullError) as caught, taking(A2000):
            raise error

        assert "\n" not in caught.value.message

    def test_network_that_cudnn_has_no_plan_for_may_also_be_of_a_type_that_the_gpu_lacks(self) -> None:
        said = "FIND was unable to find an engine to execute this computation"
        with pytest.raises(GpuFullError, match=r"computation: too little .* or model\.precision is"), taking(A2000):
            raise RuntimeError(said)

    def test_anything_else_ends_the_start_in_one_line(self) -> None:
        said = "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later"
        with pytest.raises(GpuError) as caught, taking(A2000):
            raise RuntimeError(said)

        assert caught.value.lines() == [
            "GpuError: GPU 0 (NVIDIA RTX A2000) failed at the start: CUDA error: device-side assert triggered "
            "CUDA kernel errors might be reported later"
        ]

    def test_network_that_the_runtime_does_not_take_stays_what_it_is(self) -> None:
        said = "a node of it"
        with pytest.raises(EngineError, match=said) as caught, taking(A2000):
            raise EngineError(said)

        assert type(caught.value) is EngineError

    def test_device_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def lost(_: int) -> tuple[int, int]:
            msg = "CUDA error: unknown error"
            raise RuntimeError(msg)

        monkeypatch.setattr(torch.cuda, "mem_get_info", lost)
        runtime = nothing_loaded()

        with pytest.raises(GpuError, match=r"GPU 0 \(NVIDIA RTX A2000\) cannot be used: CUDA error: unknown error"):
            place_lanes(GpuOptions(), (A2000,), runtime, batch=8)

    def test_limit_is_torch_s_share_of_the_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shares = {}
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5000 * MB, 6000 * MB))
        monkeypatch.setattr(
            torch.cuda, "set_per_process_memory_fraction", lambda share, index: shares.update({index: share})
        )

        nothing_loaded().limit(H100, 1500 * MB)

        assert shares == {1: 0.25}
