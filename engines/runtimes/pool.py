"""The bookkeeping that every runtime needs: which buffers are free, which are under way, and who waits for one.

Two queues, each with one thread that waits on it: what the engine does to one buffer wakes nobody who waits for
another. (One condition for all cost each frame several wake-ups in vain, 0.2 ms of CPU.)
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import numpy.typing as npt

from engines.engine import Place
from vedette.errors import EngineError

B = TypeVar("B", bound="HostBuffer")


class HostBuffer:
    """One input in host memory: the engine's own, not a copy. `held`: somebody acquired it, or took it back."""

    __slots__ = ("array", "held", "index")

    def __init__(self, array: npt.NDArray[Any], index: int) -> None:
        self.array = array
        self.index = index
        self.held = False

    @property
    def place(self) -> Place:
        return Place.HOST


class BufferPool(Generic[B]):
    """Where each buffer is: free, held, or outstanding from `submitted` to `completed`; one of them at a time."""

    def __init__(self, buffers: list[B]) -> None:
        self._free: SimpleQueue[B | None] = SimpleQueue()
        for buffer in buffers:
            self._free.put(buffer)
        self._started: SimpleQueue[B | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._outstanding = 0
        self.closing = False

    def acquire(self) -> B | None:
        """Wait for a free buffer; None once closing."""
        buffer = self._free.get()
        if self.closing or buffer is None:
            self._free.put(buffer)  # for whoever else waits
            return None
        buffer.held = True
        return buffer

    def submitted(self, buffer: B) -> None:
        """The buffer goes to the engine. Raises EngineError if its caller does not hold it."""
        self._let_go(buffer)
        with self._lock:
            self._outstanding += 1

    def started(self, buffer: B) -> None:
        """The engine has it: it is now, or will be, `next`."""
        self._started.put(buffer)

    def next(self, timeout_s: float | None = None) -> B | None:
        """Wait for the next that was started; None once closing and nothing is outstanding.

        Raises queue.Empty when the time is up.
        """
        while (buffer := self._started.get(timeout=timeout_s)) is None:
            with self._lock:
                over = not self._outstanding  # what was held when it closed may still have been submitted
            if over:
                self._started.put(None)  # for whoever else waits
                return None
        return buffer

    def refused(self, buffer: B) -> None:
        """The engine did not take it after all: its caller holds it again."""
        self._come_back(buffer)

    def completed(self, buffer: B) -> None:
        """The buffer came back; its taker holds it until it is released."""
        self._come_back(buffer)

    def release(self, buffer: B) -> None:
        self._let_go(buffer)
        self._free.put(buffer)

    def close(self) -> None:
        with self._lock:
            self.closing = True
            over = not self._outstanding
        self._free.put(None)
        if over:
            self._started.put(None)

    @property
    def outstanding(self) -> int:
        """Submitted and not yet back."""
        with self._lock:
            return self._outstanding

    def _let_go(self, buffer: B) -> None:
        if not buffer.held:
            msg = f"buffer {buffer.index} was submitted or released by someone who does not hold it"
            raise EngineError(msg)
        buffer.held = False

    def _come_back(self, buffer: B) -> None:
        buffer.held = True
        with self._lock:
            self._outstanding -= 1
            over = self.closing and not self._outstanding
        if over:
            self._started.put(None)
