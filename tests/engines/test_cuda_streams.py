"""What `engines/runtimes/cuda.py` makes of CUDA's streams, events and captures. CUDA itself is scripted here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engines.runtimes.cuda import CudaStream, _first_moment
from engines.runtimes.graphs import Given, NotCapturedError
from vedette.errors import EngineError


class Event:
    """Of a device whose clock goes on by a millisecond with each event."""

    clock_ms = 0
    made = 0

    def __init__(self, **_: bool) -> None:
        Event.made += 1
        self.at_ms: int | None = None
        self.on: object = None

    def record(self, stream: object = None) -> None:
        Event.clock_ms += 1
        self.at_ms = Event.clock_ms
        self.on = stream

    def synchronize(self) -> None:
        assert self.at_ms is not None

    def elapsed_time(self, end: Event) -> float:
        assert self.at_ms is not None
        assert end.at_ms is not None
        return float(end.at_ms - self.at_ms)


class Capture:
    """`torch.cuda.graph`: its end fails, too, if what was captured did."""

    def __init__(self, graph: object, *, pool: object, stream: object, capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local"

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            msg = "CUDA error: operation failed due to a previous error during capture\nCUDA kernel errors …"
            raise RuntimeError(msg)


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> CudaStream:
    replays = SimpleNamespace(replay=lambda: None)
    scripted: dict[str, Any] = {
        "Stream": lambda: SimpleNamespace(device=torch.device("cuda", 0), cuda_stream=7),
        "Event": Event,
        "device": lambda _: nullcontext(),
        "graph_pool_handle": lambda: (0, 1),
        "CUDAGraph": lambda: replays,
        "graph": Capture,
    }
    for name, value in scripted.items():
        monkeypatch.setattr(torch.cuda, name, value)
    Event.clock_ms = Event.made = 0
    _first_moment.cache_clear()
    made = CudaStream()
    _first_moment.cache_clear()
    return made


def test_stages_are_the_time_between_events_and_events_are_made_once(stream: CudaStream) -> None:
    for turn in range(3):
        stream.begin()
        stream.mark()
        stream.mark()
        stream.end()

        assert stream.wait() == 3_000_000
        assert stream.marked() == (1.0 + 4 * turn, 1.0, 1.0, 1.0)
        assert Event.made == 6


def test_what_decoders_have_begun_is_waited_for_by_one_event(
    stream: CudaStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Event] = []
    monkeypatch.setattr(torch.cuda, "default_stream", lambda _: "the decoders'")
    monkeypatch.setattr(stream._stream, "wait_event", waited.append, raising=False)

    stream.after_decoder()
    stream.after_decoder()

    assert waited[0] is waited[1]
    assert waited[0].on == "the decoders'"


def test_stream_is_left_before_its_device_is(stream: CudaStream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left alone, it would make the GPU of the stream before current, and CUDA 12 a context there: GPU 0, unused."""
    seen: list[str] = []

    @contextmanager
    def told(what: object) -> Iterator[None]:
        name = "device 1" if what == torch.device("cuda", 1) else "stream"
        seen.append(f"into {name}")
        yield
        seen.append(f"out of {name}")

    monkeypatch.setattr(torch.cuda, "device", told)
    monkeypatch.setattr(torch.cuda, "stream", told)
    stream._stream.device = torch.device("cuda", 1)

    with stream.here():
        seen.append("work")

    assert seen == ["into device 1", "into stream", "work", "out of stream", "out of device 1"]


def test_run_that_is_not_measured_makes_no_events(stream: CudaStream) -> None:
    made = Event.made

    stream.begin()
    stream.end()

    assert stream.wait() == 1_000_000
    assert stream.marked() == (1.0, 1.0)
    assert Event.made == made


def test_capture_is_what_was_begun_within(stream: CudaStream) -> None:
    given = {"boxes": torch.zeros(1)}

    replay, outputs = stream.capture(lambda: given)

    replay()
    assert outputs is given


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: operation not permitted when stream is capturing"), EngineError("did not start a run")],
)
def test_reason_of_a_capture_that_fails_is_what_went_wrong_first(stream: CudaStream, error: Exception) -> None:
    def work() -> Given:
        raise error

    with pytest.raises(NotCapturedError) as raised:
        stream.capture(work)

    assert raised.value.message == str(error).removeprefix("EngineError: ")


def test_memory_that_is_used_up_stays_what_it_is(stream: CudaStream) -> None:
    def work() -> Given:
        msg = "CUDA out of memory. Tried to allocate 2.00 GiB."
        raise torch.cuda.OutOfMemoryError(msg)

    with pytest.raises(torch.cuda.OutOfMemoryError, match=r"Tried to allocate 2.00 GiB"):
        stream.capture(work)
