"""Redis as an outlet. The thread `sink:{name}`: connects, holds the leases, sends frames and promised events.

In:  frames from the finish thread, promised events from the thread `spool:{name}` (`pipeline/outlet_spool.py`).
Out: entries in Redis; what became of each message, in the ledger; streams whose lease another has, to `on_leased`.

Queue: one a stream (`pipeline/outlet_frames.py`), a full one drops its oldest live frame. While Redis is away, or
refuses to write, live frames are dropped as they come, and lossless ones wait. Nothing is polled: an idle outlet wakes
to renew its leases.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from pipeline.ledger import DropReason, Ledger
from pipeline.logs import CHANGE
from pipeline.outgoing import Outgoing, OutgoingEvent, OutgoingFrame
from pipeline.outlet_frames import Hold, StreamFrames
from pipeline.outlet_spool import SpoolKeeper, SpoolTimes
from pipeline.spool import Spool
from stages.options import RedisSinkOptions
from stages.sink.redis import EventEntry, Lease, RedisAway, RedisPublisher, Refusal
from stages.types import Clock, StreamId
from vedette.errors import SinkError
from vedette.messages import GapEvent

logger = logging.getLogger(__name__)

_EVENTS = "events"
_EVENTS_AT_ONCE = 128
_SAY_AGAIN_NS = 10_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTimes:
    """How long things take; tests have less patience. All in nanoseconds.

    `lease_ns`: a lease's life; `renew_ns`: how often it is renewed. `timeout_ns`: how long one answer may take.
    `backoff_ns`: the shortest and the longest pause before the next attempt to connect, before jitter.
    """

    lease_ns: int = 10_000_000_000
    renew_ns: int = 3_000_000_000
    timeout_ns: int = 500_000_000
    backoff_ns: tuple[int, int] = (100_000_000, 5_000_000_000)
    spool: SpoolTimes = field(default_factory=SpoolTimes)


class _Head(msgspec.Struct):
    """As much of an event as tells whether it is a state, and whose."""

    kind: str
    stream: str


_head = msgspec.json.Decoder(_Head)


class RedisOutlet:
    """One Redis sink: satisfies `pipeline.outgoing.Outlet`."""

    def __init__(
        self,
        name: str,
        options: RedisSinkOptions,
        spool: Spool,
        *,
        streams: Sequence[StreamId],
        ledger: Ledger,
        clock: Clock,
        on_leased: Callable[[StreamId], None],
        nonce: str,
        times: RedisTimes,
    ) -> None:
        """`spool` is open; the outlet closes it. `nonce` is unique to this process. The ledger knows the sink already.

        Raises SinkError for a URL that can't be used.
        """
        self.name = name
        self._empty = options.empty
        self._ledger = ledger
        self._clock = clock
        self._on_leased = on_leased
        self._times = times
        self._publisher = RedisPublisher(
            options,
            owner=spool.id,
            token=f"{spool.id}:{nonce}",
            lease_ms=times.lease_ns // 1_000_000,
            timeout_s=times.timeout_ns / 1e9,
        )
        self._keeper = SpoolKeeper(
            name,
            spool,
            place=options.spool.path,
            ledger=ledger,
            clock=clock,
            may_tell=self._may_tell,
            on_ready=self._notify,
            times=times.spool,
        )
        # The lock guards the queues, `_down`, `_closing_ns`, `_problem`, `_refused`; the rest is the sink thread's own.
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._streams = {stream: StreamFrames() for stream in streams}
        self._filled: set[StreamId] = set()
        self._down: DropReason | None = None
        self._closing_ns: int | None = None
        self._problem: str | None = f"{self._publisher}: not connected yet"
        # By what it is about: what Redis will not take at the next try either, until somebody repairs it.
        self._refused: dict[str, str] = {}
        self._is_up = False
        self._attempts = 0
        self._next_attempt_ns: int | None = 0
        self._up_since_ns = 0
        self._hold_until_ns: int | None = None
        self._hold_events_until_ns: int | None = None
        self._states_to_tell: set[StreamId] = set()
        self._next_lease_ns = 0
        self._states: dict[StreamId, bytes] = {}
        self._warned_aof = False
        self._said: dict[str, int] = {}

    # ── any thread ───────────────────────────────────────────────────────────────────────────────────────────────

    def bodies(self) -> Sequence[tuple[str, Callable[[], None]]]:
        return ((f"sink:{self.name}", self.run), (f"spool:{self.name}", self._keeper.run))

    def accept(self, items: Sequence[Outgoing]) -> None:
        dropped: list[tuple[OutgoingFrame, DropReason]] = []
        with self._lock:
            for item in items:
                if isinstance(item, OutgoingEvent):
                    continue
                reason = self._refusal(item)
                if reason is not None:
                    dropped.append((item, reason))
                    continue
                too_many = self._streams[item.stream].push(item)
                if too_many is not None:
                    dropped.append((too_many, "queue_full"))
                self._filled.add(item.stream)
            if self._filled:
                self._wake.notify()
        for item in items:
            if isinstance(item, OutgoingEvent):
                self._keeper.accept(item.message)
        for frame, reason in dropped:
            self._drop([frame], reason)

    def close(self, deadline_mono_ns: int) -> None:
        with self._lock:
            if self._closing_ns is None:
                self._closing_ns = deadline_mono_ns
                self._wake.notify()
        self._keeper.hurry()

    def problem(self) -> str | None:
        with self._lock:
            problems = [self._problem] if self._problem is not None else []
            problems += self._refused.values()
            waiting = [str(name) for name, stream in self._streams.items() if stream.hold is Hold.WAITING]
        if waiting:
            problems.append(f"{self._publisher}: another process holds the lease of {', '.join(waiting)}")
        spool = self._keeper.problem()
        if spool is not None:
            problems.append(spool)
        return "; ".join(problems) or None

    def _refusal(self, frame: OutgoingFrame) -> DropReason | None:
        """Why a frame can't even wait, under the lock."""
        if self._closing_ns is not None:
            return "shutdown"
        if not self._empty and not frame.message.objects:
            return "empty"
        hold = self._streams[frame.stream].hold
        if hold is Hold.LOST or (hold is Hold.WAITING and not frame.lossless):
            return "leased"
        return None if frame.lossless else self._down

    def _drop(self, frames: Sequence[OutgoingFrame], reason: DropReason) -> None:
        for frame in frames:
            self._ledger.dropped(self.name, reason)
            if reason != "empty":
                self._keeper.frame_dropped(frame.message, reason)
            frame.settled(self.name, False)

    def _may_tell(self, gap: GapEvent) -> bool:
        # Read without the lock: a stale answer only makes a gap be told in two pieces.
        stream = self._streams.get(StreamId(gap.stream))
        return self._is_up and self._down is None and (stream is None or stream.hold is not Hold.WAITING)

    def _notify(self) -> None:
        with self._lock:
            self._wake.notify()

    # ── the sink's thread ────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """The thread's body."""
        try:
            while self._wait():
                try:
                    self._work()
                except RedisAway as away:
                    self._lose_link(away)
            self._end()
        finally:
            self._publisher.disconnect()
            self._keeper.finish()

    def _work(self) -> None:
        now_ns = self._clock.mono_ns()
        if not self._is_up:
            self._connect()
            return
        if now_ns >= self._next_lease_ns:
            self._lease()
        if self._hold_until_ns is not None and now_ns >= self._hold_until_ns:
            self._hold_until_ns = None
            self._set_down(None)
        if self._hold_events_until_ns is not None and now_ns >= self._hold_events_until_ns:
            self._hold_events_until_ns = None
        if self._hold_until_ns is None:
            self._send_frames()
        if self._hold_until_ns is None and self._hold_events_until_ns is None:
            self._send_events()

    def _wait(self) -> bool:
        """Wait until there is something to do; False when it is time to end."""
        while True:
            with self._lock:
                if self._is_over():
                    return False
                due = self._due_ns()
                now_ns = self._clock.mono_ns()
                if due is not None and due <= now_ns:
                    return True
                self._wake.wait(None if due is None else (due - now_ns) / 1e9)

    def _due_ns(self) -> int | None:
        """When there is something to do, 0 for at once. Under the lock."""
        if not self._is_up:
            due = self._next_attempt_ns
        elif self._hold_until_ns is not None:
            due = min(self._hold_until_ns, self._next_lease_ns)
        elif any(self._streams[stream].hold is Hold.OURS for stream in self._filled):
            due = 0
        else:
            due = self._next_lease_ns
            if self._keeper.head(1):
                due = min(due, self._hold_events_until_ns or 0)
        if self._closing_ns is None:
            return due
        return self._closing_ns if due is None else min(due, self._closing_ns)

    def _is_over(self) -> bool:
        if self._closing_ns is None:
            return False
        if self._clock.mono_ns() >= self._closing_ns:
            return True
        frames = any(self._streams[stream].queue or self._streams[stream].under_way for stream in self._filled)
        if frames or self._next_attempt_ns == 0:
            return False
        # What is in the spool is safe there: no reason to wait for a Redis that is away.
        held = self._hold_until_ns is not None or self._hold_events_until_ns is not None
        return not self._is_up or held or self._keeper.is_idle

    def _end(self) -> None:
        with self._lock:
            left = [
                frame
                for stream in self._streams.values()
                for frame in (
                    *stream.drop_under_way(lossless=True, sent=True),
                    *stream.drop_queued(lossless=True),
                )
            ]
            self._filled.clear()
        self._drop(left, "shutdown")
        if self._is_up:
            try:
                self._publisher.release([name for name, stream in self._streams.items() if stream.hold is Hold.OURS])
            except RedisAway as away:
                logger.info("%s; leases expire by themselves", away.message)

    # ── the link ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _connect(self) -> None:
        server = self._publisher.connect()
        for stream in self._streams.values():
            if stream.hold is Hold.OURS:
                stream.hold = Hold.UNKNOWN
        if not server.aof and not self._warned_aof:
            self._warned_aof = True
            logger.warning(
                "%s: keeps nothing on its disk (appendonly no): a restart of it forgets all that was published",
                self._publisher,
            )
        if self._keeper.server_is(server.run_id):
            self._states_to_tell.update(self._states)
        self._hold_until_ns = self._hold_events_until_ns = None
        with self._lock:
            self._refused.clear()
        self._lease()
        self._is_up, self._up_since_ns, self._next_attempt_ns = True, self._clock.mono_ns(), None
        said_away = CHANGE if self._attempts else None
        logger.info("%s: connected (Redis %s)", self._publisher, server.version, extra=said_away)
        if self._hold_until_ns is None:
            self._set_down(None)
            self._all_is_well()

    def _lose_link(self, away: RedisAway) -> None:
        """The first time, try again at once; if that fails too, Redis is away."""
        now_ns = self._clock.mono_ns()
        was_up, self._is_up = self._is_up, False
        self._hold_until_ns = self._hold_events_until_ns = None
        with self._lock:
            self._problem = away.message
        if was_up and now_ns - self._up_since_ns >= self._times.backoff_ns[1]:
            self._next_attempt_ns = 0
            return
        self._next_attempt_ns = now_ns + self._pause_ns()
        if self._attempts == 1:
            logger.warning("%s; trying again", away.message, extra=CHANGE)
        elif self._is_worth_saying(f"away: {away.message}"):
            logger.warning("%s; attempt %d", away.message, self._attempts)
        self._set_down("redis_away")

    def _set_down(self, reason: DropReason | None) -> None:
        """From now on live frames are dropped as they come, and those that wait; or they wait again."""
        dropped: list[OutgoingFrame] = []
        with self._lock:
            self._down = reason
            if reason is not None:
                for stream in self._streams.values():
                    dropped += stream.drop_under_way(lossless=False, sent=False)
                    dropped += stream.drop_queued(lossless=False)
        if reason is not None:
            self._drop(dropped, reason)
        self._keeper.poke()

    def _pause_ns(self) -> int:
        """The pause after one more failed attempt: doubled each time, bounded, jittered."""
        shortest, longest = self._times.backoff_ns
        pause_ns = min(longest, shortest << min(self._attempts, 20)) * random.uniform(0.5, 1.0)
        self._attempts += 1
        return int(pause_ns)

    def _hold(self, refusal: Refusal) -> None:
        """Redis answers but will not write anything now (memory, disk, rights): ask again later."""
        self._hold_until_ns = self._clock.mono_ns() + self._pause_ns()
        problem = f"{self._publisher}: refuses to write: {refusal}"
        with self._lock:
            self._problem = problem
        if self._is_worth_saying(refusal.code):
            logger.error("%s", problem)
        self._set_down("redis_refused")

    def _refuse(self, what: str, refusal: Refusal) -> None:
        problem = f"{self._publisher}: refuses {what}: {refusal}"
        with self._lock:
            self._refused[what] = problem
        if self._is_worth_saying(f"{refusal.code} {what}"):
            logger.error("%s", problem)

    def _is_worth_saying(self, what: str) -> bool:
        now_ns = self._clock.mono_ns()
        if now_ns < self._said.get(what, 0):
            return False
        self._said[what] = now_ns + _SAY_AGAIN_NS
        return True

    # ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _lease(self) -> None:
        """Renew the leases that we have and try for those that we need."""
        now_ns = self._clock.mono_ns()
        self._next_lease_ns = now_ns + self._times.renew_ns
        old = [name for name, stream in self._streams.items() if stream.hold is not Hold.LOST and stream.was_ours]
        new = [name for name, stream in self._streams.items() if stream.hold is not Hold.LOST and not stream.was_ours]
        leases = self._publisher.lease(old, first=False) | self._publisher.lease(new, first=True)
        answered_ns = self._clock.mono_ns()
        fresh = [
            name
            for name, lease in leases.items()
            if lease.state == "taken" or (lease.state == "kept" and self._streams[name].hold is not Hold.OURS)
        ]
        last_ids = self._publisher.last_ids(fresh)
        for name in fresh:
            last = last_ids[name]
            if not isinstance(last, Refusal):  # a key of the wrong type; adding to it will say so
                self._streams[name].last_id_is(last)
        for name, lease in leases.items():
            self._apply(name, lease, now_ns, answered_ns)
            if lease.state == "taken" and name in self._states:
                self._states_to_tell.add(name)  # while another had the lease, the latest state was the other's
        states = {name: self._states[name] for name in self._states_to_tell if self._streams[name].hold is Hold.OURS}
        self._publisher.set_states(states)
        self._states_to_tell.difference_update(states)

    def _apply(self, name: StreamId, lease: Lease, asked_ns: int, answered_ns: int) -> None:
        stream = self._streams[name]
        if lease.state == "refused":
            assert lease.refusal is not None
            self._hold(lease.refusal)
            return
        if lease.state != "held":
            if stream.hold is Hold.WAITING:
                logger.info("stream %s: the other process has gone; publishing", name)
            if stream.hold is not Hold.OURS:
                with self._lock:
                    stream.hold, stream.was_ours, stream.held_until_ns = Hold.OURS, True, None
                self._keeper.poke()
            return
        if not stream.was_ours and stream.held_until_ns is None:
            # From the answer on, however long that took; a little more, since Redis counts in milliseconds.
            stream.held_until_ns = answered_ns + lease.left_ms * 1_000_000 + self._times.lease_ns // 50
            wait_s = (stream.held_until_ns - answered_ns) / 1e9
            logger.warning("stream %s: another process holds its lease; waiting %.1f s for it to expire", name, wait_s)
        until_ns = stream.held_until_ns
        if until_ns is not None and asked_ns < until_ns:
            # One expiry: the holder may be dead, and has not renewed it since we looked.
            self._next_lease_ns = min(self._next_lease_ns, until_ns)
            self._give_up_frames(name, Hold.WAITING)
            return
        logger.error("stream %s: another process publishes it: this one stops", name)
        self._give_up_frames(name, Hold.LOST)
        self._on_leased(name)

    def _give_up_frames(self, name: StreamId, hold: Hold) -> None:
        lost = hold is Hold.LOST
        with self._lock:
            stream = self._streams[name]
            stream.hold = hold
            dropped = stream.drop_under_way(lossless=lost, sent=lost) + stream.drop_queued(lossless=lost)
        self._drop(dropped, "leased")

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _send_frames(self) -> None:
        with self._lock:
            names = [name for name in self._filled if self._streams[name].hold is Hold.OURS]
            for name in names:
                self._streams[name].take()
        wall_ns = self._clock.wall_ns()
        batches = {name: self._streams[name].entries(wall_ns) for name in names}
        batches = {name: entries for name, entries in batches.items() if entries}
        if batches:
            try:
                added = self._publisher.add_frames(batches)
            except RedisAway:
                for name in batches:
                    self._streams[name].mark_sent()
                raise
            for name, result in added.items():
                done = self._streams[name].pop_done(result.count)
                self._ledger.delivered(self.name, len(done))
                for frame in done:
                    frame.settled(self.name, True)
                if result.refusal is not None:
                    self._frames_refused(name, result.refusal)
                elif self._hold_until_ns is None:
                    self._all_is_well(_frames_of(name))
        with self._lock:
            for name in names:
                stream = self._streams[name]
                if not (stream.queue or stream.under_way):
                    self._filled.discard(name)

    def _frames_refused(self, name: StreamId, refusal: Refusal) -> None:
        stream = self._streams[name]
        if refusal.code == "LEASE":
            stream.hold = Hold.UNKNOWN
            self._next_lease_ns = 0
        elif refusal.code == "BEHIND":
            self._id_went_backwards(name, stream)
        elif refusal.passes:
            self._hold(refusal)
        else:
            # No waiting will help, for instance where the key holds something else.
            self._refuse(_frames_of(name), refusal)
            self._drop(stream.drop_under_way(lossless=True, sent=True), "redis_refused")

    def _id_went_backwards(self, name: StreamId, stream: StreamFrames) -> None:
        first = stream.under_way[0]
        if not first.sent:
            msg = f"{self._publisher}: stream {name} has an id above {first.id}, and nobody else may write there"
            raise SinkError(msg, hint="something adds to the stream without holding its lease")
        if stream.stranger_wrote:
            first.sent = False
        else:
            # It landed, and what came after it has pushed it out already (a small maxlen).
            for frame in stream.pop_done(1):
                self._ledger.delivered(self.name)
                frame.settled(self.name, True)

    def _send_events(self) -> None:
        records = self._keeper.head(_EVENTS_AT_ONCE)
        if not records:
            return
        entries = []
        for record in records:
            head = _head.decode(record.payload)
            state_of = head.stream if head.kind == "stream_state" else ""
            entries.append(EventEntry(record.producer, record.n, record.payload, state_of))
        added = self._publisher.add_events(entries)
        self._keeper.confirm(records[: added.count])
        for entry in entries[: added.count]:
            if entry.state_of:
                self._states[StreamId(entry.state_of)] = entry.encoded
        if added.refusal is None:
            self._all_is_well(_EVENTS)
        elif added.refusal.passes:
            self._hold(added.refusal)
        else:
            # What is promised is never dropped: someone must repair the keys.
            self._hold_events_until_ns = self._clock.mono_ns() + self._pause_ns()
            self._refuse(_EVENTS, added.refusal)

    def _all_is_well(self, with_what: str | None = None) -> None:
        self._attempts = 0
        if self._problem is not None or with_what in self._refused:
            with self._lock:
                self._problem = None
                if with_what is not None:
                    self._refused.pop(with_what, None)


def _frames_of(stream: StreamId) -> str:
    return f"the frames of {stream}"
