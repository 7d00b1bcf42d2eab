"""A file of JSON lines as an outlet. The thread `sink:{name}`.

In:  frames and events from the finish thread. Out: lines in the order in which they came, whole lines only.

Queue: bounded; a full one drops its oldest live frame, and a new event beyond the events' own bound; frames of files
are never dropped, their number is bounded by credits. While the disk is full live frames are dropped, the rest waits.
Events get `producer` "{run}/{stream}" and their own count, so that a file's lines are the same alone or beside others.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from pipeline.gaps import Gaps
from pipeline.ledger import DropReason, Ledger
from pipeline.outgoing import Outgoing, OutgoingEvent, OutgoingFrame
from stages.options import JsonlSinkOptions
from stages.sink.jsonl import JsonlFile
from stages.types import Clock
from vedette.messages import EventMessage, GapEvent, encode_message

logger = logging.getLogger(__name__)

_LIVE_FRAMES = 1024
_EVENTS = 4096
_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonlTimes:
    """`retry_ns`: how long after an error the next attempt is; `tell_ns`: drops within it make one gap event."""

    retry_ns: int = 1_000_000_000
    tell_ns: int = 1_000_000_000


class JsonlOutlet:
    """One file: satisfies `pipeline.outgoing.Outlet`."""

    def __init__(
        self, name: str, options: JsonlSinkOptions, *, ledger: Ledger, clock: Clock, times: JsonlTimes
    ) -> None:
        """Open the file. Raises SinkError. The ledger knows the sink already."""
        self.name = name
        self._empty = options.empty
        self._file = JsonlFile(options.path)
        self._ledger = ledger
        self._clock = clock
        self._times = times
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._queue: deque[Outgoing] = deque()
        self._live = self._events = 0
        self._gaps = Gaps(times.tell_ns)
        self._numbers: Counter[str] = Counter()
        self._closing_ns: int | None = None
        self._broken_until_ns: int | None = None
        self._problem: str | None = None

    # ── any thread ───────────────────────────────────────────────────────────────────────────────────────────────

    def bodies(self) -> Sequence[tuple[str, Callable[[], None]]]:
        return ((f"sink:{self.name}", self.run),)

    def accept(self, items: Sequence[Outgoing]) -> None:
        with self._lock:
            pushed = [self._push(item) for item in items]
            self._wake.notify()
        for dropped, reason in pushed:
            if dropped is not None:
                self._drop([dropped], reason)

    def close(self, deadline_mono_ns: int) -> None:
        with self._lock:
            if self._closing_ns is None:
                self._closing_ns = deadline_mono_ns
                self._wake.notify()

    def problem(self) -> str | None:
        with self._lock:
            return self._problem

    def abort(self) -> None:
        """Close the file of an outlet that is not going to run."""
        self._file.close()

    def _push(self, item: Outgoing) -> tuple[Outgoing | None, DropReason]:
        """Queue it; returns what must go instead, and why. Under the lock."""
        if self._closing_ns is not None:
            return item, "shutdown"
        if isinstance(item, OutgoingEvent):
            if self._events >= _EVENTS:
                return item, "queue_full" if self._problem is None else "disk"
            self._events += 1
            self._queue.append(item)
            return None, "queue_full"
        if not self._empty and not item.message.objects:
            return item, "empty"
        if not item.lossless:
            if self._problem is not None:
                return item, "disk"
            self._live += 1
        self._queue.append(item)
        if self._live <= _LIVE_FRAMES:
            return None, "queue_full"
        oldest = next(queued for queued in self._queue if _is_live(queued))
        self._queue.remove(oldest)
        self._live -= 1
        return oldest, "queue_full"

    def _drop(self, items: Iterable[Outgoing], reason: DropReason) -> None:
        for item in items:
            self._ledger.dropped(self.name, reason)
            now_ns = self._clock.mono_ns()
            with self._lock:
                if isinstance(item, OutgoingEvent):
                    self._gaps.add_event(item.message, reason, now_ns)
                elif reason != "empty":
                    self._gaps.add_frame(item.message, reason, now_ns)
            if isinstance(item, OutgoingFrame):
                item.settled(self.name, False)

    # ── the sink's thread ────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """The thread's body."""
        try:
            while (work := self._next_work()) is not None:
                self._write(*work)
            with self._lock:
                left = list(self._queue)
                self._queue.clear()
                reason: DropReason = "shutdown" if self._problem is None else "disk"
            self._drop(left, reason)
        finally:
            self._file.close()

    def _next_work(self) -> tuple[list[Outgoing], list[GapEvent]] | None:
        """Wait for something to write: messages, and gaps to tell of; None when it is time to end."""
        with self._lock:
            while True:
                now_ns = self._clock.mono_ns()
                closing = self._closing_ns is not None
                if self._closing_ns is not None and now_ns >= self._closing_ns:
                    return None
                retry_ns = self._broken_until_ns
                blocked = retry_ns is not None and now_ns < retry_ns
                if not blocked:
                    ripe_ns = now_ns + self._times.tell_ns if closing else now_ns
                    gaps = self._gaps.take(ripe_ns, _always)
                    items = [self._queue.popleft() for _ in range(min(len(self._queue), _BATCH))]
                    if items or gaps:
                        self._live -= sum(_is_live(item) for item in items)
                        self._events -= sum(isinstance(item, OutgoingEvent) for item in items)
                        return items, gaps
                    retry_ns = self._gaps.next_ns(_always)
                elif not (self._queue or self._gaps):
                    retry_ns = None
                if closing and not self._queue:
                    return None
                times = [time for time in (retry_ns, self._closing_ns) if time is not None]
                self._wake.wait(max(0, min(times) - now_ns) / 1e9 if times else None)

    def _write(self, items: Sequence[Outgoing], gaps: Sequence[GapEvent]) -> None:
        numbers = self._numbers.copy()
        lines = [_number(gap, numbers) for gap in gaps]
        lines += [item.encoded if isinstance(item, OutgoingFrame) else _number(item.message, numbers) for item in items]
        try:
            self._file.append(lines)
        except OSError as error:
            self._put_back(items, gaps, error)
            return
        self._numbers = numbers
        with self._lock:
            if self._problem is not None:
                logger.info("%s: can be written again", self._file)
            self._problem = self._broken_until_ns = None
        self._ledger.gap(self.name, len(gaps))
        self._ledger.delivered(self.name, len(lines))
        for item in items:
            if isinstance(item, OutgoingFrame):
                item.settled(self.name, True)

    def _put_back(self, items: Sequence[Outgoing], gaps: Sequence[GapEvent], error: OSError) -> None:
        """Nothing of it is in the file: live frames are dropped, everything else is tried again later."""
        now_ns = self._clock.mono_ns()
        with self._lock:
            if self._problem is None:
                self._problem = f"{self._file}: cannot be written: {error.strerror}"
                logger.error("%s", self._problem)
            self._broken_until_ns = now_ns + self._times.retry_ns
            for gap in gaps:
                self._gaps.add(gap, now_ns)
            everything = [*items, *self._queue]
            self._queue = deque(item for item in everything if not _is_live(item))
            self._live = 0
            self._events = sum(isinstance(item, OutgoingEvent) for item in self._queue)
        self._drop((item for item in everything if _is_live(item)), "disk")


def _number(event: EventMessage, numbers: Counter[str]) -> bytes:
    """The event as a line, with the next number of its producer."""
    producer = f"{event.run}/{event.stream}"
    numbers[producer] += 1
    return encode_message(msgspec.structs.replace(event, producer=producer, n=numbers[producer]))


def _is_live(item: Outgoing) -> bool:
    return isinstance(item, OutgoingFrame) and not item.lossless


def _always(_: GapEvent) -> bool:
    return True
