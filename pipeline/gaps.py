"""What a sink dropped and has not told its subscribers yet.

In:  dropped frames and events, with the reason. Out: GapEvents, one for each row of frames dropped one after another
for the same reason, one for all events of a stream; where there are too many rows their last ones become one, whose
`count` is less than what lies between `first` and `last`. Neither thread nor lock: whoever holds one has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from vedette.messages import EventMessage, FrameMessage, GapEvent


@dataclass(frozen=True, slots=True)
class _Key:
    what: Literal["frames", "events"]
    stream: str
    run: str
    reason: str


_ROWS = 16


@dataclass(slots=True)
class _Gap:
    event: GapEvent
    since_ns: int


class Gaps:
    """Drops in order of their first, merged. Times are monotonic nanoseconds."""

    def __init__(self, tell_after_ns: int) -> None:
        """A gap is told `tell_after_ns` after its first drop, so that many drops make one event."""
        self._tell_after_ns = tell_after_ns
        self._gaps: dict[_Key, list[_Gap]] = {}

    def __bool__(self) -> bool:
        return bool(self._gaps)

    def add_frame(self, frame: FrameMessage, reason: str, now_ns: int) -> None:
        self.add(
            GapEvent(
                stream=frame.stream,
                run=frame.run,
                wall_ns=frame.wall_ns,
                what="frames",
                count=1,
                first=frame.n,
                last=frame.n,
                reason=reason,
            ),
            now_ns,
        )

    def add_event(self, event: EventMessage, reason: str, now_ns: int) -> None:
        """A dropped event; one that told of a gap itself goes back to what is to be told."""
        if isinstance(event, GapEvent):
            self.add(event, now_ns)
            return
        gap = GapEvent(stream=event.stream, run=event.run, wall_ns=event.wall_ns, what="events", count=1, reason=reason)
        self.add(gap, now_ns)

    def add(self, gap: GapEvent, now_ns: int) -> None:
        key = _Key(gap.what, gap.stream, gap.run, gap.reason)
        rows = self._gaps.setdefault(key, [])
        last = rows[-1].event if rows else None
        follows = last is None or gap.first is None or last.last is None or gap.first == last.last + 1
        if last is None or (not follows and len(rows) < _ROWS):
            rows.append(_Gap(gap, now_ns))
            return
        rows[-1].event = msgspec.structs.replace(
            last,
            count=last.count + gap.count,
            first=_pick(min, last.first, gap.first),
            last=_pick(max, last.last, gap.last),
            wall_ns=max(last.wall_ns, gap.wall_ns),
        )

    def take(self, now_ns: int, may_tell: Callable[[GapEvent], bool]) -> list[GapEvent]:
        """Remove and return the gaps whose time has come and that may be told now."""
        taken: list[GapEvent] = []
        for key, rows in list(self._gaps.items()):
            if now_ns >= rows[0].since_ns + self._tell_after_ns and may_tell(rows[0].event):
                taken += (row.event for row in self._gaps.pop(key))
        return taken

    def next_ns(self, may_tell: Callable[[GapEvent], bool]) -> int | None:
        """When `take` will have something, as things stand; None for never."""
        times = [rows[0].since_ns + self._tell_after_ns for rows in self._gaps.values() if may_tell(rows[0].event)]
        return min(times, default=None)


def _pick(choose: Callable[[int, int], int], a: int | None, b: int | None) -> int | None:
    if a is None or b is None:
        return a if b is None else b
    return choose(a, b)
