"""The ledger: what became of every frame and of everything handed to a sink.

For every stream, at every moment:

    decoded = published + rate_limited + superseded + sum(failed) + abandoned + in_flight

and for every sink:

    accepted = frames + events                          (what `published` and the events amount to)
    accepted + recovered + gaps = delivered + sum(dropped) + spooled + waiting

`in_flight` is the set of frames that have not ended, never a difference: a frame that ends twice, or that nobody knows,
raises LedgerError there and then; one that code forgot stays in flight, and the run does not balance at its end.
`waiting` and `spooled` likewise are counts of their own. One lock for all of it; nothing here blocks or waits.
Read by `/status`, `/metrics`, the summary at exit and the tests.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Literal

import msgspec

from stages.types import StreamId
from vedette.errors import LedgerError

FailedReason = Literal["no_timestamp", "pixel_format", "engine"]
DropReason = Literal[
    "queue_full", "redis_away", "redis_refused", "leased", "empty", "spool_full", "spool_error", "disk", "shutdown"
]


class StreamTotals(msgspec.Struct, frozen=True, kw_only=True):
    """One stream's side of the ledger at one moment, and beside it what never became a frame."""

    decoded: int
    published: int
    rate_limited: int
    superseded: int
    failed: dict[str, int]
    abandoned: int
    in_flight: int
    packets_damaged: int
    packets_lost: int
    reconnections: dict[str, int]

    @property
    def balances(self) -> bool:
        ended = self.published + self.rate_limited + self.superseded + sum(self.failed.values()) + self.abandoned
        return self.decoded == ended + self.in_flight


class SinkTotals(msgspec.Struct, frozen=True, kw_only=True):
    """One sink's side of the ledger at one moment.

    `gaps` are events of the sink's own, which tell subscribers what it dropped. `resent` counts repeats on the wire;
    they are no new deliveries.
    """

    accepted_frames: int
    accepted_events: int
    recovered: int
    delivered: int
    dropped: dict[str, int]
    spooled: int
    waiting: int
    resent: int
    gaps: int = 0

    @property
    def balances(self) -> bool:
        left = self.accepted_frames + self.accepted_events + self.recovered + self.gaps
        return left == self.delivered + sum(self.dropped.values()) + self.spooled + self.waiting


class LedgerTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The whole ledger at one moment, taken under its lock."""

    streams: dict[str, StreamTotals]
    sinks: dict[str, SinkTotals]
    published: int
    events: int

    @property
    def problems(self) -> list[str]:
        """What does not balance, one line each; empty when all is accounted for."""
        lines = [f"stream {name}: {totals}" for name, totals in self.streams.items() if not totals.balances]
        for name, sink in self.sinks.items():
            if not sink.balances:
                lines.append(f"sink {name}: {sink}")
            if (sink.accepted_frames, sink.accepted_events) != (self.published, self.events):
                lines.append(
                    f"sink {name}: accepted {sink.accepted_frames} frames and {sink.accepted_events} events, "
                    f"published were {self.published} and {self.events}"
                )
        return lines


class _Stream:
    __slots__ = ("abandoned", "damaged", "decoded", "failed", "in_flight", "lost", "published", "rate_limited",
                 "reconnections", "superseded")  # fmt: skip

    def __init__(self) -> None:
        self.decoded = self.published = self.rate_limited = self.superseded = self.abandoned = 0
        self.damaged = self.lost = 0
        self.failed: Counter[str] = Counter()
        self.reconnections: Counter[str] = Counter()
        self.in_flight: set[int] = set()


class _Sink:
    __slots__ = ("delivered", "dropped", "events", "frames", "gaps", "recovered", "resent", "spooled", "waiting")

    def __init__(self) -> None:
        self.frames = self.events = self.recovered = self.delivered = self.spooled = self.waiting = self.resent = 0
        self.gaps = 0
        self.dropped: Counter[str] = Counter()


class Ledger:
    """All accounts under one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[StreamId, _Stream] = {}
        self._sinks: dict[str, _Sink] = {}
        self._published = 0
        self._events = 0

    def open_stream(self, stream: StreamId) -> None:
        with self._lock:
            self._streams[stream] = _Stream()

    def open_sink(self, sink: str) -> None:
        with self._lock:
            self._sinks[sink] = _Sink()

    # ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────

    def decoded(self, stream: StreamId, seq: int) -> None:
        """A frame came out of the decoder; from now on it is in flight."""
        with self._lock:
            account = self._streams[stream]
            if seq in account.in_flight:
                msg = f"stream {stream}: frame {seq} was decoded twice"
                raise LedgerError(msg)
            account.decoded += 1
            account.in_flight.add(seq)

    def rate_limited(self, stream: StreamId, seq: int) -> None:
        with self._lock:
            self._end(stream, seq, "rate_limited").rate_limited += 1

    def superseded(self, stream: StreamId, seq: int) -> None:
        with self._lock:
            self._end(stream, seq, "superseded").superseded += 1

    def failed(self, stream: StreamId, seq: int, reason: FailedReason) -> None:
        with self._lock:
            self._end(stream, seq, "failed").failed[reason] += 1

    def abandoned(self, stream: StreamId, seq: int) -> None:
        with self._lock:
            self._end(stream, seq, "abandoned").abandoned += 1

    def published(self, stream: StreamId, seq: int) -> None:
        """The frame is being handed to every sink, which all accept it here."""
        with self._lock:
            self._end(stream, seq, "published").published += 1
            self._published += 1
            for sink in self._sinks.values():
                sink.frames += 1
                sink.waiting += 1

    def in_flight(self, stream: StreamId) -> frozenset[int]:
        with self._lock:
            return frozenset(self._streams[stream].in_flight)

    def _end(self, stream: StreamId, seq: int, how: str) -> _Stream:
        account = self._streams[stream]
        try:
            account.in_flight.remove(seq)
        except KeyError:
            msg = f"stream {stream}: frame {seq} ended as {how}, but it was not in flight"
            raise LedgerError(msg) from None
        return account

    # ── beside the frames ────────────────────────────────────────────────────────────────────────────────────────

    def packets_damaged(self, stream: StreamId, count: int = 1) -> None:
        with self._lock:
            self._streams[stream].damaged += count

    def packets_lost(self, stream: StreamId, count: int) -> None:
        with self._lock:
            self._streams[stream].lost += count

    def reconnected(self, stream: StreamId, reason: str) -> None:
        with self._lock:
            self._streams[stream].reconnections[reason] += 1

    # ── sinks ────────────────────────────────────────────────────────────────────────────────────────────────────

    def event(self) -> None:
        """An event is being handed to every sink, which all accept it here."""
        with self._lock:
            self._events += 1
            for sink in self._sinks.values():
                sink.events += 1
                sink.waiting += 1

    def recovered(self, sink: str, count: int) -> None:
        """Found in the spool at start, unacknowledged: spooled again."""
        with self._lock:
            account = self._sinks[sink]
            account.recovered += count
            account.spooled += count

    def delivered(self, sink: str, count: int = 1, *, source: Literal["waiting", "spooled"] = "waiting") -> None:
        with self._lock:
            account = self._sinks[sink]
            self._take(sink, account, count, source)
            account.delivered += count

    def dropped(
        self, sink: str, reason: DropReason, count: int = 1, *, source: Literal["waiting", "spooled"] = "waiting"
    ) -> None:
        with self._lock:
            account = self._sinks[sink]
            self._take(sink, account, count, source)
            account.dropped[reason] += count

    def spooled(self, sink: str, count: int = 1) -> None:
        """Written and fsync'd: promised."""
        with self._lock:
            account = self._sinks[sink]
            self._take(sink, account, count, "waiting")
            account.spooled += count

    def gap(self, sink: str, count: int = 1) -> None:
        """The sink adds an event of its own to what waits, which tells of something that it dropped."""
        with self._lock:
            account = self._sinks[sink]
            account.gaps += count
            account.waiting += count

    def resent(self, sink: str, count: int = 1) -> None:
        with self._lock:
            self._sinks[sink].resent += count

    def _take(self, sink: str, account: _Sink, count: int, source: Literal["waiting", "spooled"]) -> None:
        have = account.waiting if source == "waiting" else account.spooled
        if count < 0 or have < count:
            msg = f"sink {sink}: {count} taken from {source}, which holds {have}"
            raise LedgerError(msg)
        if source == "waiting":
            account.waiting -= count
        else:
            account.spooled -= count

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    def totals(self) -> LedgerTotals:
        with self._lock:
            return LedgerTotals(
                streams={
                    name: StreamTotals(
                        decoded=s.decoded,
                        published=s.published,
                        rate_limited=s.rate_limited,
                        superseded=s.superseded,
                        failed=dict(s.failed),
                        abandoned=s.abandoned,
                        in_flight=len(s.in_flight),
                        packets_damaged=s.damaged,
                        packets_lost=s.lost,
                        reconnections=dict(s.reconnections),
                    )
                    for name, s in self._streams.items()
                },
                sinks={
                    name: SinkTotals(
                        accepted_frames=k.frames,
                        accepted_events=k.events,
                        recovered=k.recovered,
                        delivered=k.delivered,
                        dropped=dict(k.dropped),
                        spooled=k.spooled,
                        waiting=k.waiting,
                        resent=k.resent,
                        gaps=k.gaps,
                    )
                    for name, k in self._sinks.items()
                },
                published=self._published,
                events=self._events,
            )
