"""What was dropped is told once, exactly, and not too often."""

from __future__ import annotations

import msgspec

from pipeline.gaps import Gaps
from tests.support.outlets import CAPTURE_NS, OBJECT
from vedette.messages import FrameMessage, GapEvent, TrackStarted

FRAME = FrameMessage(
    stream="cam", run="run", epoch=0, seq=1, n=1, pts=1, time_base=(1, 10), wall_ns=CAPTURE_NS, clock="arrival",
    clock_error_ms=1.0, size=(64, 48), model="m", objects=(OBJECT,),
)  # fmt: skip
EVENT = TrackStarted(stream="cam", run="run", wall_ns=CAPTURE_NS, track=1, class_="car", box=OBJECT.box, score=0.5)


def frame(n: int, stream: str = "cam") -> FrameMessage:
    return msgspec.structs.replace(FRAME, n=n, wall_ns=CAPTURE_NS + n, stream=stream)


def always(_: GapEvent) -> bool:
    return True


def ranges(gaps: list[GapEvent]) -> list[tuple[int | None, int | None, int]]:
    return [(gap.first, gap.last, gap.count) for gap in gaps]


def test_frames_dropped_one_after_another_are_one_gap_at_the_last_ones_time() -> None:
    gaps = Gaps(tell_after_ns=10)
    for n in (4, 5, 6):
        gaps.add_frame(frame(n), "redis_away", n)
    assert gaps.next_ns(always) == 14
    assert gaps.take(13, always) == []
    (gap,) = gaps.take(14, always)
    assert (gap.what, gap.first, gap.last, gap.count, gap.reason) == ("frames", 4, 6, 3, "redis_away")
    assert (gap.stream, gap.run, gap.wall_ns) == ("cam", "run", CAPTURE_NS + 6)
    assert not gaps
    assert gaps.next_ns(always) is None


def test_rows_streams_and_reasons_are_kept_apart() -> None:
    gaps = Gaps(tell_after_ns=0)
    gaps.add_frame(frame(1), "redis_away", 0)
    gaps.add_frame(frame(3), "redis_away", 0)
    gaps.add_frame(frame(4), "queue_full", 0)
    gaps.add_frame(frame(4, "gate"), "redis_away", 0)
    assert ranges(gaps.take(0, always)) == [(1, 1, 1), (3, 3, 1), (4, 4, 1), (4, 4, 1)]


def test_many_rows_end_in_one_that_says_how_many_it_stands_for() -> None:
    gaps = Gaps(tell_after_ns=0)
    for n in range(1, 101, 2):
        gaps.add_frame(frame(n), "queue_full", 0)
    told = gaps.take(0, always)
    assert len(told) == 16
    assert ranges(told)[-1] == (31, 99, 35)
    assert sum(gap.count for gap in told) == 50


def test_events_are_counted_and_a_gap_that_could_not_be_told_comes_back() -> None:
    gaps = Gaps(tell_after_ns=0)
    for _ in range(3):
        gaps.add_event(EVENT, "spool_full", 0)
    gaps.add_frame(frame(1), "redis_away", 0)
    told = gaps.take(0, always)
    assert ranges(told) == [(None, None, 3), (1, 1, 1)]
    for gap in told:
        gaps.add_event(gap, "spool_full", 5)
    gaps.add_event(EVENT, "spool_full", 5)
    assert ranges(gaps.take(5, always)) == [(None, None, 4), (1, 1, 1)]


def test_what_may_not_be_told_yet_waits() -> None:
    gaps = Gaps(tell_after_ns=0)
    gaps.add_frame(frame(1), "redis_away", 0)
    assert gaps.take(9, lambda gap: gap.what == "events") == []
    assert gaps.next_ns(lambda gap: gap.what == "events") is None
    assert len(gaps.take(9, always)) == 1
