"""Which frames the engine gets next. Pure: no thread, no clock, no lock; times are handed in.

In:  `offer`ed items of streams, live or lossless; `take` when a buffer of the engine is free; `done` when it is back.
Out: at most `limit` items: live streams first, the one longest unserved first; files fill what is left, and while any
     file waits, at least one item in FILE_SHARE is a file's, counted across calls, since on a CPU a call takes one.

With more cameras than the engine can serve an item waits in its slot until another supersedes it, for up to a frame
period. So of the live streams that have gone unserved alike, the quarter that has longest, the first one counts whose
item is no older than what waits is on average: its results are fresher, and the others' turn comes with their next
item (decisions/0009).

With `wait_ns` 0 a lone frame never waits for company. Otherwise it waits at most so long, and only while the engine
has other work: an idle engine takes what there is.
Guarded and called by `pipeline/dispatch.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, TypeVar

from stages.slot import EverySlot, NewestSlot, Slot
from stages.types import StreamId

T = TypeVar("T")

_turn_of, _newest_of = attrgetter("turn"), attrgetter("newest_ns")

FILE_SHARE = 8
"""While a file waits, every eighth item is one of a file (DESIGN: the life of a frame, 3)."""

ALIKE = 4
"""One in so many of the live streams that wait has gone unserved alike: up to four are served strictly in turn."""

ROUNDS = 2
"""Nobody is passed over for longer than it takes to serve everybody so often."""


@dataclass(frozen=True, slots=True)
class Take(Generic[T]):
    """What was chosen; if nothing, `wake_at_ns` says when waiting for company will be over (None: nothing waits)."""

    items: tuple[T, ...]
    wake_at_ns: int | None = None


class _Line(Generic[T]):
    """One stream's slot and its place in the order of service; when it was last empty, and when last filled."""

    __slots__ = ("newest_ns", "since_ns", "slot", "turn")

    def __init__(self, slot: Slot[T], turn: int) -> None:
        self.slot = slot
        self.turn = turn
        self.since_ns = 0
        self.newest_ns = 0


class Batcher(Generic[T]):
    """Holds every stream's slot and chooses from them. `lossless` says which streams are files."""

    def __init__(self, lossless: Mapping[StreamId, bool], *, wait_ns: int = 0) -> None:
        self._live: dict[StreamId, _Line[T]] = {}
        self._files: dict[StreamId, _Line[T]] = {}
        for turn, (stream, is_lossless) in enumerate(lossless.items()):
            if is_lossless:
                self._files[stream] = _Line(EverySlot(), turn)
            else:
                self._live[stream] = _Line(NewestSlot(), turn)
        self._turn = len(lossless)
        self._wait_ns = wait_ns
        self._in_flight = 0
        self._since_file = 0

    def __len__(self) -> int:
        """Items that wait to be chosen."""
        return sum(len(line.slot) for lines in (self._live, self._files) for line in lines.values())

    @property
    def in_flight(self) -> int:
        """Items taken and not yet done."""
        return self._in_flight

    def offer(self, stream: StreamId, item: T, now_ns: int) -> T | None:
        """Let `item` wait; returns the item of the same live stream that it supersedes, if any."""
        line = self._live.get(stream) or self._files[stream]
        if not line.slot:
            line.since_ns = now_ns
        line.newest_ns = now_ns
        return line.slot.put(item)

    def take(self, limit: int, now_ns: int) -> Take[T]:
        """Choose at most `limit` items (at least 1); they are in flight until `done`."""
        if limit < 1:
            msg = f"limit: expected at least 1, got {limit}"
            raise ValueError(msg)
        waiting = [line for lines in (self._live, self._files) for line in lines.values() if line.slot]
        if not waiting:
            return Take(())
        if self._wait_ns and self._in_flight and sum(len(line.slot) for line in waiting) < limit:
            wake_at_ns = min(line.since_ns for line in waiting) + self._wait_ns
            if now_ns < wake_at_ns:
                return Take((), wake_at_ns)
        live = sorted((line for line in self._live.values() if line.slot), key=_turn_of)
        items: list[T] = []
        while len(items) < limit:
            line = self._next(live)
            if line is None:
                break
            items.append(line.slot.take())
            line.since_ns = now_ns
            line.turn = self._turn
            self._turn += 1
        self._in_flight += len(items)
        return Take(tuple(items))

    def done(self, count: int) -> None:
        """`count` items taken earlier are no longer in the engine."""
        if not 0 <= count <= self._in_flight:
            msg = f"done: expected 0..{self._in_flight}, got {count}"
            raise ValueError(msg)
        self._in_flight -= count

    def _next(self, waiting: list[_Line[T]]) -> _Line[T] | None:
        """The next line to take from; one of `waiting`, the live ones, longest unserved first, is taken out of it."""
        file = min((line for line in self._files.values() if line.slot), key=_turn_of, default=None)
        if file is None:
            self._since_file = 0
        elif not waiting or self._since_file >= FILE_SHARE - 1:
            self._since_file = 0
            return file
        else:
            self._since_file += 1
        if not waiting:
            return None
        line = self._next_live(waiting)
        waiting.remove(line)
        return line

    def _next_live(self, waiting: Sequence[_Line[T]]) -> _Line[T]:
        if len(waiting) <= ALIKE or self._turn - waiting[0].turn > ROUNDS * len(waiting):
            return waiting[0]
        alike = waiting[: -(-len(waiting) // ALIKE)]
        total_ns = sum(line.newest_ns for line in waiting)
        fresh = (line for line in alike if line.newest_ns * len(waiting) >= total_ns)
        return next(fresh, None) or max(alike, key=_newest_of)
