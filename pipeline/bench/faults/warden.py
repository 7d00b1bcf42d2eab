"""Sees to it that no server outlives the command, however that ends: not even SIGKILL leaves any behind.

A small process in a session of its own is told of each child as it starts. When its standard input ends, because we
did, it kills those that live. It holds each by a pidfd, so that it never hits another process that got the same id.
(PR_SET_PDEATHSIG would not do: it is the thread that started a child whose end counts, and ours start servers in
threads that end before them.)
"""

from __future__ import annotations

import contextlib
import os
import select
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
    """`with Warden() as warden: warden.watch(process.pid)`, right after the start."""

    def __init__(self) -> None:
        # -I -S: nothing but the standard library, which starts in a moment.
        words = [sys.executable, "-I", "-S", str(Path(__file__))]
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


def keep_watch(source: int) -> None:
    """Read ids from the pipe until it ends, then kill what lives of them."""
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
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                with contextlib.suppress(ProcessLookupError):
                    pidfd = os.pidfd_open(int(line))
                    held.add(pidfd)
                    poll.register(pidfd, select.POLLIN)


if __name__ == "__main__":
    keep_watch(sys.stdin.fileno())
