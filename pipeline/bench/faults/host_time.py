"""What steps of the host's clock must not do, and what time it was by that clock. Pure; times are in nanoseconds.

In:  the steps as they were made, what was read when. Out: wall times, violations.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence

from pipeline.bench.faults.recovery import Strike, calm_times
from pipeline.bench.faults.stepped_clock import Step
from pipeline.bench.faults.subscriber import Seen
from pipeline.bench.faults.verdict import Broken
from vedette.messages import FrameMessage

_S = 1_000_000_000
# What a fault broke may fail once more after it: so long after one a new connection is not the step's doing.
_CALM_BEFORE_NS, _CALM_AFTER_NS = 8 * _S, 3 * _S
# From capture to reading: what a busy machine takes, what an outage of Redis or a pause of the camera holds up, and how
# long after it that is over.
_LATE_NS, _LATE_UNDER_A_FAULT_NS, _AFTER_NS = 3 * _S, 15 * _S, 5 * _S
_LONG_AGO_NS = -(1 << 62)


class HostTime:
    """The host's wall time: `wall_of_mono_ns` is the true one's distance from the monotonic time."""

    def __init__(self, wall_of_mono_ns: int, steps: Sequence[Step]) -> None:
        self._wall_of_mono_ns = wall_of_mono_ns
        ordered = sorted(steps, key=lambda step: step.at_ns)
        self._begins_ns = [_LONG_AGO_NS, *(step.at_ns for step in ordered)]
        offsets_ns = [0, *(step.offset_ns for step in ordered)]
        self._spans = list(zip(self._begins_ns, offsets_ns, strict=True))

    def walls_ns(self, since_ns: int, until_ns: int) -> list[tuple[int, int]]:
        """The time between the two moments as wall time, once with each offset that was in force then.

        Who reads the clock after a step calls what was before it, too, by its new time.
        """
        first = bisect.bisect_right(self._begins_ns, since_ns) - 1
        spans = []
        for begin_ns, offset_ns in itertools.islice(self._spans, first, None):
            if begin_ns > until_ns:
                break
            wall_ns = self._wall_of_mono_ns + offset_ns
            spans.append((since_ns + wall_ns, until_ns + wall_ns))
        return spans


def check_capture_times(
    frames: Sequence[Seen], host: HostTime, strikes: Sequence[Strike], lapse_ns: int
) -> Iterator[Broken]:
    """A camera's times of capture are right by the host's clock, within what each says of its own error.

    `frames`: of one camera, each as it was first seen. How long before it was taken: 3 s at most, 15 s
    around what strikes the camera or Redis (`strikes`), and `lapse_ns` more, the longest that the machine stood still.
    """
    calm = calm_times(strikes, frames[-1].at_ns + 1) if frames else []
    for entry in frames:
        frame = entry.message
        assert isinstance(frame, FrameMessage)
        error_ns = int(frame.clock_error_ms * 1e6)
        late_ns = lapse_ns + (_LATE_NS if _is_calm(calm, entry.at_ns) else _LATE_UNDER_A_FAULT_NS)
        spans = host.walls_ns(entry.at_ns - late_ns, entry.at_ns)
        if not any(begin - error_ns <= frame.wall_ns <= end + error_ns for begin, end in spans):
            off_s = (frame.wall_ns - spans[-1][1]) / 1e9
            what = (
                f"run {frame.run} n {frame.n}: captured {off_s:+.3f} s from when it was read, by the host's clock; "
                f"it says {frame.clock_error_ms:g} ms"
            )
            yield Broken(at_ns=entry.at_ns, promise="times of capture are right", whom=entry.stream, what=what)


def check_no_reconnect(frames: Sequence[Seen], steps: Sequence[Step], strikes: Sequence[Strike]) -> Iterator[Broken]:
    """A step of the host's clock leads to no new connection: where nothing else struck, run and epoch stay."""
    for step in steps:
        since_ns, until_ns = step.at_ns - _CALM_BEFORE_NS, step.at_ns + _CALM_AFTER_NS
        if any(strike.begin_ns <= until_ns and strike.end_ns >= since_ns for strike in strikes):
            continue
        first = bisect.bisect_left(frames, since_ns, key=_at_ns)
        near = frames[first : bisect.bisect_right(frames, until_ns, key=_at_ns)]
        for before, after in itertools.pairwise(near):
            if after.at_ns >= step.at_ns and _connection(before) != _connection(after):
                what = (
                    f"{_connection(after)} after {_connection(before)}, where nothing but the host's clock had changed"
                )
                yield Broken(at_ns=after.at_ns, promise="the host's clock ends nothing", whom=after.stream, what=what)


def _is_calm(calm: Sequence[tuple[int, int, int]], at_ns: int) -> bool:
    index = bisect.bisect_right(calm, at_ns, key=lambda one: one[0]) - 1
    if index < 0:
        return False
    begin_ns, until_ns, extra_ns = calm[index]
    return begin_ns + extra_ns + _AFTER_NS <= at_ns < until_ns


def _at_ns(entry: Seen) -> int:
    return entry.at_ns


def _connection(entry: Seen) -> str:
    assert isinstance(entry.message, FrameMessage)
    return f"run {entry.message.run} epoch {entry.message.epoch}"
