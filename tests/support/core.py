"""The machine between its sources and its sinks: real lanes, dispatcher and finisher around a scripted engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from engines.options import ModelOptions
from engines.types import Picture
from pipeline.clock import SystemClock
from pipeline.credits import Credits
from pipeline.dispatch import Dispatcher
from pipeline.entrance import Entrance
from pipeline.finish import Finisher
from pipeline.lane import Lane
from pipeline.ledger import Ledger, StreamTotals
from pipeline.outgoing import Outgoing, OutgoingEvent, OutgoingFrame
from pipeline.supervisor import Supervisor
from stages.detect import Detect
from stages.options import TrackOptions
from stages.preprocess import Preprocess
from stages.suppress import Suppress
from stages.track import build_tracker
from stages.types import Clock, ClockKind, Frame, Reason, State, StateChange, StreamId
from tests.support.scripted_engine import GreyPicture, ScriptedEngine

LIMIT_S = 20.0


class Collector:
    """An outlet without a thread: keeps what it is given, settles frames at once or when told to."""

    def __init__(self, ledger: Ledger, name: str = "collector", *, at_once: bool = True) -> None:
        self.name = name
        self.items: list[Outgoing] = []
        self.at_once = at_once
        self._ledger = ledger
        self._waiting: list[OutgoingFrame] = []
        self._changed = threading.Condition()
        ledger.open_sink(name)

    def accept(self, items: Sequence[Outgoing]) -> None:
        for item in items:
            self._accept(item)

    def _accept(self, item: Outgoing) -> None:
        with self._changed:
            self.items.append(item)
            later = isinstance(item, OutgoingFrame) and not self.at_once
            if later:
                self._waiting.append(item)
            self._changed.notify_all()
        if not later:
            self._settle(item)

    def settle_all(self) -> None:
        with self._changed:
            waiting, self._waiting = self._waiting, []
        for item in waiting:
            self._settle(item)

    def bodies(self) -> Sequence[tuple[str, Callable[[], None]]]:
        return ()

    def close(self, deadline_mono_ns: int) -> None:
        self.settle_all()

    def problem(self) -> str | None:
        return None

    def frames(self, stream: str | None = None) -> list[OutgoingFrame]:
        with self._changed:
            return [i for i in self.items if isinstance(i, OutgoingFrame) and stream in (None, i.stream)]

    def events(self) -> list[OutgoingEvent]:
        with self._changed:
            return [item for item in self.items if isinstance(item, OutgoingEvent)]

    def seqs(self, stream: str) -> list[int]:
        return [item.message.seq for item in self.frames(stream)]

    def wait_frames(self, count: int, stream: str | None = None) -> list[OutgoingFrame]:
        """Wait until so many frames are there."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.frames(stream)) >= count, LIMIT_S), self.frames(stream)
            return self.frames(stream)

    def _settle(self, item: Outgoing) -> None:
        self._ledger.delivered(self.name)
        if isinstance(item, OutgoingFrame):
            item.settled(self.name, True)


class Core:
    """`streams`: by name, whether it is a file. Frames go in with `offer`, come out at `outlet`."""

    def __init__(
        self,
        engine: ScriptedEngine,
        streams: Mapping[str, bool],
        *,
        batch_max: int = 8,
        wait_ns: int = 0,
        clock: Clock | None = None,
        credits: int = 8,
    ) -> None:
        self.engine = engine
        self.clock = clock or SystemClock()
        self.ledger = Ledger()
        for name in streams:
            self.ledger.open_stream(StreamId(name))
        self.outlet = Collector(self.ledger)
        suppress = Suppress(engine.spec, ModelOptions(path="none"))
        self.dispatcher = Dispatcher(
            engine,
            Preprocess(engine.spec),
            {StreamId(name): is_file for name, is_file in streams.items()},
            self.clock,
            batch_max=batch_max,
            wait_ns=wait_ns,
        )
        self.finisher = Finisher(
            engine, self.dispatcher, Detect(engine.spec, score=suppress.score), suppress, self.clock
        )
        self.supervisor = Supervisor(self.clock)
        self.credits = {name: Credits(credits) if is_file else None for name, is_file in streams.items()}
        self.lanes: dict[str, Lane] = {}
        self.entrances: dict[str, Entrance] = {}
        for name in streams:
            stream = StreamId(name)
            self.lanes[name] = Lane(
                stream,
                run="r",
                model=engine.spec.name,
                version="v",
                class_names=engine.spec.classes,
                tracker=build_tracker(TrackOptions(), engine.spec.classes),
                memory_s=1.0,
                credits=self.credits[name],
                outlets=(self.outlet,),
                ledger=self.ledger,
                clock=self.clock,
            )
            self.entrances[name] = Entrance(
                stream,
                lane=self.lanes[name],
                dispatcher=self.dispatcher,
                ledger=self.ledger,
                credits=self.credits[name],
            )
        self._seqs = dict.fromkeys(streams, 0)

    def start(self, *, finish: bool = True) -> None:
        self.supervisor.spawn("dispatch", self.dispatcher.run)
        if finish:
            self.start_finish()

    def start_finish(self) -> None:
        self.supervisor.spawn("finish", self.finisher.run)

    def offer(self, stream: str, picture: Picture | None = None) -> int:
        """Offer the stream's next frame, grey of level `seq % 200` if no picture is given; returns its seq."""
        seq = self._seqs[stream]
        self._seqs[stream] += 1
        entrance = self.entrances[stream]
        entrance.decoded(seq)
        assert entrance.wait_credit()
        now_ns = self.clock.mono_ns()
        entrance.offer(
            Frame(
                stream=StreamId(stream),
                run="r",
                epoch=0,
                seq=seq,
                pts=seq,
                time_base=Fraction(1, 25),
                mono_ns=now_ns,
                decoded_ns=now_ns,
                wall_ns=seq * 40_000_000,
                clock=ClockKind.FILE,
                clock_error_ms=0.0,
                picture=picture or GreyPicture(seq % 200),
            )
        )
        return seq

    def change(self, stream: str, state: State, *, previous: State | None = None) -> None:
        self.entrances[stream].state(
            StateChange(
                stream=StreamId(stream), run="r", epoch=0, previous=previous, state=state, reason=Reason.EOF,
                frozen=False, detail="", wall_ns=0,
            )
        )  # fmt: skip

    def totals(self, stream: str) -> StreamTotals:
        return self.ledger.totals().streams[stream]

    def stop(self, *, work_left: bool = False) -> None:
        """End it in order and hold it to the ledger; a thread that failed fails the test."""
        self.dispatcher.close()
        assert self.supervisor.join("dispatch", LIMIT_S) == []
        self.engine.close()
        assert self.supervisor.join("finish", LIMIT_S) == []
        for entrance in self.entrances.values():
            entrance.close(work_left=work_left)
        if self.supervisor.failure is not None:
            raise self.supervisor.failure.error
        self.check()

    def check(self) -> None:
        """Every account balances, nothing is on its way, every credit is back."""
        totals = self.ledger.totals()
        assert totals.problems == []
        assert {name: stream.in_flight for name, stream in totals.streams.items()} == dict.fromkeys(totals.streams, 0)
        assert all(credits is None or credits.all_back() for credits in self.credits.values())
