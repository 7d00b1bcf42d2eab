"""What `on_cuda.py` asks of torch, in which order, by a scripted torch; that torch does it is for tests/gpu to show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.profiler

from engines.runtimes.gpus import Gpu, find_gpus
from pipeline.bench.gpu.on_cuda import WARM_UP, CudaInstruments
from vedette.errors import EngineError

H100 = Gpu(name="NVIDIA H100", capability=(9, 0), memory_bytes=80 << 30)

pytestmark = pytest.mark.skipif(bool(find_gpus()), reason="there is a GPU: tests/gpu asks it")


class Script:
    """A CUDA whose clock moves by a millisecond at each replay; notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ms = 0.0
        self.capturing = False

    def replay(self) -> None:
        self.asked.append("replay")
        self.ms += 1.0

    @contextmanager
    def graph(self, graph: object, *, stream: object) -> Iterator[None]:
        self.asked.append("capture")
        self.capturing = True
        yield
        self.capturing = False

    def event(self, **_: Any) -> Any:
        event = SimpleNamespace(at=0.0)
        event.record = lambda stream: setattr(event, "at", self.ms)
        event.elapsed_time = lambda other: other.at - event.at
        return event


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Script()
    stream = SimpleNamespace(cuda_stream=77, synchronize=lambda: script.asked.append("wait"))
    for name, given in {
        "get_device_properties": lambda _: SimpleNamespace(L2_cache_size=50 << 20),
        "Stream": lambda: stream,
        "CUDAGraph": lambda: SimpleNamespace(replay=script.replay),
        "Event": script.event,
        "graph": script.graph,
        "stream": lambda _: nullcontext(),
        "synchronize": lambda: script.asked.append("wait for all"),
    }.items():
        monkeypatch.setattr(torch.cuda, name, given)
    return script


def test_work_is_captured_once_after_a_warm_up_and_each_replay_is_timed(cuda: Script) -> None:
    handles: list[int] = []

    def work(stream: int) -> None:
        handles.append(stream)
        cuda.asked.append("work")

    times = CudaInstruments(H100).times_ms(work, 4)

    assert times == [1.0] * 4
    assert handles == [77] * (WARM_UP + 1)
    assert cuda.asked == ["wait for all", *["work"] * WARM_UP, "wait", "capture", "work", *["replay"] * 5, "wait"]


def test_facts_are_the_driver_s_and_torch_s(cuda: Script) -> None:
    facts = CudaInstruments(H100).facts

    assert (facts.name, facts.capability, facts.memory_mb, facts.l2_mb) == ("NVIDIA H100", "sm_90", 81_920, 50.0)
    assert (facts.driver, facts.cuda) == (None, torch.version.cuda)


class Profile:
    """Writes a trace in which `events` happened."""

    events: tuple[dict[str, Any], ...] = ()

    def __init__(self, activities: list[Any]) -> None:
        assert activities == [torch.profiler.ProfilerActivity.CUDA]
        self.asked: list[str] = []

    def start(self) -> None:
        self.asked.append("start")

    def stop(self) -> None:
        assert self.asked == ["start"]
        self.asked.append("stop")

    def export_chrome_trace(self, path: str) -> None:
        assert self.asked == ["start", "stop"]
        Path(path).write_text(json.dumps({"traceEvents": list(self.events)}))


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch, cuda: Script) -> type[Profile]:
    class Own(Profile):
        pass

    monkeypatch.setattr(torch.profiler, "profile", Own)
    monkeypatch.setattr(torch.profiler, "supported_activities", lambda: {torch.profiler.ProfilerActivity.CUDA})
    return Own


def test_trace_is_what_the_profiler_wrote(profile: type[Profile]) -> None:
    copy = {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD (Pinned -> Device)", "ts": 5, "dur": 2}
    profile.events = ({**copy, "args": {"bytes": 640}},)

    assert CudaInstruments(H100).trace().end().to_device == (640,)


def test_trace_in_which_nothing_happened_is_no_proof(profile: type[Profile]) -> None:
    with pytest.raises(EngineError, match="torch's profiler has seen nothing on the GPU"):
        CudaInstruments(H100).trace().end()


def test_profiler_that_fails_says_so(profile: type[Profile], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        msg = "CUPTI_ERROR_INSUFFICIENT_PRIVILEGES"
        raise RuntimeError(msg)

    monkeypatch.setattr(profile, "start", refuse)
    with pytest.raises(EngineError, match="torch's profiler failed: CUPTI_ERROR_INSUFFICIENT_PRIVILEGES"):
        CudaInstruments(H100).trace()


def test_torch_without_cupti_says_so(cuda: Script) -> None:
    """The real torch of this environment."""
    with pytest.raises(EngineError, match=r"torch \S+ has no profiler for GPUs \(CUPTI\)"):
        CudaInstruments(H100).trace()
