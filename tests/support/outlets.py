"""One outlet at work: fed as the finish thread feeds it, its ledger and its frames' settlements watched."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import redis

from pipeline.clock import SystemClock
from pipeline.ledger import Ledger, SinkTotals
from pipeline.outgoing import OutgoingEvent, OutgoingFrame, Outlet
from pipeline.outlet import build_outlets
from pipeline.outlet_frames import LIVE_FRAMES
from pipeline.outlet_jsonl import JsonlTimes
from pipeline.outlet_redis import RedisTimes
from pipeline.outlet_spool import SpoolTimes
from pipeline.supervisor import Supervisor
from stages.options import RedisSinkOptions, SinkOptions, SpoolOptions
from stages.types import StreamId
from vedette.messages import (
    EventMessage,
    FrameMessage,
    GapEvent,
    StreamState,
    TrackedObject,
    TrackStarted,
    decode_message,
    encode_message,
)
from vedette.secrets import SecretUrl

MS = 1_000_000
QUICK = RedisTimes(
    lease_ns=1000 * MS,
    renew_ns=200 * MS,
    timeout_ns=500 * MS,
    backoff_ns=(10 * MS, 50 * MS),
    spool=SpoolTimes(commit_ns=2 * MS, tell_ns=20 * MS, cursor_ns=20 * MS, retry_ns=20 * MS),
)
"""As the real times, but for the impatient; an answer still has time to come on a busy machine."""

QUICK_JSONL = JsonlTimes(retry_ns=20 * MS, tell_ns=20 * MS)
CAPTURE_NS = 1_795_219_200_000_000_000
OBJECT = TrackedObject(track=1, class_="person", score=0.5, box=(1.0, 2.0, 3.0, 4.0), state="confirmed", age_ms=0)


def eventually(holds: Callable[[], object], within_s: float = 20.0) -> None:
    """Wait until `holds()` is true; fail after `within_s`."""
    never = threading.Event()
    end_ns = SystemClock().mono_ns() + int(within_s * 1e9)
    while not holds():
        assert SystemClock().mono_ns() < end_ns, f"it did not happen within {within_s} s"
        never.wait(0.003)


def redis_options(url: str, spool_path: Path, **changes: object) -> RedisSinkOptions:
    """Keys `test:…`; `changes` are other options of the sink."""
    options = {"spool": SpoolOptions(path=str(spool_path), max_mb=1.0, retain_s=30.0), "prefix": "test"} | changes
    return RedisSinkOptions(url=SecretUrl(url), **options)  # type: ignore[arg-type] # as the test gives them


class Rig:
    """An outlet with its threads. Streams: `cam` and `gate` (live), `file` (lossless)."""

    def __init__(
        self, options: SinkOptions, *, times: RedisTimes = QUICK, run: str = "run", start: bool = True
    ) -> None:
        self.clock = SystemClock()
        self.ledger = Ledger()
        self.leased: list[str] = []
        self.settled: Counter[tuple[str, int]] = Counter()
        self.run = run
        self._numbers: Counter[str] = Counter()
        streams = tuple(StreamId(name) for name in ("cam", "gate", "file"))
        for stream in streams:
            self.ledger.open_stream(stream)
        self.outlet: Outlet
        (self.outlet,) = build_outlets(
            (options,),
            streams=streams,
            ledger=self.ledger,
            clock=self.clock,
            on_leased=self.leased.append,
            redis_times=times,
            jsonl_times=QUICK_JSONL,
        )
        self.supervisor = Supervisor(self.clock)
        if start:
            self.start()

    def start(self) -> None:
        for name, body in self.outlet.bodies():
            self.supervisor.spawn(name, body)

    def frame(self, stream: str = "cam", *, objects: bool = True, wall_ns: int | None = None) -> int:
        """Publish the stream's next frame; returns its n."""
        self._numbers[stream] += 1
        n = self._numbers[stream]
        message = FrameMessage(
            stream=stream,
            run=self.run,
            epoch=0,
            seq=n,
            n=n,
            pts=n,
            time_base=(1, 10),
            wall_ns=CAPTURE_NS + n * 100 * MS if wall_ns is None else wall_ns,
            clock="arrival",
            clock_error_ms=1.0,
            size=(64, 48),
            model="m",
            objects=(OBJECT,) if objects else (),
        )
        item = OutgoingFrame(
            stream=StreamId(stream),
            message=message,
            encoded=encode_message(message),
            lossless=stream == "file",
            settled=lambda *_: self.settled.update([(stream, n)]),
        )
        self.ledger.decoded(item.stream, n)
        self.ledger.published(item.stream, n)
        self.outlet.accept([item])
        return n

    def frames(self, count: int, stream: str = "cam") -> None:
        for _ in range(count):
            self.frame(stream)

    def frames_until_dropped(self, count: int, stream: str = "cam") -> None:
        """Publish until the outlet has dropped `count` frames: the first may be under way when trouble begins.

        Never so many at once that its queue is full: however long it takes, what drops them is the trouble.
        """
        before = sum(self.totals.dropped.values())

        def dropped() -> bool:
            if self.totals.waiting < LIVE_FRAMES // 2:
                self.frame(stream)
            return sum(self.totals.dropped.values()) >= before + count

        eventually(dropped)

    def event(self, track: int = 1, stream: str = "cam") -> None:
        self.give(
            TrackStarted(
                stream=stream, run=self.run, wall_ns=CAPTURE_NS, track=track, class_="car", box=OBJECT.box, score=0.5
            )
        )

    def state(self, state: str, stream: str = "cam") -> None:
        self.give(StreamState(stream=stream, run=self.run, wall_ns=CAPTURE_NS, state=state, epoch=0))  # type: ignore[arg-type] # one of them

    def give(self, event: EventMessage) -> None:
        self.ledger.event()
        self.outlet.accept([OutgoingEvent(stream=StreamId(event.stream), message=event)])

    @property
    def totals(self) -> SinkTotals:
        return self.ledger.totals().sinks[self.outlet.name]

    def wait_for(self, holds: Callable[[SinkTotals], object]) -> SinkTotals:
        """Wait until the sink's totals are so; a thread that failed fails the test."""

        def now() -> object:
            if self.supervisor.failure is not None:
                raise self.supervisor.failure.error
            return holds(self.totals)

        eventually(now)
        return self.totals

    def close(self, within_s: float = 20.0) -> SinkTotals:
        """Close it, wait for its threads, check that everything is accounted for."""
        self.outlet.close(self.clock.mono_ns() + int(within_s * 1e9))
        assert self.supervisor.join(timeout_s=within_s + 20) == []
        if self.supervisor.failure is not None:
            raise self.supervisor.failure.error
        ledger = self.ledger.totals()
        assert ledger.problems == []
        totals = ledger.sinks[self.outlet.name]
        assert totals.waiting == 0
        assert set(self.settled.values()) <= {1}
        assert len(self.settled) == totals.accepted_frames
        return totals


def frames_in(client: redis.Redis, stream: str = "cam") -> list[FrameMessage]:
    """What is in the stream `test:frames:{stream}`, in order."""
    return [decode_message(fields["m"]) for _, fields in client.xrange(f"test:frames:{stream}")]  # type: ignore[misc]


def events_in(client: redis.Redis) -> list[EventMessage]:
    """What is in `test:events`, in order."""
    return [decode_message(fields["m"]) for _, fields in client.xrange("test:events")]  # type: ignore[misc]


def missing(client: redis.Redis, stream: str, last: int) -> set[int]:
    """Which of the frames 1 to `last` are not in the stream."""
    return set(range(1, last + 1)) - set(numbers(frames_in(client, stream)))


def told(client: redis.Redis, stream: str, reason: str) -> set[int]:
    """Which frames the gap events of a stream say are missing for that reason."""
    gaps = [e for e in events_in(client) if isinstance(e, GapEvent) and (e.stream, e.reason) == (stream, reason)]
    frames: set[int] = set()
    for gap in gaps:
        assert gap.what == "frames"
        assert gap.first is not None
        assert gap.last is not None
        assert gap.count == gap.last - gap.first + 1
        frames |= set(range(gap.first, gap.last + 1))
    return frames


def numbers(messages: Sequence[FrameMessage | EventMessage]) -> list[int]:
    return [message.n for message in messages]
