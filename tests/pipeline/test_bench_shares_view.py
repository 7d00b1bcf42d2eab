"""What the measurements of isolation and staleness make of what a subscriber read."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bench.faults.subscriber import Seen
from pipeline.bench.shares.footage import long_file
from pipeline.bench.shares.send_queue import queued
from pipeline.bench.shares.view import Missed, Spell, figures, fill, missed, percentile, views, within
from tests.support.media import make_clip
from tests.support.published import event, frame
from tests.support.shares import MS, S, a_view, some_views
from vedette.messages import FrameMessage, encode_message


def seen(message: FrameMessage, at_ns: int) -> Seen:
    return Seen(at_ns=at_ns, era=0, stream=message.stream, id=(0, 0), raw=encode_message(message), message=message)


@pytest.mark.parametrize(("clock", "age_ms"), [("rtcp", 70.0), ("arrival", 170.0)])
def test_a_frame_is_as_old_as_its_time_at_a_receiver_says(clock: str, age_ms: float) -> None:
    message = frame(3, wall_ns=5000 * S, clock=clock, pts=9000, time_base=(1, 90_000), epoch=2)

    (view,) = views([seen(message, 100 * S)], ["gate"], fps=10.0, wall_of_mono_ns=4900 * S + 170 * MS)

    assert view.age_ns == age_ms * MS
    assert (view.media_ns, view.n, view.epoch, view.at_ns) == (S // 10, 3, 2, 100 * S)


def test_other_streams_and_events_have_no_age() -> None:
    other = seen(frame(1, "yard"), S)
    told = Seen(at_ns=S, era=0, stream="events", id=(0, 0), raw=b"", message=event(1))

    assert views([other, told], ["gate"], fps=10.0, wall_of_mono_ns=0) == []


def test_percentiles_are_values_that_were_there() -> None:
    assert [percentile([1.0, 2.0, 3.0, 4.0], percent) for percent in (0, 50, 75, 76, 100)] == [1.0, 2.0, 3.0, 4.0, 4.0]


@given(st.lists(st.floats(0.0, 1e6), min_size=1), st.floats(0.1, 100.0))
def test_so_many_percent_do_not_exceed_a_percentile(values: list[float], percent: float) -> None:
    found = percentile(sorted(values), percent)

    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-6


def test_figures_are_of_ages_in_milliseconds() -> None:
    found = figures([replace(a_view("gate", 0), age_ns=age * MS) for age in range(1, 1001)])

    assert (found.frames, found.p50, found.p95, found.p99, found.max) == (1000, 500.0, 950.0, 990.0, 1000.0)
    with pytest.raises(ValueError, match="no frames"):
        figures([])


def test_a_camera_that_loses_nothing_misses_nothing() -> None:
    assert missed(some_views(["gate", "yard"], range(50)), fps=10.0) == []


def test_a_frame_that_was_superseded_is_missed_though_the_numbers_go_on() -> None:
    frames = [a_view("gate", number) for number in (0, 1, 4)]
    frames[2] = replace(frames[2], n=3)

    assert missed(frames, fps=10.0) == [Missed(stream="gate", at_ns=frames[2].at_ns, frames=2)]


def test_a_frame_that_a_sink_dropped_is_missed_though_it_is_the_last_of_all_to_know() -> None:
    frames = [a_view("gate", number) for number in (0, 1, 3)]

    assert [gap.frames for gap in missed(frames, fps=10.0)] == [1]


@pytest.mark.parametrize(
    "wrong",
    [
        replace(a_view("gate", 2), n=4),
        a_view("gate", 1),
        replace(a_view("gate", 2), run="another"),
        a_view("gate", 2, epoch=1),
    ],
    ids=["number", "twice", "run", "epoch"],
)
def test_a_wrong_number_a_repeat_and_a_new_epoch_are_missed_frames(wrong: object) -> None:
    frames = [a_view("gate", 0), a_view("gate", 1), wrong]

    assert [gap.frames for gap in missed(frames, fps=10.0)] == [1]  # type: ignore[arg-type]


def test_phases_get_what_came_in_them_and_what_was_missed_at_their_edge() -> None:
    frames = [view for view in some_views(["gate"], range(30)) if view.media_ns != S]  # the eleventh
    filed = some_views(["archive"], range(20), fps=20.0)
    spells = [Spell(kind="calm", begin_ns=0, end_ns=S), Spell(kind="killed", begin_ns=S, end_ns=3 * S)]

    calm, killed = fill(spells, frames, missed(frames, fps=10.0), filed)

    assert [len(calm.frames), len(killed.frames)] == [10, 19]
    assert (calm.missed, killed.missed) == (0, 1)
    assert (calm.file_frames, killed.file_frames) == (20, 0)
    assert (calm.slowest_fps(["gate"]), killed.slowest_fps(["gate"])) == (10.0, 9.5)
    assert calm.slowest_fps(["gate", "yard"]) == 0.0


def test_within_is_from_the_begin_to_before_the_end() -> None:
    frames = [replace(a_view("gate", 0), at_ns=at) for at in (9, 10, 19, 20)]

    assert [view.at_ns for view in within(frames, 10, 20)] == [10, 19]


def test_queues_are_those_of_the_servers_connections() -> None:
    table = [
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
        "   0: 0100007F:3A98 00000000:0000 0A 00000000:00000007 00:00000000 00000000     0        0 1",
        "   1: 0100007F:3A98 0100007F:C350 01 00000010:00000001 00:00000000 00000000     0        0 2",
        "   2: 0100007F:C350 0100007F:3A98 01 00000002:00000100 00:00000000 00000000     0        0 3",
        "   3: 0100007F:1F90 0100007F:C351 01 00001000:00001000 00:00000000 00000000     0        0 4",
        "",
    ]

    assert queued([15000], table) == (0x10, 0x100)
    assert queued([15001], table) == (0, 0)


def test_a_long_file_is_the_clip_over_and_over(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=7, size_wh=(64, 48))

    with av.open(str(long_file(clip, tmp_path / "long.mkv", 30))) as container:
        times = [picture.pts for picture in container.decode(video=0)]

    assert len(times) == 30
    assert len({after - before for before, after in itertools.pairwise(times)}) <= 2  # Matroska rounds
    assert times == sorted(times)
