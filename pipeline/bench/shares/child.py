"""The process under judgement: `vedette run` as anyone starts it, on cores of its own."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.bench.child import BenchError

_READY = re.compile(r"health, status and metrics at (http://[^\"\s]+)")
_START_S = 60.0
_STOP_S = 30.0
_REMEMBERED = 1000
_FAILED = 3


class Judged:
    """Starts at once; `wait_ready`, then `stop` or `kill`."""

    def __init__(self, config: Path, env: Mapping[str, str], cores: frozenset[int]) -> None:
        self._changed = threading.Condition()
        self._over = False
        self.url: str | None = None
        self._log: collections.deque[str] = collections.deque(maxlen=_REMEMBERED)
        self._out = ""
        with on_cores(cores):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vedette", "run", str(config), "--json", "--log-format", "json"],
                env={**os.environ, **env},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        self._readers = [
            threading.Thread(target=self._read_log, name="shares:log", daemon=True),
            threading.Thread(target=self._read_out, name="shares:out", daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def wait_ready(self) -> str:
        """Until it serves its status; where. Raises BenchError."""
        with self._changed:
            self._changed.wait_for(lambda: self.url is not None or self._over, _START_S)
            if self.url is None:
                msg = f"`vedette run` was not ready within {_START_S:g} s: {self.last_words}"
                raise BenchError(msg)
            return self.url

    @property
    def last_words(self) -> str:
        """The last thing that it logged about an error, or logged at all."""
        errors = [line for line in self._log if '"level": "error"' in line]
        return (errors or self._log or ["it said nothing"])[-1][-300:]

    def check(self) -> None:
        """Raises BenchError if it has ended."""
        if self._process.poll() is not None:
            msg = f"`vedette run` ended by itself with status {self._process.returncode}: {self.last_words}"
            raise BenchError(msg)

    def stop(self) -> Any:
        """SIGTERM, and wait; returns the summary that it printed.

        A stream that failed for ever (status 3) is told in it. Raises BenchError for any other status but 0.
        """
        self._process.terminate()
        try:
            status = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            msg = f"`vedette run` did not end within {_STOP_S:g} s of being told to"
            raise BenchError(msg) from None
        self._close()
        if status not in (0, _FAILED):
            msg = f"`vedette run` ended with status {status}: {self.last_words}"
            raise BenchError(msg)
        return json.loads(self._out)

    def kill(self) -> None:
        """Make sure that nothing of it is left."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        for reader in self._readers:
            reader.join(5.0)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            found = _READY.search(line)
            with self._changed:
                self._log.append(line.strip())
                if found:
                    self.url = found[1]
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _read_out(self) -> None:
        assert self._process.stdout is not None
        self._out = self._process.stdout.read()


@contextlib.contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """What the calling thread starts meanwhile, threads and processes, keeps to these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
