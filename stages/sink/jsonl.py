"""A file of JSON lines as a sink: whole lines or none.

In:  encoded messages, from the thread `sink:{name}` (`pipeline/outlet_jsonl.py`).
Out: one message a line, appended; a line is in the file (not fsync'd) when `append` returns.

A plain object; not thread-safe. One process at a time has the file: an undone write of one must not cut off another's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from vedette.errors import SinkError

NOT_OF_LINES = "it is a file of something else, not of JSON lines"
_TAIL_BYTES = 1 << 20
_BEGINS = (b'{"type":"', b'{"kind":"')


class JsonlFile:
    """An open file of lines, or a pipe or device, of which nothing can be taken back."""

    def __init__(self, path: str) -> None:
        """Open it for appending, with its directory if that is missing.

        A half line at its end, left by a crash, is cut off. Raises SinkError, also for a file of something else.
        """
        self._path = path
        self._fd = -1
        self._size = 0
        self._torn = False
        try:
            self._open()
        except BlockingIOError as error:
            msg = f"jsonl {path}: in use by another process or another sink"
            raise SinkError(msg, hint="give every process and every sink a file of its own") from error
        except OSError as error:
            msg = f"jsonl {path}: cannot be opened: {error.strerror}"
            raise SinkError(msg, hint="choose another path, or make that one writable for this user") from error

    def __str__(self) -> str:
        return f"jsonl {self._path}"

    def append(self, messages: Sequence[bytes]) -> None:
        """Append all of them, or none; raises OSError then."""
        if self._torn:
            self._cut()
        if self._is_regular:
            # Asked each time: whoever rotates logs may have moved it away, or emptied it.
            if self._is_moved():
                self._open()
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

    def _open(self) -> None:
        """Take the file that has the name now in the place of what was open. Raises OSError; then nothing changed.

        BlockingIOError: somebody else has it.
        """
        Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            is_regular = stat.S_ISREG(os.fstat(fd).st_mode)
            if is_regular:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not is_of_lines(fd):
                    raise OSError(errno.EINVAL, NOT_OF_LINES, self._path)
                _repair(fd)
        except OSError:
            os.close(fd)
            raise
        self.close()
        self._fd, self._is_regular = fd, is_regular

    def _is_moved(self) -> bool:
        try:
            there = Path(self._path).stat()
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(self._fd))

    def _cut(self) -> None:
        if self._is_regular:
            os.ftruncate(self._fd, self._size)
        self._torn = False


def is_of_lines(fd: int) -> bool:
    """Whether the file may be one of JSON lines: empty, or begun with an object. A video or a configuration is not."""
    return os.pread(fd, 1, 0) in {b"", b"{"}


def _repair(fd: int) -> None:
    """Cut off a half line at its end, or end the line if it may be somebody else's."""
    size = os.fstat(fd).st_size
    tail = os.pread(fd, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    last = tail[tail.rfind(b"\n") + 1 :]
    if not last:
        return
    try:
        json.loads(last)
    except ValueError:
        # Only what can be our own half message is cut off: the path may name a file of somebody else's.
        ours = any(begin[: len(last)] == last[: len(begin)] for begin in _BEGINS)
        if ours and (size == len(tail) or b"\n" in tail):
            os.ftruncate(fd, size - len(last))
            return
    os.write(fd, b"\n")
