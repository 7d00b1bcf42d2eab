"""Credits: how many frames of one file may be on their way between its decoder and its slowest sink.

The decoder's thread takes one before it hands a frame on, and waits there and nowhere else; the frame's end, wherever
it is, gives it back. So no later stage ever blocks on a file, and no queue can overflow.
"""

from __future__ import annotations

import threading

FILE_CREDITS = 8
"""Frames of one file on their way at once (DESIGN: the life of a frame, 2)."""


class Credits:
    """A counting semaphore that wakes its waiter on close."""

    def __init__(self, count: int = FILE_CREDITS) -> None:
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
            self._condition.notify()

    def close(self) -> None:
        """Wake the waiter; `take` says False from now on, credits still come back."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
