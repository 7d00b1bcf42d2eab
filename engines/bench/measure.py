"""Runs the children of a bench: opens them one after the other, then lets them measure in turns.

One turn is one child measuring while all others wait, using no CPU. In every second round the order is the other way
round, so that a machine that becomes slower or faster meets all candidates alike.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import msgspec

from engines.bench.job import Answer, Failed, Job, Ready, Turn
from vedette.errors import EngineError

OPENING_S = 1800.0
"""An engine may take so long to open: TensorRT builds it first."""

TURN_SPARE_S = 120.0

Progress = Callable[[str], None]
"""Called before each step with what it is: what a progress bar counts."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a job: its turns, one a round; or why it has none."""

    job: Job
    ready: Ready | None
    turns: list[Turn]
    failed: str = ""


def steps(jobs: Sequence[Job], rounds: int) -> int:
    """How often `measure` will call its `progress`, at most."""
    return len(jobs) * (1 + rounds)


def measure(
    jobs: Sequence[Job], *, command: Sequence[str], seconds: float, rounds: int, progress: Progress
) -> list[Measured]:
    """Measure every job in a process of its own, `rounds` times `seconds`; in the order of `jobs`.

    `command` starts a child: the job follows as JSON. A job that fails is left out of the rounds that follow.
    """
    with contextlib.ExitStack() as stack:
        children: list[_Child] = []
        for job in jobs:
            progress(f"opening {name_of(job)}")
            children.append(stack.enter_context(_started(job, command)))
            children[-1].open()
        for number in range(rounds):
            for child in children if number % 2 == 0 else reversed(children):
                if not child.failed:
                    progress(f"round {number + 1} of {rounds}: {name_of(child.job)}")
                    child.turn(seconds)
    return [
        Measured(job=child.job, ready=child.ready, turns=[] if child.failed else child.turns, failed=child.failed)
        for child in children
    ]


def name_of(job: Job) -> str:
    """A job in words, for progress and errors."""
    return f"{job.label}, {job.runtime}, {job.precision}, batch {job.batch}, {job.mode}"


class _Child:
    def __init__(self, job: Job, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        self.job = job
        self.ready: Ready | None = None
        self.turns: list[Turn] = []
        self.failed = ""
        self._process = process
        self._said = said

    def open(self) -> None:
        answer = self._answer(OPENING_S)
        if isinstance(answer, Ready):
            self.ready = answer

    def turn(self, seconds: float) -> None:
        if self._process.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):  # it ended; what it said is read below
            self._process.stdin.write(f"{seconds!r}\n".encode())
            self._process.stdin.flush()
        answer = self._answer(20 * seconds + TURN_SPARE_S)
        if isinstance(answer, Turn):
            self.turns.append(answer)

    def _answer(self, timeout_s: float) -> Answer | None:
        """The child's next line; None, with `failed` saying why, if it gives up, ends or is silent."""
        out = self._process.stdout
        if out is None:
            return None
        waited, _, _ = select.select([out], [], [], timeout_s)
        if not waited:
            self.failed = f"no answer after {timeout_s:.0f} s"
            return None
        line = out.readline()
        if not line:
            self.failed = self._last_words()
            return None
        answer: Answer = msgspec.json.decode(line, type=Answer)
        if isinstance(answer, Failed):
            self.failed = answer.why
        return answer

    def _last_words(self) -> str:
        """What a child that ended said on standard error."""
        status = self._process.wait(timeout=TURN_SPARE_S)
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return f"it ended with status {status}" + (f": {lines[-1]}" if lines else "")


@contextlib.contextmanager
def _started(job: Job, command: Sequence[str]) -> Iterator[_Child]:
    with tempfile.TemporaryFile() as said:
        words = [*command, msgspec.json.encode(job).decode()]
        try:
            # Unbuffered: `select` must see what was not read.
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, bufsize=0)
        except OSError as error:
            msg = f"a process for {name_of(job)} cannot be started: {error.strerror}"
            raise EngineError(msg) from error
        try:
            yield _Child(job, process, said)
        finally:
            process.kill()  # it holds nothing that would have to be put away
            process.communicate()
