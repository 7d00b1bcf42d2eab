"""`vedette run` as a user runs it: a process of its own, its log read line by line, stopped by signals.

with VedetteProcess(config, env={...}) as vedette:
    vedette.wait_log("streaming")
    ...
assert vedette.returncode == 0
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any


class VedetteProcess:
    """Runs `vedette run CONFIG --json`; on leaving it is asked to stop, and its streams are read to their ends."""

    def __init__(
        self,
        config: Path,
        *,
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        preexec: Callable[[], None] | None = None,
        program: Sequence[str] = (),
    ) -> None:
        """`program`: what stands for `python -m vedette`."""
        self.config = config
        words = program or (sys.executable, "-m", "vedette")
        self._command = [*words, "run", str(config), "--json", "--log-format", "json", *arguments]
        self._env = {**os.environ, **(env or {})}
        self._preexec = preexec
        self._changed = threading.Condition()
        self.log_lines: list[str] = []
        self.out = ""
        self._over = False

    def start(self) -> VedetteProcess:
        self.process = subprocess.Popen(
            self._command,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=self._preexec,
        )
        self._readers = [
            threading.Thread(target=self._read_log, daemon=True),
            threading.Thread(target=self._read_out, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        return self

    def __enter__(self) -> VedetteProcess:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        self.wait(timeout_s=30.0)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.poll()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def terminate(self) -> int:
        """SIGTERM, and wait; returns the exit status."""
        self.process.terminate()
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.process.kill()
        self.wait()

    def wait(self, timeout_s: float = 60.0) -> int:
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"vedette did not end within {timeout_s} s:\n{self.log}") from None
        for reader in self._readers:
            reader.join(5.0)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return self.process.returncode

    @property
    def log(self) -> str:
        with self._changed:
            return "\n".join(self.log_lines)

    def wait_log(self, *words: str, timeout_s: float = 60.0, after: int = 0) -> int:
        """Wait for a log line that holds all `words`, from line `after` on; returns the number of the line after it."""

        def found() -> int | None:
            for number, line in enumerate(self.log_lines[after:], after):
                if all(word in line for word in words):
                    return number + 1
            return None

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._over, timeout_s)
            number = found()
        assert number is not None, f"no log line with {words} within {timeout_s} s:\n{self.log}"
        return number

    @property
    def summary(self) -> Any:
        """The summary that `--json` prints at the end: ledger, failed streams, problems."""
        return json.loads(self.out)

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.log_lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        self.out = self.process.stdout.read()
