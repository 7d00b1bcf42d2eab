"""Credits: how many frames of one file may be on their way between its decoder and its slowest sink.

The decoder's thread takes one before it hands a frame on, and waits there and nowhere else; the frame's end, wherever
it is, gives it back. So no later stage ever blocks on a file, and no queue can overflow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

FILE_CREDITS = 8
"""Frames of one file on their way at once (DESIGN: the life of a frame, 2)."""


class Credits:
    """A counting semaphore that wakes its waiter on close and says when nothing is on its way."""

    def __init__(self, count: int = FILE_CREDITS, *, on_all_back: Callable[[], None] | None = None) -> None:
        self._on_all_back = on_all_back
        self._count = count
        self._free = count
        self._closed = False
        self._condition = threading.Condition()

    def take(self) -> bool:
        """Wait for a credit and take it; False once closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._free > 0 or self._closed)
            if self._closed:
                return False
            self._free -= 1
            return True

    def give_back(self) -> None:
        with self._condition:
            if self._free >= self._count:
                msg = f"a credit was given back twice: {self._free} of {self._count} are free"
                raise RuntimeError(msg)
            self._free += 1
            all_back = self._free == self._count
            self._condition.notify()
        if all_back and self._on_all_back is not None:
            self._on_all_back()

    def all_back(self) -> bool:
        """Whether nothing is on its way."""
        with self._condition:
            return self._free == self._count

    def close(self) -> None:
        """Wake the waiter; `take` says False from now on, credits still come back."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
