"""A file of JSON lines as a sink: whole lines or none.

In:  encoded messages, from the thread `sink:{name}` (`pipeline/outlet_jsonl.py`).
Out: one message a line, appended; a line is in the file (not fsync'd) when `append` returns.

A plain object; not thread-safe. One process at a time has the file: an undone write of one must not cut off another's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from vedette.errors import SinkError

_TAIL_BYTES = 1 << 20
_BEGINS = (b'{"type":"', b'{"kind":"')


class JsonlFile:
    """An open file of lines, or a pipe or device, of which nothing can be taken back."""

    def __init__(self, path: str) -> None:
        """Open it for appending, with its directory if that is missing.

        A half line at its end, left by a crash, is cut off. Raises SinkError.
        """
        self._path = path
        self._fd = -1
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._is_regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
            if self._is_regular:
                self._lock()
                self._repair()
        except OSError as error:
            self.close()
            msg = f"jsonl {path}: cannot be opened: {error.strerror}"
            raise SinkError(msg) from error
        self._size = 0
        self._torn = False

    def __str__(self) -> str:
        return f"jsonl {self._path}"

    def append(self, messages: Sequence[bytes]) -> None:
        """Append all of them, or none; raises OSError then."""
        if self._torn:
            self._cut()
        if self._is_regular:
            # Asked each time: whoever rotates logs may have emptied it.
            self._size = os.fstat(self._fd).st_size
        view = memoryview(b"".join(part for message in messages for part in (message, b"\n")))
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            self._torn = self._is_regular
            with contextlib.suppress(OSError):
                self._cut()
            raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _cut(self) -> None:
        if self._is_regular:
            os.ftruncate(self._fd, self._size)
        self._torn = False

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            msg = f"jsonl {self._path}: in use by another process or another sink"
            raise SinkError(msg, hint="give every process and every sink a file of its own") from None

    def _repair(self) -> None:
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        last = tail[tail.rfind(b"\n") + 1 :]
        if not last:
            return
        try:
            json.loads(last)
        except ValueError:
            # Only what can be our own half message is cut off: the path may name a file of somebody else's.
            ours = any(begin[: len(last)] == last[: len(begin)] for begin in _BEGINS)
            if ours and (size == len(tail) or b"\n" in tail):
                os.ftruncate(self._fd, size - len(last))
                return
        os.write(self._fd, b"\n")
