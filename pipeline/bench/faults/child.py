"""The process under judgement: one life of `vedette run`, its log read line by line, its summary kept."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.bench.faults.warden import Watch, unwatched
from stages.types import Clock
from vedette.errors import VedetteError

_READY = re.compile(r"health, status and metrics at (http://[^\"\s]+)")
START_S = 60.0
STOP_S = 30.0


class ChildError(VedetteError):
    """`vedette run` did not start, or did not end when it was told to."""


class Life:
    """One life. Times are monotonic nanoseconds; None for what has not happened."""

    def __init__(
        self,
        config: Path,
        env: Mapping[str, str],
        clock: Clock,
        *,
        host_clock: Path | None = None,
        enter: Sequence[str] = (),
        watch: Watch = unwatched,
    ) -> None:
        """`host_clock`: what steps its wall time (`stepped_clock.py`). `enter`: words before it (`disk.py`).

        `watch` is told of the process as it starts.
        """
        self._clock = clock
        self._changed = threading.Condition()
        self.log: list[str] = []
        self.log_ns: list[int] = []
        self.out = ""
        self.url: str | None = None
        self.started_ns = clock.mono_ns()
        self.ready_ns: int | None = None
        self.ended_ns: int | None = None
        self.asked_ns: int | None = None
        self.killed = False
        self.leased: set[str] = set()
        self._over = False
        vedette = ["vedette"] if host_clock is None else ["vedette.cli.stepped", str(host_clock)]
        words = [*enter, sys.executable, "-m", *vedette, "run", str(config), "--json", "--log-format", "json"]
        self._process = subprocess.Popen(
            words, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        watch(self._process.pid)
        self._readers = [
            threading.Thread(target=self._read_log, name="faults:log", daemon=True),
            threading.Thread(target=self._read_out, name="faults:out", daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        return self._process.poll()

    def wait_ready(self) -> None:
        """Until it serves its status, and its streams have been started. Raises ChildError."""
        with self._changed:
            self._changed.wait_for(lambda: self.ready_ns is not None or self._over, START_S)
            if self.ready_ns is None:
                msg = f"`vedette run` was not ready within {START_S:g} s: {self.last_words}"
                raise ChildError(msg)

    @property
    def last_words(self) -> str:
        """The last thing that it logged about an error, or logged at all."""
        errors = [line for line in self.log if '"level": "error"' in line]
        return (errors or self.log or ["it said nothing"])[-1][:300]

    def terminate(self) -> None:
        """SIGTERM, and wait. Raises ChildError if it does not end."""
        self.asked_ns = self._clock.mono_ns()
        self._process.terminate()
        self._wait()

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.asked_ns = self._clock.mono_ns()
        self.killed = True
        self._process.kill()
        self._wait()

    def limit_files(self, size: int | None) -> None:
        """From now on each write beyond `size` bytes of a file fails (EFBIG). None: no limit."""
        hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))

    def abandon(self) -> None:
        """Make sure that nothing of it is left."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
        self._process.wait()
        self._close()

    @property
    def summary(self) -> Any:
        """The summary that it printed at its end; None if there is none."""
        try:
            return json.loads(self.out)
        except ValueError:
            return None

    def _wait(self) -> None:
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.abandon()
            msg = f"`vedette run` did not end within {STOP_S:g} s of being told to"
            raise ChildError(msg) from None
        self._close()
        self.ended_ns = self._clock.mono_ns()

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
                self.log.append(line.rstrip("\n"))
                self.log_ns.append(self._clock.mono_ns())
                if found and self.ready_ns is None:
                    self.url, self.ready_ns = found[1], self._clock.mono_ns()
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _read_out(self) -> None:
        assert self._process.stdout is not None
        self.out = self._process.stdout.read()
