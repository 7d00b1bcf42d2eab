"""What became of a camera under the faults that were done: how long it was silent, what the host's clock did to it.

In:  the faults as they were done, what was read. Out: recoveries, violations. Pure; times are monotonic nanoseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.bench.faults.host_time import HostTime, check_capture_times, check_no_reconnect
from pipeline.bench.faults.recovery import Recovered, Strike, Wait, check_recovery, redis_backoff_ns
from pipeline.bench.faults.schedule import Fault, FaultKind
from pipeline.bench.faults.site import READ_TIMEOUT_S
from pipeline.bench.faults.stepped_clock import Step
from pipeline.bench.faults.subscriber import Seen
from pipeline.bench.faults.verdict import Broken
from vedette.messages import FrameMessage

_WAITING = re.compile(r"waiting ([0-9.]+) s before attempt")
# What a camera's own clock says, or how large its picture is, must not keep a single frame away.
_HARMLESS: frozenset[FaultKind] = frozenset(
    {"camera-clock", "camera-size", "disk-full", "disk-limit", "disk-read-only", "host-clock"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """A fault as it was done, monotonic; `mending_ns`: when its end began, which may take a while (a start)."""

    fault: Fault
    begin_ns: int
    mending_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraRun:
    """One camera's part of a run: the faults, all that was read, from `begin_ns` to `end_ns`.

    `waits`: the back-offs that the process logged; `lapse_ns`: the longest that the machine itself stood still.
    """

    camera: str
    struck: Sequence[Struck]
    seen: Sequence[Seen]
    waits: Sequence[Wait]
    begin_ns: int
    end_ns: int
    lapse_ns: int


def told_waits(camera: str, log: Sequence[str], log_ns: Sequence[int]) -> list[Wait]:
    """The back-offs of a camera in a log (JSON lines, and when each was read).

    Not from its events: with a full disk nobody promises them, and they are dropped.
    """
    waits = []
    for line, at_ns in zip(log, log_ns, strict=True):
        told = _WAITING.search(line)
        if told and f'"stream": "{camera}"' in line:
            waits.append(Wait(at_ns=at_ns, wait_ns=int(float(told[1]) * 1e9)))
    return waits


def recovery(run: CameraRun, slack_s: float) -> Recovered:
    """How long its frames stayed away after faults, held to the back-offs that the process told of."""
    frames = [entry.at_ns for entry in _frames(run)]
    strikes = [strike for one in run.struck for strike in _strikes(one, run.camera)]
    return check_recovery([_start(run), *strikes], frames, run.waits, run.end_ns, int(slack_s * 1e9))


def silences(camera: str, recovered: Recovered) -> Iterator[Broken]:
    """Those of its silences that were too long."""
    for silence in recovered.silences:
        late_s = None if silence.came_ns is None else (silence.came_ns - silence.due_ns) / 1e9
        came = "none came" if late_s is None else f"one came {late_s:.1f} s late"
        what = f"calm since {(silence.due_ns - silence.calm_ns) / 1e9:.1f} s before a frame was due, and {came}"
        yield Broken(at_ns=silence.due_ns, promise="recovery within back-off and slack", whom=camera, what=what)


def check_host(run: CameraRun, host: HostTime, steps: Sequence[Step]) -> Iterator[Broken]:
    """What the steps of the host's clock did to it. What strikes Redis alone ends no connection of a camera's."""
    frames = _frames(run)
    struck = [(one.fault, strike) for one in run.struck for strike in _strikes(one, run.camera)]
    yield from check_capture_times(frames, host, [_start(run), *(strike for _, strike in struck)], run.lapse_ns)
    own = [strike for fault, strike in struck if not fault.kind.startswith("redis-")]
    yield from check_no_reconnect(frames, steps, [_start(run), *own])


def _frames(run: CameraRun) -> list[Seen]:
    """Its frames, each where it was seen first: from a server that took another's place all are read once more."""
    first: dict[tuple[str, int], Seen] = {}
    for entry in run.seen:
        if entry.stream == run.camera:
            assert isinstance(entry.message, FrameMessage)
            first.setdefault((entry.message.run, entry.message.n), entry)
    return list(first.values())


def _start(run: CameraRun) -> Strike:
    return Strike(begin_ns=run.begin_ns, end_ns=run.begin_ns)


def _strikes(struck: Struck, camera: str) -> Iterable[Strike]:
    fault = struck.fault
    if fault.kind in _HARMLESS:
        return
    if fault.kind == "lease-taken":
        # The stream itself is away all the time; the others while the process is started again.
        begin_ns = struck.begin_ns if fault.target == camera else struck.mending_ns
        yield Strike(begin_ns=begin_ns, end_ns=struck.end_ns)
    elif fault.target in ("", camera):
        extra_ns = 0
        if fault.kind.startswith("redis-"):
            extra_ns = redis_backoff_ns(struck.end_ns - struck.begin_ns)
        elif fault.kind == "camera-garble":
            # A length that was changed swallows what follows, until it is complete or nothing has come for too long.
            extra_ns = int(READ_TIMEOUT_S * 1e9)
        yield Strike(begin_ns=struck.begin_ns, end_ns=struck.end_ns, extra_ns=extra_ns)
