from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from stages.source.rate import RateLimit

SECOND = 1_000_000_000


def kept(fps: float, times_ns: list[int], *, live: bool = False, arrivals_ns: list[int] | None = None) -> list[int]:
    limit = RateLimit(fps, live=live)
    arrivals = times_ns if arrivals_ns is None else arrivals_ns
    return [media for media, mono in zip(times_ns, arrivals, strict=True) if limit.keep(media, mono)]


def even(rate: float, seconds: float) -> list[int]:
    return [round(index * SECOND / rate) for index in range(round(seconds * rate))]


@pytest.mark.parametrize(
    ("rate", "fps"), [(25, 2), (12.5, 10), (30, 25), (29.97, 10), (10, 2), (15, 4), (25, 25), (60, 7), (12, 5), (25, 1)]
)
def test_rate_is_met_within_five_per_cent_and_evenly(rate: float, fps: float) -> None:
    times = kept(fps, even(rate, 60))
    assert len(times) == pytest.approx(60 * fps, rel=0.05)
    period, step = SECOND / fps, SECOND / rate
    assert all(abs(later - earlier - period) <= step + 1 for earlier, later in pairwise(times))


def test_slower_stream_is_not_limited() -> None:
    assert len(kept(10, even(8, 10))) == 80


def test_without_a_limit_everything_is_kept() -> None:
    limit = RateLimit(None, live=True)
    assert all(limit.keep(time_ns, 0) for time_ns in even(25, 1))


def test_jitter_of_the_time_stamps_does_not_halve_the_rate() -> None:
    jitter = [0, 9, -8, 3, -9, 8, -2, 6]
    times = [time_ns + jitter[index % 8] * 1_000_000 for index, time_ns in enumerate(even(25, 40))]
    assert len(kept(25, times)) >= 0.98 * len(times)
    assert len(kept(5, times)) == pytest.approx(200, rel=0.02)


def test_pile_up_at_the_start_of_a_live_stream_is_not_let_through() -> None:
    times = even(25, 3)
    arrivals = [max(time_ns, SECOND) for time_ns in times]  # the first second comes at once
    times_kept = kept(5, times, live=True, arrivals_ns=arrivals)
    assert [time_ns for time_ns in times_kept if time_ns < SECOND] == [0]
    assert len(times_kept) == pytest.approx(1 + 10, abs=1)


def test_after_a_gap_the_limit_goes_on_from_there() -> None:
    times = even(25, 2) + [30 * SECOND + time_ns for time_ns in even(25, 2)]
    times_kept = kept(2, times)
    assert len(times_kept) == 8
    assert times_kept[4] == 30 * SECOND


def test_a_new_time_line_begins_with_its_first_frame() -> None:
    limit = RateLimit(1, live=False)
    assert limit.keep(100 * SECOND, 0)
    assert not limit.keep(100 * SECOND + 1, 0)
    limit.restart()
    assert limit.keep(0, 0)
    assert not limit.keep(40_000_000, 0)


@given(
    steps=st.lists(st.integers(1_000_000, 200_000_000), min_size=2, max_size=300),
    fps=st.floats(0.5, 60, allow_nan=False),
)
def test_never_more_frames_than_the_limit_allows(steps: list[int], fps: float) -> None:
    times = [sum(steps[:index]) for index in range(len(steps))]
    times_kept = kept(fps, times)
    assert times_kept[0] == 0
    # Half a period of tolerance at either end, and one of slack.
    assert len(times_kept) <= times[-1] * fps / SECOND + 2
    assert kept(fps, times) == times_kept


def test_cameras_that_start_together_do_not_stay_in_step() -> None:
    kept = []
    for phase in (0.0, 0.25, 0.5, 0.75):
        limit = RateLimit(2, live=True, phase=phase)
        kept.append([at for at in range(0, 10_000, 100) if limit.keep(at * 1_000_000, at * 1_000_000)])

    assert [times[0] for times in kept] == [0, 0, 0, 0]
    assert all(19 <= len(times) <= 20 for times in kept)
    later = [set(times[1:]) for times in kept]
    assert not set.intersection(*later)
    assert len(set.union(*later)) > 3 * len(later[0])
