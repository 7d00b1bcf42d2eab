"""A lane lets frames and changes of state out in the order in which they came in, whatever order the engine has."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Sequence
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

    def accept(self, items: Sequence[Outgoing]) -> None:
        self.items.extend(items)

    def bodies(self) -> list[object]:
        return []

    def close(self, deadline_mono_ns: int) -> None: ...

    def problem(self) -> str | None:
        return None

    @property
    def frames(self) -> list[OutgoingFrame]:
        return [item for item in self.items if isinstance(item, OutgoingFrame)]

    @property
    def seqs(self) -> list[int]:
        return [item.message.seq for item in self.items if isinstance(item, OutgoingFrame)]

    def events(self, kind: type) -> list:
        return [i.message for i in self.items if isinstance(i, OutgoingEvent) and isinstance(i.message, kind)]


@dataclass(frozen=True, eq=False)
class StillPicture:
    size_wh: tuple[int, int] = (100, 80)

    def planes(self) -> RgbPicture:
        return RgbPicture(rgb=np.zeros((80, 100, 3), np.uint8))

    def release(self) -> None: ...


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
        self.settled: set[tuple[str, int]] = set()
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

    def enter(
        self, seq: int, *, epoch: int = 0, pts: int | None = None, wall_ns: int | None = None, mono_ns: int = 0
    ) -> Job:
        pts = seq * 100 if pts is None else pts
        frame = Frame(
            stream=GATE,
            run="r",
            epoch=epoch,
            seq=seq,
            pts=pts,
            time_base=Fraction(1, 1000),
            mono_ns=mono_ns,
            decoded_ns=mono_ns,
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

    def settle(self) -> None:
        for outlet in self.outlets:
            for item in outlet.items:
                if isinstance(item, OutgoingFrame) and (outlet.name, item.message.seq) not in self.settled:
                    self.settled.add((outlet.name, item.message.seq))
                    item.settled(outlet.name, True)


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
            bench.lane.detected([(job, Detections.empty())])
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
    bench.lane.detected([(second, one())])
    assert bench.outlets[0].seqs == []
    bench.lane.detected([(first, one())])
    assert bench.outlets[0].seqs == [0, 1]


def test_a_credit_comes_back_when_the_slowest_sink_is_done() -> None:
    credits = Credits(2)
    bench = Bench(credits=credits, outlets=2)
    bench.lane.detected([(bench.enter(0), one())])
    fast, slow = (outlet.items[0] for outlet in bench.outlets)
    assert isinstance(fast, OutgoingFrame)
    assert isinstance(slow, OutgoingFrame)
    fast.settled("sink-0", True)
    assert not credits.all_back()
    slow.settled("sink-1", True)
    assert credits.all_back()
    assert bench.lane.latencies.quantiles()["total"].count == 1


def test_what_is_dropped_everywhere_has_no_latency() -> None:
    bench = Bench(outlets=2)
    bench.lane.detected([(bench.enter(0), one())])
    for outlet in bench.outlets:
        outlet.frames[0].settled(outlet.name, False)
    assert bench.lane.latencies.quantiles() == {}


def test_a_time_line_ends_with_the_last_delivery() -> None:
    bench = Bench(outlets=2)
    bench.lane.detected([(bench.enter(0), one())])
    quick, broken = (outlet.frames[0] for outlet in bench.outlets)
    bench.clock.advance(0.01)
    quick.settled("sink-0", True)
    bench.clock.advance(5.0)
    broken.settled("sink-1", False)
    assert bench.lane.latencies.quantiles()["sink"].p50 == pytest.approx(10.0, rel=0.03)


def test_a_sink_that_settles_twice_is_our_fault() -> None:
    bench = Bench(outlets=2)
    bench.lane.detected([(bench.enter(0), one())])
    item = bench.outlets[0].items[0]
    assert isinstance(item, OutgoingFrame)
    item.settled("sink-0", True)
    with pytest.raises(RuntimeError, match="sink sink-0 settled a frame that it had settled before"):
        item.settled("sink-0", True)


def test_the_encoded_message_is_the_message() -> None:
    bench = Bench()
    bench.lane.detected([(bench.enter(0), one())])
    item = bench.outlets[0].items[0]
    assert isinstance(item, OutgoingFrame)
    assert msgspec.json.decode(item.encoded, type=FrameMessage) == item.message
    thing = item.message.objects[0]
    assert (thing.class_, thing.score) == ("person", 0.9)
    assert item.message.size == (100, 80)


@pytest.mark.parametrize("lossless", [True, False])
def test_tracks_survive_a_short_gap_between_epochs_and_end_in_a_long_one(lossless: bool) -> None:
    bench = Bench(memory_s=1.0, credits=Credits() if lossless else None)
    step_ns = 100_000_000
    for seq in range(5):
        bench.lane.detected([(bench.enter(seq, wall_ns=seq * step_ns, mono_ns=seq * step_ns), one())])
        bench.settle()
    # Of a camera, the time of arrival counts; what its clock says of the capture may be of another time line.
    wall_ns, mono_ns = (11, 0) if lossless else (40, 11)
    bench.lane.detected([(bench.enter(5, epoch=1, pts=0, wall_ns=wall_ns * step_ns, mono_ns=mono_ns * step_ns), one())])
    assert bench.outlets[0].events(TrackEnded) == []
    wall_ns, mono_ns = (30, 0) if lossless else (41, 30)
    bench.lane.detected([(bench.enter(6, epoch=2, pts=0, wall_ns=wall_ns * step_ns, mono_ns=mono_ns * step_ns), one())])
    (ended,) = bench.outlets[0].events(TrackEnded)
    assert ended.reason == "gap"
    (started,) = bench.outlets[0].events(TrackStarted)
    assert started.track == ended.track
    last = bench.outlets[0].items[-1]
    assert isinstance(last, OutgoingFrame)
    assert all(thing.track != ended.track for thing in last.message.objects)


def test_a_state_said_by_the_host_ends_no_tracks_of_a_camera_whose_clock_is_behind() -> None:
    bench = Bench(memory_s=1.0)
    start_ns, behind_ns = bench.clock.wall_ns(), 4_000_000_000
    for seq in range(5):
        wall_ns = start_ns - behind_ns + seq * 100_000_000
        bench.lane.detected([(bench.enter(seq, wall_ns=wall_ns, mono_ns=bench.clock.mono_ns()), one())])
        bench.clock.advance(0.1)
    bench.change(State.WAITING, wall_ns=bench.clock.wall_ns())
    assert bench.outlets[0].events(TrackEnded) == []
    bench.clock.advance(2.0)
    bench.change(State.CONNECTING, wall_ns=bench.clock.wall_ns())
    assert [event.reason for event in bench.outlets[0].events(TrackEnded)] == ["gap"]


def test_a_stream_whose_source_is_left_behind_is_said_to_have_stopped() -> None:
    bench = Bench()
    bench.change(State.STREAMING)
    for seq in range(5):
        bench.lane.detected([(bench.enter(seq), one())])
    bench.lane.close()
    bench.lane.close()
    said = [item.message for item in bench.outlets[0].items if isinstance(item, OutgoingEvent)]
    assert [type(message) for message in said] == [RunStarted, StreamState, TrackStarted, TrackEnded, StreamState]
    last = said[-1]
    assert isinstance(last, StreamState)
    assert (last.state, last.previous, last.reason) == ("stopped", "streaming", "operator")
    assert last.wall_ns == bench.clock.wall_ns()


def test_a_stream_that_ended_is_not_said_to_have_stopped() -> None:
    bench = Bench()
    bench.change(State.ENDED)
    bench.lane.close()
    assert [event.state for event in bench.outlets[0].events(StreamState)] == ["ended"]


def test_a_message_that_waits_for_a_slow_sink_does_not_hold_the_decoder_s_picture() -> None:
    bench = Bench()
    job = bench.enter(0)
    picture = weakref.ref(job.frame.picture)
    bench.lane.detected([(job, one())])
    del job
    gc.collect()
    assert bench.outlets[0].seqs == [0]
    assert picture() is None


def test_a_stream_of_one_frame_in_ten_seconds_flows_until_it_stops() -> None:
    bench = Bench()
    rates = []
    for seq in range(4):
        bench.lane.detected([(bench.enter(seq), one())])
        rates.append(bench.lane.report().fps_published)
        bench.clock.advance(10.0)
    assert rates == pytest.approx([0.0, 0.1, 0.1, 0.1])
    bench.clock.advance(5.0)
    assert bench.lane.report().fps_published > 0
    bench.clock.advance(30.0)
    assert bench.lane.report().fps_published == 0.0


def test_tracks_end_before_the_stream_is_said_to_have_ended() -> None:
    bench = Bench()
    bench.change(State.CONNECTING)
    for seq in range(5):
        bench.lane.detected([(bench.enter(seq), one())])
    bench.change(State.ENDED, wall_ns=1)
    kinds = [type(item.message) for item in bench.outlets[0].items if not isinstance(item, OutgoingFrame)]
    assert kinds == [RunStarted, StreamState, TrackStarted, TrackEnded, StreamState]


def test_closing_abandons_what_is_unfinished_and_what_comes_later_is_not_counted_twice() -> None:
    bench = Bench()
    first, second = bench.enter(0), bench.enter(1)
    bench.lane.detected([(second, one())])
    bench.lane.close()
    assert bench.outlets[0].seqs == [1]
    bench.lane.detected([(first, one())])
    bench.lane.failed(first, "engine")
    totals = bench.ledger.totals()
    assert totals.streams[GATE].abandoned == 1
    assert totals.problems == []


def test_lanes_may_be_driven_from_several_threads() -> None:
    bench = Bench()
    jobs = [bench.enter(seq) for seq in range(64)]
    threads = [
        threading.Thread(target=lambda part=jobs[start::4]: [bench.lane.detected([(job, one())]) for job in part])
        for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.outlets[0].seqs == list(range(64))
