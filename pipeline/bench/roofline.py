"""The roofline: decoder and engine at the same time, and nothing else.

Every stream is decoded by PyAV with the threads that the pipeline gives it, its pictures thrown away; the engine runs
the same model on an input that was pre-processed once, called through the runtime itself, not through our `Engine`,
with as many requests in its queue as the pipeline has there: with none ready it would come out below the pipeline. A
file's decoder may be a few pictures ahead of the engine, as in the pipeline, so that both do the same number of
pictures; cameras are decoded at their own pace while the engine does all it can. No heads, no NMS, no tracker, no sink.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engines.picture import PictureWriter
from engines.runtimes import read_model_file
from engines.spec import find_spec
from engines.types import RgbPicture, YuvPlanes
from pipeline.analysis import pictures_ahead
from pipeline.config import Config
from pipeline.credits import FILE_CREDITS
from pipeline.supervisor import Supervisor
from stages.options import StreamOptions
from stages.source import Decoded, open_connection
from stages.source.av_open import is_local, open_input
from stages.types import Clock
from vedette.errors import SourceError
from vedette.priority import step_back

Hint = Literal["LATENCY", "THROUGHPUT"]
MODES: tuple[tuple[Hint, int], ...] = (("LATENCY", 1), ("LATENCY", 2), ("THROUGHPUT", 1), ("THROUGHPUT", 2))


class Roofline:
    """Runs until `supervisor.stop`; `frames` counts what the engine has done so far."""

    def __init__(self, config: Config, hint: Hint, requests: int, clock: Clock, supervisor: Supervisor) -> None:
        self.frames = 0
        self._config = config
        self._clock = clock
        self._supervisor = supervisor
        self._coupled = [options for options in config.streams if options.is_file]
        self._ready = threading.Semaphore(0)
        self._permits = {options.id: threading.Semaphore(FILE_CREDITS) for options in self._coupled}
        self._whose: list[str] = []
        self._lock = threading.Lock()
        self._infer: _OpenVino = _openvino(config, hint, requests, clock)

    def start(self) -> None:
        for options in self._config.streams:
            self._supervisor.spawn(f"source:{options.id}", functools.partial(self._decode, options))
        self._supervisor.spawn("engine", self._run_engine)
        self._supervisor.on_stop(self._wake)

    def _decode(self, options: StreamOptions) -> None:
        if options.id in self._permits:
            self._decode_file(options)
            return
        connection = open_connection(options, self._clock, self._supervisor.stop)
        try:
            for _ in connection.pictures():
                if self._supervisor.stop.is_set():
                    return
        finally:
            connection.close()

    def _decode_file(self, options: StreamOptions) -> None:
        """PyAV alone, again and again, with the threads that the pipeline gives it."""
        step_back()  # as in the pipeline
        stop = self._supervisor.stop
        while not stop.is_set():
            for _ in self._pictures(options):
                self._permits[options.id].acquire()
                if stop.is_set():
                    return
                with self._lock:
                    self._whose.append(options.id)
                self._ready.release()

    def _pictures(self, options: StreamOptions) -> Iterator[object]:
        if not is_local(options.url):  # a synthetic camera: its renderer stands for the decoder
            yield from open_connection(options, self._clock, self._supervisor.stop).pictures()
            return
        opened = open_input(options, self._clock)
        with opened.container as container:
            yield from container.decode(opened.video)

    def _run_engine(self) -> None:
        stop = self._supervisor.stop
        waiting: list[str] = []

        def done() -> None:
            self.frames += 1
            if waiting:
                self._permits[waiting.pop(0)].release()

        while not stop.is_set():
            if self._coupled:
                self._ready.acquire()
                with self._lock:
                    waiting.append(self._whose.pop(0) if self._whose else self._coupled[0].id)
            self._infer(done)
        self._infer.drain()

    def _wake(self) -> None:
        self._ready.release(FILE_CREDITS)
        for permit in self._permits.values():
            permit.release(FILE_CREDITS)


class _OpenVino:
    """The runtime itself: `requests` requests in turn, each started as soon as it is done, on one filled input."""

    def __init__(self, compiled: Any, requests: int, filled: npt.NDArray[Any]) -> None:
        self._requests = [compiled.create_infer_request() for _ in range(requests)]
        for request in self._requests:
            request.get_input_tensor().data[:] = filled
        self._busy = [False] * requests
        self._next = 0

    def __call__(self, done: Callable[[], None]) -> None:
        index = self._next
        if self._busy[index]:
            self._requests[index].wait()
            done()
        self._requests[index].start_async()
        self._busy[index] = True
        self._next = (index + 1) % len(self._requests)

    def drain(self) -> None:
        for request, busy in zip(self._requests, self._busy, strict=True):
            if busy:
                request.wait()


def _openvino(config: Config, hint: Hint, requests: int, clock: Clock) -> _OpenVino:
    """The configured model, filled with the first stream's first picture, pre-processed as the pipeline does it."""
    from engines.runtimes.openvino import compile_model

    file = read_model_file(Path(config.model.path))
    spec = find_spec(file).spec
    compiled = compile_model(file, spec, config.model, hint, requests, gives_way=True)
    width, height = spec.input.size
    filled = np.zeros((1, 3, height, width), compiled.input(0).element_type.to_dtype())
    PictureWriter(spec.input).write(_first_picture(config.streams[0], clock), filled, 0)
    return _OpenVino(compiled, requests + pictures_ahead(config), filled)


def _first_picture(options: StreamOptions, clock: Clock) -> YuvPlanes | RgbPicture:
    connection = open_connection(options, clock, threading.Event())
    try:
        for item in connection.pictures():
            if isinstance(item, Decoded):
                return item.picture.planes()
    finally:
        connection.close()
    msg = f"stream {options.id}: no picture to fill the engine with"
    raise SourceError(msg, reason="corrupt")
