"""Between the finish thread and Redis: every event goes through the disk first. The thread `spool:{name}`.

In:  events from the finish thread, in order; what became of frames and events that were dropped.
Out: promised records for the thread `sink:{name}`, which asks for them (`head`) and says which Redis has (`confirm`).

Why this is a thread of its own, and Redis's another: docs/decisions/0003-spool-thread.md. Only this thread touches the
spool. Queue: bounded; when it is full the new event is dropped (`queue_full`), since the promise begins on the disk.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from pipeline.gaps import Gaps
from pipeline.ledger import DropReason, Ledger
from pipeline.logs import CHANGE
from pipeline.spool import Spool, SpoolRecord
from stages.types import Clock
from vedette.messages import EventMessage, FrameMessage, GapEvent, encode_message

logger = logging.getLogger(__name__)

_Event = tuple[EventMessage, bool]
"""An event on its way to the disk, and whether it is the sink's own."""

_EVENTS = 4096
_COMMIT_EVENTS = 256
_OUTBOX = 512
_READ_ATTEMPTS = 5  # a guess: a disk that says five times that it cannot is taken at its word
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolTimes:
    """How long things take; tests have less patience. All in nanoseconds.

    `commit_ns`: fsyncs are at least so far apart, which is also how long an event may wait for one (the design allows
    50 ms). `tell_ns`: drops within it make one gap event. `cursor_ns`: how late the confirmed place may be on disk.
    """

    commit_ns: int = 25_000_000
    tell_ns: int = _SECOND_NS
    cursor_ns: int = _SECOND_NS
    retry_ns: int = _SECOND_NS


class SpoolKeeper:
    """The spool with its thread: `run` is the body, everything else may be called from any thread."""

    def __init__(
        self,
        name: str,
        spool: Spool,
        *,
        place: str,
        ledger: Ledger,
        clock: Clock,
        may_tell: Callable[[GapEvent], bool],
        on_ready: Callable[[], None],
        times: SpoolTimes,
    ) -> None:
        """`may_tell`: whether subscribers can be told of a gap now. `on_ready` is called, from the spool's thread and
        without a lock, when `head` has something new or all is done.
        """
        self._name = name
        self._spool = spool
        self._place = place
        self._ledger = ledger
        self._clock = clock
        self._may_tell = may_tell
        self._on_ready = on_ready
        self._times = times
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._events: deque[EventMessage] = deque()
        self._outbox: deque[SpoolRecord] = deque()
        self._gaps = Gaps(times.tell_ns)
        self._busy = False
        self._unread = spool.unread
        self._settled = spool.recovery.retained
        self._confirmed: SpoolRecord | None = None
        self._server = spool.server
        self._rewind = False
        self._hurry = False
        self._finish = False
        self._problem: str | None = None
        self._read_problem: str | None = None
        self._read_attempts = 0
        self._next_commit_ns = 0
        self._cursor_ns: int | None = None
        self._read_retry_ns: int | None = None
        self._tell_retry_ns = 0
        ledger.recovered(name, spool.recovery.pending)
        self._report_recovery()

    def _report_recovery(self) -> None:
        recovery, now_ns = self._spool.recovery, self._clock.mono_ns()
        for note in recovery.notes:
            logger.warning("spool %s: %s", self._place, note)
        for lost in recovery.lost:
            last = "the end" if lost.last is None else lost.last
            logger.error("spool %s: events %s of %s to %s are lost", self._place, lost.first, lost.producer, last)
            same = lost.producer == self._spool.producer
            gap = GapEvent(
                stream="",
                run="",
                wall_ns=self._clock.wall_ns(),
                what="events",
                count=lost.count,
                first=lost.first if same else None,
                last=lost.last if same else None,
                reason="spool_damaged",
            )
            self._gaps.add(gap, now_ns)
        if recovery.pending:
            logger.info("spool %s: %d events wait from before", self._place, recovery.pending)

    # ── any thread ───────────────────────────────────────────────────────────────────────────────────────────────

    def accept(self, event: EventMessage) -> None:
        """Take an event; never blocks."""
        with self._lock:
            if not self._finish and len(self._events) < _EVENTS:
                self._events.append(event)
                self._wake.notify()
                return
            reason: DropReason = "shutdown" if self._finish else "queue_full"
            self._gaps.add_event(event, reason, self._clock.mono_ns())
        self._ledger.dropped(self._name, reason)

    def frame_dropped(self, frame: FrameMessage, reason: DropReason) -> None:
        """Subscribers will be told, when they can be."""
        with self._lock:
            was_empty = not self._gaps
            self._gaps.add_frame(frame, reason, self._clock.mono_ns())
            if was_empty:
                self._wake.notify()

    def poke(self) -> None:
        """What `may_tell` answers has changed."""
        with self._lock:
            self._wake.notify()

    def problem(self) -> str | None:
        with self._lock:
            return self._problem or self._read_problem

    @property
    def is_idle(self) -> bool:
        """Whether every event is on the disk and confirmed, and every gap told that can be."""
        with self._lock:
            untold = bool(self._gaps) and self._problem is None
            return not (self._events or self._outbox or self._unread or self._busy or self._rewind or untold)

    def hurry(self) -> None:
        """The end is near: tell of gaps now."""
        with self._lock:
            self._hurry = True
            self._wake.notify()

    def finish(self) -> None:
        """Nothing more will come or be confirmed: put on the disk what is left, and end. Idempotent."""
        with self._lock:
            self._finish = self._hurry = True
            self._wake.notify()

    # ── the sink's thread ────────────────────────────────────────────────────────────────────────────────────────

    def head(self, count: int) -> list[SpoolRecord]:
        """The first promised records that Redis has not confirmed; the same again until `confirm` or `rewind`."""
        with self._lock:
            if self._rewind:
                return []
            return [self._outbox[index] for index in range(min(count, len(self._outbox)))]

    def confirm(self, records: Sequence[SpoolRecord]) -> None:
        """Redis has these, the first of `head`."""
        if not records:
            return
        with self._lock:
            new = 0
            for record in records:
                taken = self._outbox.popleft()
                assert taken is record
                new += record.serial >= self._settled
            self._settled = max(self._settled, records[-1].serial + 1)
            self._confirmed = records[-1]
            self._wake.notify()
        self._ledger.delivered(self._name, new, source="spooled")
        if len(records) > new:
            self._ledger.resent(self._name, len(records) - new)

    def server_is(self, run_id: str) -> bool:
        """Say which server there is; True if it is another one, which gets all that is still kept once more."""
        with self._lock:
            if run_id == self._server:
                return False
            self._server = run_id
            self._rewind = True
            self._outbox.clear()
            self._wake.notify()
            return True

    # ── the spool's thread ───────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """The thread's body; closes the spool at its end."""
        try:
            while self._turn():
                pass
        finally:
            self._spool.close()

    def _turn(self) -> bool:
        """Wait for work and do it once; False when all is done."""
        with self._lock:
            while (wait_ns := self._wait_ns()) is None or wait_ns > 0:
                self._wake.wait(None if wait_ns is None else wait_ns / 1e9)
            now_ns = self._clock.mono_ns()
            events: list[EventMessage] = []
            if self._finish or now_ns >= self._next_commit_ns:
                count = min(len(self._events), _COMMIT_EVENTS)
                events = [self._events.popleft() for _ in range(count)]
            gaps = self._gaps.take(self._told_until_ns(now_ns), self._may_tell_now)
            confirmed, self._confirmed = self._confirmed, None
            rewind, server = self._rewind, self._server
            finish = self._finish
            self._busy = True
        if confirmed is not None:
            self._spool.confirm(confirmed, now_ns)
        if rewind:
            again = self._spool.rewind(server, now_ns)
            if again:
                logger.info("spool %s: another Redis: %d events are sent again", self._place, again)
        if events or gaps:
            self._store([*((gap, True) for gap in gaps), *((event, False) for event in events)])
        self._spool.release(now_ns)
        self._save_cursor(now_ns, finish)
        refilled = self._refill()
        with self._lock:
            self._busy = False
            over = finish and not self._events and self._confirmed is None
            tell = refilled or self._hurry
        if tell:
            self._on_ready()
        return not over

    def _wait_ns(self) -> int | None:
        """How long there is nothing to do: 0 for something at once, None for nothing in sight. Under the lock."""
        if self._finish or self._rewind:
            return 0
        times = [self._cursor_ns, self._spool.next_release_ns(), self._next_tell_ns()]
        if self._events:
            times.append(self._next_commit_ns)
        if self._unread and len(self._outbox) < _OUTBOX // 2:
            times.append(self._read_retry_ns or 0)
        if self._confirmed is not None and self._cursor_ns is None:
            times.append(0)
        due = min((time for time in times if time is not None), default=None)
        return None if due is None else max(0, due - self._clock.mono_ns())

    def _may_tell_now(self, gap: GapEvent) -> bool:
        return self._hurry or gap.what == "events" or self._may_tell(gap)

    def _next_tell_ns(self) -> int | None:
        due = self._gaps.next_ns(self._may_tell_now)
        return due if due is None or not self._hurry else self._tell_retry_ns

    def _told_until_ns(self, now_ns: int) -> int:
        """Gaps that ripen until then are told now."""
        return now_ns + self._times.tell_ns if self._hurry and now_ns >= self._tell_retry_ns else now_ns

    def _store(self, events: Sequence[_Event]) -> None:
        """Write and fsync the events, and count each."""
        spool, taken, refused = self._spool, list[_Event](), list[_Event]()
        for event, own in events:
            numbered = msgspec.structs.replace(event, producer=spool.producer, n=spool.next_n)
            (taken if spool.append(encode_message(numbered)) else refused).append((event, own))
        problem = None
        try:
            spool.commit()
        except OSError as error:
            problem = f"spool {self._place}: cannot be written: {error.strerror}: new events are dropped"
            self._drop(taken, "spool_error")
        else:
            self._ledger.gap(self._name, sum(own for _, own in taken))
            self._ledger.spooled(self._name, len(taken))
        if refused:
            problem = problem or f"spool {self._place}: full: new events are dropped"
            self._drop(refused, "spool_full")
        now_ns = self._clock.mono_ns()
        with self._lock:
            if problem is not None and self._problem is None:
                logger.error("%s", problem, extra=CHANGE)
            elif problem is None and self._problem is not None:
                logger.info("spool %s: can be written again", self._place, extra=CHANGE)
            self._problem = problem
            self._unread = spool.unread
            self._next_commit_ns = now_ns + self._times.commit_ns
            self._tell_retry_ns = 0 if problem is None else now_ns + self._times.tell_ns

    def _drop(self, events: Sequence[_Event], reason: DropReason) -> None:
        now_ns = self._clock.mono_ns()
        with self._lock:
            for event, _ in events:
                self._gaps.add_event(event, reason, now_ns)
        # A gap that could not be told was never in the ledger: it is told later.
        self._ledger.dropped(self._name, reason, sum(not own for _, own in events))

    def _save_cursor(self, now_ns: int, finish: bool) -> None:
        if not self._spool.cursor_is_dirty:
            self._cursor_ns = None
        elif self._cursor_ns is None and not finish:
            self._cursor_ns = now_ns + self._times.cursor_ns
        elif finish or (self._cursor_ns is not None and now_ns >= self._cursor_ns):
            self._spool.save_cursor()
            self._cursor_ns = None

    def _is_gone(self, error: OSError) -> bool:
        """Whether what cannot be read is lost: a file that is not there, a disk that fails again and again.

        Anything else (too many open files, say) passes, and nothing is given up for it.
        """
        self._read_attempts += 1
        problem = f"spool {self._place}: cannot be read: {error.strerror}"
        with self._lock:
            is_new, self._read_problem = self._read_problem is None, problem
        if is_new:
            logger.error("%s", problem, extra=CHANGE)
        return isinstance(error, FileNotFoundError) or (
            error.errno == errno.EIO and self._read_attempts >= _READ_ATTEMPTS
        )

    def _refill(self) -> bool:
        """Read ahead for the sink's thread, so that it never waits for the disk; whether there is something new."""
        with self._lock:
            if self._rewind and self._server != self._spool.server:
                return False  # yet another server: first back to the beginning
            self._rewind = False
            room = 0 if self._finish else _OUTBOX - len(self._outbox)
        self._read_retry_ns = None
        try:
            records, lost = self._spool.read(room)
        except OSError as error:
            if not self._is_gone(error):
                self._read_retry_ns = self._clock.mono_ns() + self._times.retry_ns
                return False
            records, lost = [], self._spool.pass_over()
        self._read_attempts = 0
        with self._lock:
            self._read_problem = None
        if lost:
            logger.error("spool %s: %d promised events cannot be read any more", self._place, lost)
            self._ledger.dropped(self._name, "spool_error", lost, source="spooled")
        with self._lock:
            # A server that came while we read has made `head` empty until the next turn has gone back.
            if not self._rewind:
                self._outbox.extend(records)
            self._unread = self._spool.unread
            if lost:
                gap = GapEvent(
                    stream="", run="", wall_ns=self._clock.wall_ns(), what="events", count=lost, reason="spool_damaged"
                )
                self._gaps.add(gap, self._clock.mono_ns())
        return bool(records)
