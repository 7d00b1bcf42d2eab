"""A host's clock that can be stepped from outside.

`HostClock` belongs to the schedule: it writes by how much wall time is off into a file of eight bytes. `SteppedClock`
belongs to the process under judgement: its wall time is the system's plus what the file says at that moment, its
monotonic time goes on as it is (`python -m vedette.cli.stepped` runs it so). The file outlives the process, as a
host's clock would.
"""

from __future__ import annotations

import mmap
import threading
from dataclasses import dataclass
from pathlib import Path

from pipeline.clock import SystemClock
from stages.types import Clock

_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """At `at_ns` (monotonic) the host's wall time became `offset_ns` off."""

    at_ns: int
    offset_ns: int


class HostClock:
    """The end that steps it. `steps`: when which offset came into force."""

    def __init__(self, path: Path, clock: Clock) -> None:
        path.write_bytes(bytes(_BYTES))
        self.path = path
        self.steps: list[Step] = []
        self._clock = clock
        self._offset_ns = _map(path, writable=True)

    def step(self, offset_s: float) -> None:
        """From now on the host's wall time is off by so much."""
        offset_ns = int(offset_s * 1e9)
        self._offset_ns[0] = offset_ns
        self.steps.append(Step(at_ns=self._clock.mono_ns(), offset_ns=offset_ns))


class SteppedClock:
    """The end that is read: a `Clock`."""

    def __init__(self, path: Path) -> None:
        self._system = SystemClock()
        self._offset_ns = _map(path, writable=False)

    def mono_ns(self) -> int:
        return self._system.mono_ns()

    def wall_ns(self) -> int:
        return self._system.wall_ns() + self._offset_ns[0]

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return self._system.wait(event, timeout_s)


def _map(path: Path, *, writable: bool) -> memoryview[int]:
    """The file as one signed 64-bit number, which is read and written at once."""
    access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
    with path.open("r+b" if writable else "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), _BYTES, access=access)).cast("q")
