"""An engine that does as the test says: which buffer comes back first, which fails, which is refused.

It passes the contract of the real ones (tests/engines/test_runtimes.py). Its network sees the mean level of a picture,
so that what comes out tells which picture went in; what it gave out is overwritten when the buffer is released.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty

import numpy as np

from engines.engine import Buffer, Completion, Outputs
from engines.runtimes.pool import BufferPool, HostBuffer
from engines.spec import InputSpec, ModelSpec
from engines.types import F32, RgbPicture
from vedette.errors import EngineError

WIDTH, HEIGHT = 64, 32
LEVEL_PX = 0.2
"""How far to the right a box is for each level of grey."""

MEAN_SPEC = ModelSpec(
    name="scripted",
    head="end2end",
    classes=("person", "car"),
    input=InputSpec(size=(WIDTH, HEIGHT), scale=1.0),
    score=0.3,
)

Look = Callable[[F32], Outputs | EngineError]
"""What the network makes of the (count, 3, H, W) pictures of a buffer."""


def one_box_each(pictures: F32) -> Outputs:
    """One person a picture, whose place tells the picture's mean level: see `level_of`."""
    levels = pictures.mean(axis=(1, 2, 3))
    rows = [[level * LEVEL_PX, 4.0, level * LEVEL_PX + 10.0, 24.0, 0.9, 0.0] for level in levels]
    return {"output": np.array(rows, np.float32)[:, None]}


def level_of(x1: float) -> int:
    """The level of the picture in which `one_box_each` saw a box with this left side."""
    return round(x1 / LEVEL_PX)


@dataclass(frozen=True, eq=False)
class GreyPicture:
    """A picture of one level of grey; with `error` one that cannot be converted."""

    level: int
    error: Exception | None = None
    size_wh: tuple[int, int] = (WIDTH, HEIGHT)

    def planes(self) -> RgbPicture:
        if self.error is not None:
            raise self.error
        return RgbPicture(rgb=np.full((self.size_wh[1], self.size_wh[0], 3), self.level, np.uint8))

    def release(self) -> None: ...


class ScriptedEngine:
    """`engines.engine.Engine` on this process's own arrays.

    `pick` chooses one of so many running buffers to come back next; `refuse` may give an error for the next submission.
    `gather_s`: how long a buffer may wait for others to be submitted, so that there is something to choose from.
    """

    def __init__(
        self,
        *,
        look: Look = one_box_each,
        spec: ModelSpec = MEAN_SPEC,
        buffers: int = 2,
        batch: int = 1,
        pick: Callable[[int], int] = lambda _: 0,
        refuse: Callable[[], EngineError | None] = lambda: None,
        gather_s: float = 0.0,
    ) -> None:
        self.spec = spec
        self.description = "scripted"
        self.max_batch = batch
        self.submissions: list[int] = []
        self.closed = False
        self._look = look
        self._pick = pick
        self._refuse = refuse
        self._gather_s = gather_s
        self._buffers = [HostBuffer(np.zeros((batch, 3, HEIGHT, WIDTH), np.float32), index) for index in range(buffers)]
        self._pool = BufferPool(self._buffers)
        self._running: list[HostBuffer] = []
        self._jobs: dict[int, tuple[int, int]] = {}
        self._given: dict[int, Outputs] = {}

    def acquire(self) -> Buffer | None:
        return self._pool.acquire()

    def submit(self, buffer: Buffer, count: int) -> None:
        own = self._own(buffer)
        if not 1 <= count <= self.max_batch:
            msg = f"expected 1 picture{' or more' if self.max_batch > 1 else ''} a buffer, got {count}"
            raise EngineError(msg)
        self._pool.submitted(own)
        refusal = self._refuse()
        if refusal is not None:
            self._pool.refused(own)
            raise refusal
        self.submissions.append(count)
        self._jobs[own.index] = (count, time.monotonic_ns())
        self._pool.started(own)

    def completed(self) -> Completion | None:
        if not self._gather():
            return None
        buffer = self._running.pop(self._pick(len(self._running)))
        count, started_ns = self._jobs.pop(buffer.index)
        seen = self._look(buffer.array[:count])
        failed = isinstance(seen, EngineError)
        if not failed:
            self._given[buffer.index] = seen
        self._pool.completed(buffer)
        return Completion(
            buffer=buffer,
            count=count,
            outputs=None if failed else seen,
            error=seen if failed else None,
            engine_ns=time.monotonic_ns() - started_ns,
        )

    def _gather(self) -> bool:
        """Wait for a running buffer, and for others as long as they may be waited for; False when it is over."""
        if not self._running:
            first = self._pool.next()
            if first is None:
                return False
            self._running.append(first)
        with contextlib.suppress(Empty):
            while len(self._running) < len(self._buffers):
                buffer = self._pool.next(0.0 if self._pool.closing else self._gather_s)
                if buffer is None:
                    break
                self._running.append(buffer)
        return True

    def release(self, buffer: Buffer) -> None:
        own = self._own(buffer)
        self._pool.release(own)
        for array in self._given.pop(own.index, {}).values():
            array[:] = np.nan

    def close(self) -> None:
        self.closed = True
        self._pool.close()

    @property
    def free(self) -> int:
        """Buffers that nobody holds."""
        return sum(not buffer.held for buffer in self._buffers) - self._pool.outstanding

    def _own(self, buffer: Buffer) -> HostBuffer:
        if not isinstance(buffer, HostBuffer) or self._buffers[buffer.index] is not buffer:
            msg = "this buffer belongs to another engine"
            raise EngineError(msg)
        return buffer
