from __future__ import annotations

import random
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from stages.source.capture_time import CaptureTime, FileCapture, LiveCapture
from stages.types import ClockKind

SECOND = 1_000_000_000
MS = 1_000_000
WALL = 1_795_219_200 * SECOND  # what the wall clock shows when the monotonic clock shows 0
RTCP, ARRIVAL = ClockKind.RTCP, ClockKind.ARRIVAL


def see(capture: LiveCapture, media_ns: int, mono_ns: int, rtcp_ns: int | None = None) -> CaptureTime:
    return capture.see(media_ns=media_ns, mono_ns=mono_ns, wall_of_mono_ns=WALL, rtcp_wall_ns=rtcp_ns)


def test_arrival_times_are_smoothed_against_the_time_stamps() -> None:
    """Frames taken every 40 ms, up to 30 ms late: after a second the jitter is gone from the capture times."""
    rng = random.Random(1)
    capture = LiveCapture(5.0)
    for index in range(200):
        taken = index * 40 * MS
        late = 0 if index % 17 == 0 else rng.randrange(30 * MS)
        seen = see(capture, taken + 7 * SECOND, taken + late)
        assert seen.clock is ARRIVAL
        if index > 25:
            assert abs(seen.wall_ns - WALL - taken) < MS
            assert 30 <= seen.error_ms <= 75


@pytest.mark.parametrize("ppm", [-300, 300, 5000])
def test_camera_whose_time_stamps_run_slow_or_fast_is_followed(ppm: int) -> None:
    capture = LiveCapture(5.0)
    for index in range(25 * 300):
        mono = index * 40 * MS
        seen = see(capture, mono - mono * ppm // 1_000_000, mono)
    assert abs(seen.wall_ns - WALL - mono) < 60 * MS


def test_camera_clock_within_the_tolerance_is_taken() -> None:
    capture = LiveCapture(5.0)
    seen = see(capture, 0, 40 * MS, WALL)
    assert (seen.wall_ns, seen.clock) == (WALL, RTCP)
    assert seen.error_ms == 40.0
    assert capture.clock_off_s is None


def test_camera_clock_outside_the_tolerance_is_not_taken_and_named() -> None:
    capture = LiveCapture(5.0)
    seen = see(capture, 0, 40 * MS, WALL + 3600 * SECOND)
    assert (seen.wall_ns, seen.clock) == (WALL + 40 * MS, ARRIVAL)
    assert capture.clock_off_s == pytest.approx(3599.96)
    assert see(capture, 40 * MS, 80 * MS, WALL + 40 * MS).clock is RTCP
    assert capture.clock_off_s is None


def test_network_that_held_up_packets_does_not_discredit_the_camera_clock() -> None:
    capture = LiveCapture(5.0)
    for index in range(50):
        see(capture, index * 40 * MS, index * 40 * MS, WALL + index * 40 * MS)
    late = see(capture, 2000 * MS, 9000 * MS, WALL + 2000 * MS)
    assert (late.wall_ns, late.clock) == (WALL + 2000 * MS, RTCP)


def test_first_report_that_sets_the_time_back_does_not_move_it_backwards() -> None:
    """What piled up while connecting looks younger than it is; then the camera says how old it is."""
    capture = LiveCapture(5.0)
    times = [see(capture, index * 40 * MS, SECOND) for index in range(25)]
    times += [
        see(capture, index * 40 * MS, SECOND + (index - 24) * 40 * MS, WALL + index * 40 * MS - 300 * MS)
        for index in range(25, 80)
    ]
    walls = [seen.wall_ns for seen in times]
    assert all(earlier < later for earlier, later in pairwise(walls))
    assert times[25].error_ms >= 300
    assert times[-1].wall_ns == WALL + 79 * 40 * MS - 300 * MS


@given(
    frames=st.lists(
        st.tuples(
            st.integers(1, SECOND),  # step of the time stamps
            st.integers(0, 2 * SECOND),  # step of the arrivals
            st.one_of(st.none(), st.integers(-20 * SECOND, 20 * SECOND)),  # camera's clock against ours
            st.integers(-10 * SECOND, 10 * SECOND),  # step of the host's wall clock
        ),
        max_size=60,
    ),
    tolerance_s=st.floats(0.001, 10),
)
def test_capture_times_rise_and_say_where_they_are_from(
    frames: list[tuple[int, int, int | None, int]], tolerance_s: float
) -> None:
    capture = LiveCapture(tolerance_s)
    media = mono = 0
    last_ns = None
    for media_step, mono_step, off, wall_step in frames:
        media, mono = media + media_step, mono + mono_step
        rtcp_ns = None if off is None else WALL + mono + off
        seen = capture.see(media_ns=media, mono_ns=mono, wall_of_mono_ns=WALL + wall_step, rtcp_wall_ns=rtcp_ns)
        assert last_ns is None or seen.wall_ns > last_ns
        assert seen.error_ms >= 1.0
        if rtcp_ns is None:
            assert seen.clock is ARRIVAL
        elif seen.clock is RTCP:
            assert capture.clock_off_s is None
            forced = last_ns is not None and seen.wall_ns == last_ns + 1000
            assert seen.wall_ns == rtcp_ns or forced
        else:
            assert capture.clock_off_s is not None
            assert abs(capture.clock_off_s) >= tolerance_s * 0.999
        last_ns = seen.wall_ns


@given(st.lists(st.tuples(st.integers(1, SECOND), st.integers(0, SECOND)), min_size=1, max_size=60))
def test_capture_is_never_later_than_arrival_without_a_camera_clock(steps: list[tuple[int, int]]) -> None:
    capture = LiveCapture(5.0)
    media = mono = 0
    for index, (media_step, mono_step) in enumerate(steps):
        media, mono = media + media_step, mono + mono_step
        seen = see(capture, media, mono)
        assert seen.wall_ns <= WALL + mono + 1000 * index


def test_file_times_are_its_start_and_its_time_stamps() -> None:
    capture = FileCapture(WALL)
    assert capture.last_wall_ns == WALL
    times = [capture.see(media) for media in (7 * SECOND, 7 * SECOND + 40 * MS, 9 * SECOND)]
    assert [seen.wall_ns - WALL for seen in times] == [0, 40 * MS, 2 * SECOND]
    assert {(seen.clock, seen.error_ms) for seen in times} == {(ClockKind.FILE, 0.0)}


def test_file_whose_time_stamps_begin_anew_goes_on_where_it_was() -> None:
    capture = FileCapture(WALL)
    for media in (0, 40 * MS, 80 * MS):
        capture.see(media)
    capture.begin_anew()
    assert [capture.see(media).wall_ns - WALL for media in (0, 40 * MS)] == [120 * MS, 160 * MS]
