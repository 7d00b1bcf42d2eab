"""Sees to it that nothing outlives the command, however that ends: not even SIGKILL leaves servers or files behind.

A small process in a session of its own is told of each child as it starts, and of the folder that they write into. When
its standard input ends, because we did, it kills those that live and removes the folder. It holds each by a pidfd, so
that it never hits another process that got the same id. (PR_SET_PDEATHSIG would not do: it is the thread that started a
child whose end counts, and ours start servers in threads that end before them.)
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Watch = Callable[[int], None]
_PATIENCE_S = 20.0


def unwatched(_pid: int) -> None:
    """For those whose end is seen to otherwise."""


class Warden:
    """`with Warden(folder) as warden: warden.watch(process.pid)`, right after the start. Without a folder none goes."""

    def __init__(self, folder: Path | None = None) -> None:
        # -I -S: nothing but the standard library, which starts in a moment.
        words = [sys.executable, "-I", "-S", str(Path(__file__)), *([] if folder is None else [str(folder)])]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, bufsize=0, start_new_session=True)

    def __enter__(self) -> Warden:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_PATIENCE_S)

    def watch(self, pid: int) -> None:
        """From any thread: a line is written at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{pid}\n".encode())


def keep_watch(source: int, folders: list[str]) -> None:
    """Read ids from the pipe until it ends, then kill what lives of them, and remove the folders."""
    held: set[int] = set()
    poll = select.poll()
    poll.register(source, select.POLLIN)
    rest = b""
    while True:
        for ready, _ in poll.poll():
            if ready != source:
                poll.unregister(ready)  # it has ended by itself
                held.discard(ready)
                os.close(ready)
                continue
            data = os.read(source, 1 << 16)
            if not data:
                for pidfd in held:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                _await_end(held)
                for folder in folders:
                    shutil.rmtree(folder, ignore_errors=True)  # the command itself may have been faster
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                with contextlib.suppress(ProcessLookupError):
                    pidfd = os.pidfd_open(int(line))
                    held.add(pidfd)
                    poll.register(pidfd, select.POLLIN)


def _await_end(held: set[int]) -> None:
    """Who still writes would make its folder anew."""
    for pidfd in held:
        select.select([pidfd], [], [], _PATIENCE_S / 2)


if __name__ == "__main__":
    keep_watch(sys.stdin.fileno(), sys.argv[1:])
