"""The whole machine with everything that can go differently: engine, sinks, sources and the stop, in any order.

Real threads, a scripted engine, scripted sources and sinks. Whatever happens, the ledger balances at every moment, each
stream's frames come out in order with what was seen in them, a file loses nothing before a stop, every credit comes
back, and nothing blocks.
"""

from __future__ import annotations

import faulthandler
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from engines.options import ModelOptions
from pipeline.assembly import Machine, Outcome
from pipeline.clock import SystemClock
from pipeline.config import BatchOptions, Config
from pipeline.ledger import Ledger
from pipeline.outgoing import Outgoing, OutgoingEvent, OutgoingFrame
from stages.options import JsonlSinkOptions, StreamOptions
from stages.source import ConnectionInfo, Decoded, Trouble
from stages.types import Clock, Reason, StreamId
from tests.support.scripted_engine import GreyPicture, ScriptedEngine, level_of, one_box_each
from vedette.errors import EngineError, PictureError, SourceError
from vedette.messages import FrameMessage, RunStarted, StreamState
from vedette.secrets import SecretUrl

LIMIT_S = 20.0
FINAL = {"ended", "failed", "stopped"}
MS = Fraction(1, 1000)


class HastyClock(SystemClock):
    """The host's clock, but whoever waits for a time to pass is back at once."""

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(min(timeout_s, 0.001))


@dataclass(frozen=True)
class Source:
    """What one stream does: frames, and at some of them something odd."""

    is_file: bool
    frames: int
    odd: dict[int, str]
    paced: bool


@dataclass
class Connected:
    """One connection; each break happens once, after that the stream is read from its beginning."""

    plan: Source
    stop: threading.Event
    broken: set[int]
    info: ConnectionInfo = field(default_factory=lambda: ConnectionInfo(codec="grey", finite=True))

    def pictures(self) -> Iterator[Decoded | Trouble]:
        for number in range(self.plan.frames):
            odd = self.plan.odd.get(number, "")
            if self.stop.is_set() and not self.plan.is_file:
                return
            if odd == "trouble":
                yield Trouble(kind="lost", count=2)
            if odd == "broken" and not self.plan.is_file and number not in self.broken:
                self.broken.add(number)
                raise SourceError("it broke off", reason=Reason.STALL.value, fatal=number % 2 == 0)
            if self.plan.paced:
                self.stop.wait(0.0005)
            error = PictureError("odd format") if odd == "unfit" else None
            yield Decoded(
                pts=None if odd == "untimed" else number * 40,
                time_base=MS,
                mono_ns=0,
                decoded_ns=0,
                picture=GreyPicture(number % 200, error),
            )

    def close(self) -> None: ...


@dataclass
class Sink:
    """An outlet with a thread that settles what waits in an order of its own; `stuck` ones from a frame on not at all,
    until they are closed."""

    name: str
    ledger: Ledger
    rng: random.Random
    stuck_after: int | None
    lease_lost: tuple[str, int] | None
    on_leased: Callable[[StreamId], None]
    accepted: list[Outgoing] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        self.ledger.open_sink(self.name)
        self._changed = threading.Condition()
        self._queue: deque[Outgoing] = deque()
        self._done = 0

    def accept(self, items: Sequence[Outgoing]) -> None:
        for item in items:
            self._accept(item)

    def _accept(self, item: Outgoing) -> None:
        with self._changed:
            self.accepted.append(item)
            refused = self.closed
            dropped = isinstance(item, OutgoingFrame) and not item.lossless and len(self._queue) > 6
            if not refused and not dropped:
                self._queue.append(item)
            self._changed.notify()
        if refused or dropped:
            self.ledger.dropped(self.name, "shutdown" if refused else "queue_full")
            if isinstance(item, OutgoingFrame):
                item.settled(self.name, False)

    def bodies(self) -> Sequence[tuple[str, Callable[[], None]]]:
        return ((f"sink:{self.name}", self.run),)

    def close(self, deadline_mono_ns: int) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify()

    def problem(self) -> str | None:
        return None

    def run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self.closed or (self._queue and not self._is_stuck()))
                if not self._queue:
                    return
                stuck = self._is_stuck()
                item = self._queue[index := self.rng.randrange(len(self._queue))]
                del self._queue[index]
                self._done += 1
            if self.lease_lost is not None and (item.stream, self._done) >= self.lease_lost:
                self.on_leased(StreamId(self.lease_lost[0]))
            if stuck:
                self.ledger.dropped(self.name, "shutdown")
            else:
                self.ledger.delivered(self.name)
            if isinstance(item, OutgoingFrame):
                item.settled(self.name, not stuck)

    def _is_stuck(self) -> bool:
        return self.stuck_after is not None and self._done >= self.stuck_after


@dataclass(frozen=True)
class Plan:
    sources: tuple[Source, ...]
    sinks: int
    stuck_after: int | None
    lease_lost: tuple[str, int] | None
    buffers: int
    batch: int
    wait_ms: float
    engine_fails: int
    engine_refuses: int
    stop_after: int | None
    seed: int


ODD = st.dictionaries(st.integers(0, 30), st.sampled_from(["unfit", "untimed", "trouble", "broken"]), max_size=4)
SOURCES = st.builds(Source, is_file=st.booleans(), frames=st.integers(1, 40), odd=ODD, paced=st.booleans())
PLANS = st.builds(
    Plan,
    sources=st.lists(SOURCES, min_size=1, max_size=4).map(tuple),
    sinks=st.integers(1, 2),
    stuck_after=st.none() | st.integers(0, 30),
    lease_lost=st.none() | st.tuples(st.sampled_from(["s0", "s1"]), st.integers(1, 30)),
    buffers=st.integers(1, 4),
    batch=st.sampled_from([1, 1, 3]),
    wait_ms=st.sampled_from([0.0, 0.0, 1.0]),
    engine_fails=st.sampled_from([0, 0, 3, 7]),
    engine_refuses=st.sampled_from([0, 0, 2, 5]),
    stop_after=st.none() | st.integers(0, 60),
    seed=st.integers(0, 2**16),
)


# Threads make examples differ from run to run, and one that blocks takes its time: the first that fails must do.
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)


class Run:
    """One run of a plan, held to what must be true of every run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.names = [f"s{index}" for index in range(len(plan.sources))]
        self.by_id = dict(zip(self.names, plan.sources, strict=True))
        self.broken: dict[str, set[int]] = {name: set() for name in self.names}
        self.sinks: list[Sink] = []
        self.wrong: list[str] = []
        self.over = threading.Event()
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        rng = random.Random(plan.seed)
        self.engine = ScriptedEngine(
            look=self._look,
            buffers=plan.buffers,
            batch=plan.batch,
            pick=rng.randrange,
            refuse=self._refuse,
            gather_s=0.0005,
        )
        self._looked = self._submitted = 0
        streams = tuple(
            StreamOptions(id=name, url=SecretUrl(f"none/{name}.mkv"), mode="file" if source.is_file else "live")
            for name, source in self.by_id.items()
        )
        config = Config(
            version=1,
            model=ModelOptions(path="none"),
            batch=BatchOptions(max=plan.batch, wait_ms=plan.wait_ms),
            streams=streams,
            sinks=(JsonlSinkOptions(path="none"),),
            shutdown_s=30.0,
        )
        self.machine = Machine(
            config,
            clock=HastyClock(),
            opener=self._open,
            engine_opener=lambda *_, **__: self.engine,
            outlet_builder=self._build_sinks,
        )

    def go(self) -> Run:
        thread = threading.Thread(target=self._body, daemon=True)
        thread.start()
        thread.join(LIMIT_S)
        if thread.is_alive():
            faulthandler.dump_traceback(all_threads=True)
            raise AssertionError(f"it blocks; {self.machine.ledger.totals()}")
        if self.error is not None and not isinstance(self.error, EngineError):
            raise self.error
        return self

    def _body(self) -> None:
        try:
            self.outcome = self.machine.run(beside=[("watch", self._watch)], on_end=self.over.set)
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            self.error = error
        finally:
            self.over.set()

    def _watch(self) -> None:
        """Look at the ledger all the time; stop when as many frames are published as the plan says."""
        stop_after = self.plan.stop_after
        if stop_after is None and self.plan.stuck_after is not None:
            stop_after = 20  # what is stuck for ever ends by a stop alone
        patience = 60
        while not self.over.wait(0.001):
            totals = self.machine.status().ledger
            self.wrong += totals.problems
            patience -= 1
            if stop_after is not None and (totals.published >= stop_after or patience == 0):
                self.machine.request_stop()

    def _open(self, options: StreamOptions, clock: Clock, stop: threading.Event) -> Connected:
        return Connected(self.by_id[options.id], stop, self.broken[options.id])

    def _build_sinks(self, *_: object, on_leased: Callable[[StreamId], None], **__: object) -> list[Sink]:
        self.sinks = [
            Sink(
                f"sink{index}",
                # the machine's own ledger is built before its sinks
                __["ledger"],  # type: ignore[arg-type]
                random.Random(self.plan.seed + index),
                self.plan.stuck_after if index == 0 else None,
                self.plan.lease_lost if index == 0 else None,
                on_leased if self.plan.lease_lost and self.plan.lease_lost[0] in self.names else lambda _: None,
            )
            for index in range(self.plan.sinks)
        ]
        return self.sinks

    def _look(self, pictures: object) -> object:
        self._looked += 1
        if self.plan.engine_fails and self._looked % self.plan.engine_fails == 0:
            return EngineError("failed as planned")
        return one_box_each(pictures)  # type: ignore[arg-type]

    def _refuse(self) -> EngineError | None:
        self._submitted += 1
        if self.plan.engine_refuses and self._submitted % self.plan.engine_refuses == 0:
            return EngineError("refused as planned")
        return None

    # ── what must be true ────────────────────────────────────────────────────────────────────────────────────────

    def check_accounts(self) -> None:
        assert self.wrong == []
        totals = self.machine.ledger.totals()
        assert totals.problems == []
        for name, stream in totals.streams.items():
            assert stream.in_flight == 0, name
            source = self.by_id[name]
            assert stream.superseded == 0 or not source.is_file
        for sink in totals.sinks.values():
            assert sink.waiting == 0
        for stream in self.machine._streams.values():
            assert stream.entrance.is_settled()
        alive = {thread.name for thread in threading.enumerate()}
        assert not alive & set(self.machine.thread_ids())

    def check_order(self) -> None:
        for sink in self.sinks:
            for name in self.names:
                items = [item for item in sink.accepted if item.stream == name]
                frames = [item.message for item in items if isinstance(item, OutgoingFrame)]
                assert [frame.n for frame in frames] == list(range(1, len(frames) + 1))
                seqs = [frame.seq for frame in frames]
                assert seqs == sorted(set(seqs))
                order = [(frame.epoch, frame.pts) for frame in frames]
                assert order == sorted(set(order))
                for frame in frames:
                    assert isinstance(frame, FrameMessage)
                    (thing,) = frame.objects
                    assert level_of(thing.box[0]) == frame.pts // 40 % 200
                events = [item.message for item in items if isinstance(item, OutgoingEvent)]
                assert [isinstance(event, RunStarted) for event in events].count(True) == 1
                assert isinstance(events[0], RunStarted)
                states = [event.state for event in events if isinstance(event, StreamState)]
                assert states[-1] in FINAL
                assert not FINAL & set(states[:-1])
                assert isinstance(items[-1].message, StreamState)
        accepted = [[(item.stream, item.message) for item in sink.accepted] for sink in self.sinks]
        assert all(len(items) == len(accepted[0]) for items in accepted)

    def check_files(self) -> None:
        """Without a stop every frame of a file is published, or failed for its own sake."""
        assert self.outcome is not None
        if self.plan.stop_after is not None or self.plan.stuck_after is not None:
            return
        for name, source in self.by_id.items():
            if not source.is_file or name in self.outcome.failed:
                continue
            totals = self.outcome.ledger.streams[name]
            assert totals.decoded == source.frames
            assert totals.abandoned == 0
            assert totals.published + sum(totals.failed.values()) == source.frames
            odd = [source.odd.get(number, "") for number in range(source.frames)]
            assert totals.failed.get("pixel_format", 0) == odd.count("unfit")
            assert totals.failed.get("no_timestamp", 0) == odd.count("untimed")
            assert totals.packets_lost == 2 * odd.count("trouble")
            assert totals.failed.get("engine", 0) == 0 or self.plan.engine_fails or self.plan.engine_refuses


@settings(max_examples=60, phases=NO_SHRINKING)
@given(PLANS)
def test_whatever_happens_the_machine_keeps_its_promises(plan: Plan) -> None:
    run = Run(plan).go()
    run.check_accounts()
    run.check_order()
    assert run.outcome is not None
    assert run.outcome.ledger_problems == []
    assert run.outcome.left_behind == ()
    run.check_files()


@settings(max_examples=15, phases=NO_SHRINKING)
@given(PLANS.filter(lambda plan: any(source.is_file and source.frames > 10 for source in plan.sources)), st.booleans())
def test_a_broken_engine_ends_the_run_with_its_error_and_every_frame_is_accounted_for(
    plan: Plan, refuses: bool
) -> None:
    run = Run(plan)
    broken = EngineError("broken for good")
    if refuses:
        run.engine._refuse = lambda: broken
    else:
        run.engine._look = lambda _: broken
    run.go()
    if run.plan.stop_after is None and run.plan.stuck_after is None and run.plan.lease_lost is None:
        assert run.error is not None
        assert "broken for good" in str(run.error)
    run.check_accounts()
    run.check_order()
