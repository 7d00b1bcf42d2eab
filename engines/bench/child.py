"""One candidate of a bench, in a process of its own: opens an engine, and measures when it is told to.

In:  a Job; lines with numbers of seconds. Out: Ready, then a Turn for each line (`engines.bench.job`).
Between its turns it waits for the next line and uses no CPU. Called by the command line, which hands in the clock.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from engines.bench.job import Answer, Failed, Job, Ready, Turn
from engines.bench.opening import open_candidate
from engines.engine import Buffer, Engine
from engines.picture import PictureWriter
from engines.types import RgbPicture
from vedette.errors import EngineError, VedetteError

WARM_UP_REQUESTS = 5
LEAST_REQUESTS = 5
"""A turn goes on until it has so many, however long they take."""

AGAIN_WARM = 0.15
"""This part of a turn's length is run before it and not counted: caches and clock rates are another's by then."""

_MOST_BUFFERS = 64


def serve(job: Job, lines: Iterable[str], answer: Callable[[Answer], None], now_ns: Callable[[], int]) -> None:
    """Answer every line, until there are no more or something fails, which is answered, too."""
    try:
        engine = open_candidate(job, now_ns=now_ns)
    except VedetteError as error:
        answer(Failed(why=error.message))
        return
    try:
        candidate = _Candidate(engine, job, now_ns)
        answer(Ready(description=engine.description, requests=candidate.requests))
        gc.collect()
        gc.disable()
        for line in lines:
            answer(candidate.turn(float(line)))
            gc.collect()
    except VedetteError as error:
        answer(Failed(why=error.message))
    finally:
        engine.close()


class _Candidate:
    def __init__(self, engine: Engine, job: Job, now_ns: Callable[[], int]) -> None:
        self._engine = engine
        self._batch = job.batch
        self._now_ns = now_ns
        self._latency = job.mode == "latency"
        self.requests = self._warm_up()

    def turn(self, seconds: float) -> Turn:
        """Measure for `seconds`."""
        run = self._one_by_one if self._latency else self._in_flight
        run(seconds * AGAIN_WARM)
        return run(seconds)

    def _warm_up(self) -> int:
        """Run every buffer once and more; how many there are. The buffers hold noise afterwards, and keep it.

        A pool hands out the buffer that has been free longest, so the first that comes again has seen them all.
        """
        spec = self._engine.spec.input
        noise = np.random.default_rng(0).integers(0, 256, (spec.size[1], spec.size[0], 3), np.uint8)
        writer = PictureWriter(spec)
        seen: set[int] = set()
        runs = 0
        while True:
            buffer = self._acquired()
            if buffer.array.shape[0] < self._batch:
                msg = f"this engine takes at most {buffer.array.shape[0]} a request"
                raise EngineError(msg)
            if id(buffer) in seen and runs >= WARM_UP_REQUESTS:
                self._engine.release(buffer)
                return len(seen)
            if id(buffer) not in seen:
                seen.add(id(buffer))
                for index in range(self._batch):
                    writer.write(RgbPicture(rgb=noise), buffer.array, index)
            if len(seen) > _MOST_BUFFERS:
                msg = f"an engine with more than {_MOST_BUFFERS} buffers cannot be measured"
                raise EngineError(msg)
            self._engine.submit(buffer, self._batch)
            self._finished()
            runs += 1

    def _one_by_one(self, seconds: float) -> Turn:
        now_ns = self._now_ns
        latencies_ms: list[float] = []
        start_ns = now_ns()
        end_ns, limit_ns = start_ns, int(seconds * 1e9)
        while end_ns - start_ns < limit_ns or len(latencies_ms) < LEAST_REQUESTS:
            buffer = self._acquired()
            begin_ns = now_ns()
            self._engine.submit(buffer, self._batch)
            completion = self._engine.completed()
            end_ns = now_ns()
            if completion is None or completion.error is not None:
                raise _failure(None if completion is None else completion.error)
            self._engine.release(completion.buffer)
            latencies_ms.append((end_ns - begin_ns) / 1e6)
        return self._turned(end_ns - start_ns, len(latencies_ms), latencies_ms)

    def _in_flight(self, seconds: float) -> Turn:
        """Every buffer in flight all the time; counted from the first that comes back to the last one in time."""
        for _ in range(self.requests):
            self._engine.submit(self._acquired(), self._batch)
        self._finished()
        start_ns = end_ns = self._now_ns()
        limit_ns, done = int(seconds * 1e9), 0
        least = max(LEAST_REQUESTS, 2 * self.requests)
        while end_ns - start_ns < limit_ns or done < least:
            self._engine.submit(self._acquired(), self._batch)
            self._finished()
            end_ns = self._now_ns()
            done += 1
        for _ in range(self.requests - 1):
            self._finished()
        return self._turned(end_ns - start_ns, done, [])

    def _acquired(self) -> Buffer:
        buffer = self._engine.acquire()
        if buffer is None:
            raise _failure(None)
        return buffer

    def _finished(self) -> None:
        completion = self._engine.completed()
        if completion is None or completion.error is not None:
            raise _failure(None if completion is None else completion.error)
        self._engine.release(completion.buffer)

    def _turned(self, elapsed_ns: int, requests: int, latencies_ms: list[float]) -> Turn:
        return Turn(
            seconds=elapsed_ns / 1e9, requests=requests, memory_bytes=peak_memory_bytes(), latencies_ms=latencies_ms
        )


def _failure(error: EngineError | None) -> EngineError:
    return EngineError("the engine gave no result") if error is None else error


def peak_memory_bytes() -> int:
    """The most that this process has had resident, Python and all libraries included (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024
    return 0
