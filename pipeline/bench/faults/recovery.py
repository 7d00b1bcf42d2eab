"""How long a camera's frames may stay away after a fault: the back-off that was told, and some slack.

In:  when faults struck a camera, when its frames came, which back-offs its own events told.
Out: silences that were too long. Pure. Times are monotonic nanoseconds.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

_S = 1_000_000_000
# After the end of the last fault a camera may begin to wait twice more: an attempt that was under way when the fault
# ended fails, and what it broke may fail once more.
_WAITS_AFTER = 2
_LONGEST_WAIT_NS = 33 * _S


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """From `begin_ns` to `end_ns` a fault kept frames away; `extra_ns`: the longest back-off it may have led to."""

    begin_ns: int
    end_ns: int
    extra_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """At `at_ns` the camera's own event told of a back-off of `wait_ns`."""

    at_ns: int
    wait_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """From `calm_ns` nothing struck, by `due_ns` a frame was due, the next one came at `came_ns` (None: never)."""

    calm_ns: int
    due_ns: int
    came_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was found in the calm times: how many recoveries were looked at, the slowest beyond its back-off."""

    checked: int
    slowest_ns: int
    silences: tuple[Silence, ...]


def redis_backoff_ns(outage_ns: int) -> int:
    """The longest pause before an attempt to connect that an outage of this length can lead to.

    Pauses double from 0.1 s, and each is at least half of its due: after T of them none is longer than 2 T + 0.2 s.
    """
    return min(5 * _S, 2 * outage_ns + _S // 5)


def calm_times(strikes: Sequence[Strike], end_ns: int) -> list[tuple[int, int, int]]:
    """The times without any strike, each as (begin, end, extra of the strikes that end there)."""
    calm: list[tuple[int, int, int]] = []
    since_ns, extra_ns = None, 0
    for strike in sorted(strikes, key=lambda strike: strike.begin_ns):
        if since_ns is not None and strike.begin_ns > since_ns:
            calm.append((since_ns, strike.begin_ns, extra_ns))
            extra_ns = 0
        since_ns = strike.end_ns if since_ns is None else max(since_ns, strike.end_ns)
        extra_ns = max(extra_ns, strike.extra_ns)
    if since_ns is not None and since_ns < end_ns:
        calm.append((since_ns, end_ns, extra_ns))
    return calm


def check_recovery(
    strikes: Sequence[Strike], frames_ns: Sequence[int], waits: Sequence[Wait], end_ns: int, slack_ns: int
) -> Recovered:
    """Look at each calm time that is longer than what recovery may take. `frames_ns` is sorted."""
    checked, slowest_ns, silences = 0, 0, list[Silence]()
    for begin_ns, until_ns, extra_ns in calm_times(strikes, end_ns):
        before = [wait for wait in waits if begin_ns - _LONGEST_WAIT_NS - _S <= wait.at_ns <= begin_ns]
        after = sorted((wait for wait in waits if begin_ns < wait.at_ns < until_ns), key=lambda wait: wait.at_ns)
        told = [wait.at_ns + wait.wait_ns for wait in (*before, *after[:_WAITS_AFTER])]
        free_ns = max([begin_ns + extra_ns, *told])
        due_ns = free_ns + slack_ns
        if due_ns >= until_ns:
            continue
        checked += 1
        first = bisect.bisect_right(frames_ns, begin_ns)
        came_ns = frames_ns[first] if first < len(frames_ns) else None
        if came_ns is None or came_ns > due_ns:
            silences.append(Silence(calm_ns=begin_ns, due_ns=due_ns, came_ns=came_ns))
            continue
        slowest_ns = max(slowest_ns, came_ns - free_ns)
        last_ns = frames_ns[bisect.bisect_right(frames_ns, due_ns) - 1]
        for came_ns in [
            *frames_ns[bisect.bisect_right(frames_ns, due_ns) : bisect.bisect_left(frames_ns, until_ns)],
            until_ns,
        ]:
            if came_ns - last_ns > slack_ns:
                silences.append(Silence(calm_ns=begin_ns, due_ns=last_ns + slack_ns, came_ns=came_ns))
            last_ns = came_ns
    return Recovered(checked=checked, slowest_ns=slowest_ns, silences=tuple(silences))
