"""The bookkeeping that every runtime needs: which buffers are free, and who waits for one."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Generic, TypeVar

import numpy.typing as npt

from engines.engine import Place
from vedette.errors import EngineError

B = TypeVar("B", bound="HostBuffer")


class HostBuffer:
    """One input in host memory: the engine's own, not a copy."""

    __slots__ = ("array", "index")

    def __init__(self, array: npt.NDArray[Any], index: int) -> None:
        self.array = array
        self.index = index

    @property
    def place(self) -> Place:
        return Place.HOST


class BufferPool(Generic[B]):
    """Free and submitted buffers under one lock. A buffer is free, acquired, submitted or completed, one at a time."""

    def __init__(self, buffers: list[B]) -> None:
        self.changed = threading.Condition()
        self._free: deque[B] = deque(buffers)
        self._acquired: set[int] = set()
        self._outstanding = 0
        self.closing = False

    def acquire(self) -> B | None:
        """Wait for a free buffer; None once closing."""
        with self.changed:
            self.changed.wait_for(lambda: bool(self._free) or self.closing)
            if self.closing:
                return None
            buffer = self._free.popleft()
            self._acquired.add(buffer.index)
            return buffer

    def submitted(self, buffer: B) -> None:
        """The buffer goes to the engine. Raises EngineError if its caller does not hold it."""
        with self.changed:
            self._must_be_held(buffer)
            self._acquired.remove(buffer.index)
            self._outstanding += 1
            self.changed.notify_all()

    def refused(self, buffer: B) -> None:
        """The engine did not take it after all: its caller holds it again."""
        with self.changed:
            self._outstanding -= 1
            self._acquired.add(buffer.index)
            self.changed.notify_all()

    def completed(self, buffer: B) -> None:
        """The buffer came back; its taker holds it until it is released."""
        with self.changed:
            self._outstanding -= 1
            self._acquired.add(buffer.index)
            self.changed.notify_all()

    def release(self, buffer: B) -> None:
        with self.changed:
            self._must_be_held(buffer)
            self._acquired.remove(buffer.index)
            self._free.append(buffer)
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.closing = True
            self.changed.notify_all()

    @property
    def outstanding(self) -> int:
        """Submitted and not yet back; read it under `changed`."""
        return self._outstanding

    def _must_be_held(self, buffer: B) -> None:
        if buffer.index not in self._acquired:
            msg = f"buffer {buffer.index} was submitted or released by someone who does not hold it"
            raise EngineError(msg)
