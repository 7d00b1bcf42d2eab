"""A lane lets frames and changes of state out in the order in which they came in, whatever order the engine has."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.types import Detections, RgbPicture
from pipeline.credits import Credits
from pipeline.lane import Job, Lane
from pipeline.latency import Stamps
from pipeline.ledger import Ledger
from pipeline.outgoing import Outgoing, OutgoingEvent, OutgoingFrame
from stages.options import TrackOptions
from stages.track import build_tracker
from stages.types import ClockKind, Frame, Reason, State, StateChange, StreamId
from tests.support.clock import FakeClock
from vedette.messages import FrameMessage, RunStarted, StreamState, TrackEnded, TrackStarted

GATE = StreamId("gate")


@dataclass
class Collector:
    """An outlet that keeps what it is given and settles frames when told to."""

    name: str = "collector"
    items: list[Outgoing] = field(default_factory=list)

    def accept(self, item: Outgoing) -> None:
        self.items.append(item)

    def bodies(self) -> list[object]:
        return []

    def close(self, deadline_mono_ns: int) -> None: ...

    def problem(self) -> str | None:
        return None

    @property
    def seqs(self) -> list[int]:
        return [item.message.seq for item in self.items if isinstance(item, OutgoingFrame)]

    def events(self, kind: type) -> list:
        return [i.message for i in self.items if isinstance(i, OutgoingEvent) and isinstance(i.message, kind)]


@dataclass(frozen=True)
class StillPicture:
    size_wh: tuple[int, int] = (100, 80)

    def planes(self) -> RgbPicture:
        return RgbPicture(rgb=np.zeros((80, 100, 3), np.uint8))


class Bench:
    """One lane with its ledger, an outlet or two, and a way to send frames through."""

    def __init__(self, *, credits: Credits | None = None, outlets: int = 1, memory_s: float = 1.0) -> None:
        self.ledger = Ledger()
        self.ledger.open_stream(GATE)
        self.outlets = [Collector(name=f"sink-{index}") for index in range(outlets)]
        for outlet in self.outlets:
            self.ledger.open_sink(outlet.name)
        self.clock = FakeClock()
        self.credits = credits
        self.lane = Lane(
            GATE,
            run="r",
            model="m",
            version="v",
            class_names=("person", "car"),
            tracker=build_tracker(TrackOptions(memory_s=memory_s, confirm_s=0.2), ("person", "car")),
            memory_s=memory_s,
            credits=credits,
            outlets=self.outlets,  # type: ignore[arg-type]
            ledger=self.ledger,
            clock=self.clock,
        )

    def enter(self, seq: int, *, epoch: int = 0, pts: int | None = None, wall_ns: int | None = None) -> Job:
        pts = seq * 100 if pts is None else pts
        frame = Frame(
            stream=GATE,
            run="r",
            epoch=epoch,
            seq=seq,
            pts=pts,
            time_base=Fraction(1, 1000),
            mono_ns=0,
            decoded_ns=0,
            wall_ns=pts * 1_000_000 if wall_ns is None else wall_ns,
            clock=ClockKind.FILE,
            clock_error_ms=0.0,
            picture=StillPicture(),
        )
        self.ledger.decoded(GATE, seq)
        if self.credits is not None:
            assert self.credits.take()
        job = Job(frame=frame, lane=self.lane, stamps=Stamps(arrived_ns=0, decoded_ns=0))
        self.lane.enter(job)
        return job

    def change(self, state: State, *, wall_ns: int = 0) -> None:
        self.lane.state(
            StateChange(
                stream=GATE, run="r", epoch=0, previous=None, state=state, reason=Reason.EOF, frozen=False, detail="",
                wall_ns=wall_ns,
            )
        )  # fmt: skip


def one(x: float = 10.0) -> Detections:
    return Detections(
        xyxy_px=np.array([[x, 10, x + 20, 60]], np.float32),
        scores=np.array([0.9], np.float32),
        class_ids=np.array([0], np.int32),
    )


@given(data=st.data(), kinds=st.lists(st.sampled_from(["frame", "state"]), min_size=1, max_size=12))
def test_everything_comes_out_once_in_the_order_of_its_entering(data: st.DataObject, kinds: list[str]) -> None:
    bench = Bench()
    jobs, expected = [], []
    for index, kind in enumerate(kinds):
        if kind == "frame":
            jobs.append(bench.enter(index))
            expected.append(("frame", index))
        else:
            bench.change(State.STREAMING, wall_ns=index)
            expected.append(("state", index))
    for job in data.draw(st.permutations(jobs)):
        fate = data.draw(st.sampled_from(["detected", "detected", "superseded", "failed", "abandoned"]))
        if fate == "detected":
            bench.lane.detected(job, Detections.empty())
            continue
        expected.remove(("frame", job.frame.seq))
        if fate == "superseded":
            bench.lane.superseded(job)
        elif fate == "failed":
            bench.lane.failed(job, "engine")
        else:
            bench.lane.abandoned(job)
    came_out = []
    for item in bench.outlets[0].items:
        if isinstance(item.message, FrameMessage):
            came_out.append(("frame", item.message.seq))
        elif isinstance(item.message, StreamState):
            came_out.append(("state", item.message.wall_ns))
    assert came_out == expected
    totals = bench.ledger.totals()
    assert totals.problems == []
    assert totals.streams[GATE].in_flight == 0
    numbers = [i.message.n for i in bench.outlets[0].items if isinstance(i.message, FrameMessage)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_frame_waits_for_its_predecessor() -> None:
    bench = Bench()
    first, second = bench.enter(0), bench.enter(1)
    bench.lane.detected(second, one())
    assert bench.outlets[0].seqs == []
    bench.lane.detected(first, one())
    assert bench.outlets[0].seqs == [0, 1]


def test_a_credit_comes_back_when_the_slowest_sink_is_done() -> None:
    credits = Credits(2)
    bench = Bench(credits=credits, outlets=2)
    bench.lane.detected(bench.enter(0), one())
    fast, slow = (outlet.items[0] for outlet in bench.outlets)
    assert isinstance(fast, OutgoingFrame)
    assert isinstance(slow, OutgoingFrame)
    fast.settled("sink-0")
    assert not credits.all_back()
    slow.settled("sink-1")
    assert credits.all_back()
    assert bench.lane.latencies.quantiles()["total"].count == 1


def test_a_sink_that_settles_twice_is_our_fault() -> None:
    bench = Bench(outlets=2)
    bench.lane.detected(bench.enter(0), one())
    item = bench.outlets[0].items[0]
    assert isinstance(item, OutgoingFrame)
    item.settled("sink-0")
    with pytest.raises(RuntimeError, match="sink sink-0 settled a frame that it had settled before"):
        item.settled("sink-0")


def test_the_encoded_message_is_the_message() -> None:
    bench = Bench()
    bench.lane.detected(bench.enter(0), one())
    item = bench.outlets[0].items[0]
    assert isinstance(item, OutgoingFrame)
    assert msgspec.json.decode(item.encoded, type=FrameMessage) == item.message
    thing = item.message.objects[0]
    assert (thing.class_, thing.score) == ("person", 0.9)
    assert item.message.size == (100, 80)


def test_tracks_survive_a_short_gap_between_epochs_and_end_in_a_long_one() -> None:
    bench = Bench(memory_s=1.0)
    for seq in range(5):
        bench.lane.detected(bench.enter(seq), one())
    second_ns = 1_000_000_000
    bench.lane.detected(bench.enter(5, epoch=1, pts=0, wall_ns=second_ns), one())
    assert bench.outlets[0].events(TrackEnded) == []
    bench.lane.detected(bench.enter(6, epoch=2, pts=0, wall_ns=5 * second_ns), one())
    (ended,) = bench.outlets[0].events(TrackEnded)
    assert ended.reason == "gap"
    (started,) = bench.outlets[0].events(TrackStarted)
    assert started.track == ended.track
    last = bench.outlets[0].items[-1]
    assert all(
        thing.track != ended.track for i in [last] if isinstance(i, OutgoingFrame) for thing in i.message.objects
    )


def test_tracks_end_before_the_stream_is_said_to_have_ended() -> None:
    bench = Bench()
    bench.change(State.CONNECTING)
    for seq in range(5):
        bench.lane.detected(bench.enter(seq), one())
    bench.change(State.ENDED, wall_ns=1)
    kinds = [type(item.message) for item in bench.outlets[0].items if not isinstance(item, OutgoingFrame)]
    assert kinds == [RunStarted, StreamState, TrackStarted, TrackEnded, StreamState]


def test_closing_abandons_what_is_unfinished_and_what_comes_later_is_not_counted_twice() -> None:
    bench = Bench()
    first, second = bench.enter(0), bench.enter(1)
    bench.lane.detected(second, one())
    bench.lane.close()
    assert bench.outlets[0].seqs == [1]
    bench.lane.detected(first, one())
    bench.lane.failed(first, "engine")
    totals = bench.ledger.totals()
    assert totals.streams[GATE].abandoned == 1
    assert totals.problems == []


def test_lanes_may_be_driven_from_several_threads() -> None:
    bench = Bench()
    jobs = [bench.enter(seq) for seq in range(64)]
    threads = [
        threading.Thread(target=lambda part=jobs[start::4]: [bench.lane.detected(job, one()) for job in part])
        for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.outlets[0].seqs == list(range(64))
