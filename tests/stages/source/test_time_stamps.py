from __future__ import annotations

from fractions import Fraction

import hypothesis.strategies as st
from hypothesis import given

from stages.source.time_stamps import TimeStamps, Verdict, media_time_ns

MS = Fraction(1, 1000)
GOOD, UNUSABLE, JUMP = Verdict.GOOD, Verdict.UNUSABLE, Verdict.JUMP


def judge(*pts: int | None, live: bool = True, step_ms: int = 40) -> list[Verdict]:
    """Verdicts on time stamps in milliseconds, of frames that arrive evenly."""
    stamps = TimeStamps(live=live)
    return [stamps.see(value, MS, index * step_ms * 1_000_000) for index, value in enumerate(pts)]


def test_rising_time_stamps_are_good() -> None:
    assert judge(*range(0, 4000, 40)) == [GOOD] * 100


def test_missing_time_stamp_is_of_no_use_and_harms_no_other() -> None:
    assert judge(None, 0, None, 80) == [UNUSABLE, GOOD, UNUSABLE, GOOD]


def test_equal_or_swapped_time_stamps_are_of_no_use() -> None:
    assert judge(0, 40, 40, 20, 80) == [GOOD, GOOD, UNUSABLE, UNUSABLE, GOOD]


def test_restart_from_zero_is_a_new_time_line() -> None:
    assert judge(*range(90_000, 91_000, 40), 0, 40)[-2:] == [JUMP, GOOD]


def test_wrap_of_a_33_bit_counter_is_a_new_time_line() -> None:
    stamps = TimeStamps(live=True)
    base = Fraction(1, 90_000)
    verdicts = [stamps.see((2**33 - 7200 + 3600 * index) % 2**33, base, index * 40_000_000) for index in range(5)]
    assert verdicts == [GOOD, GOOD, JUMP, GOOD, GOOD]


def test_live_leap_ahead_of_what_can_arrive_is_a_new_time_line() -> None:
    assert judge(0, 40, 3_600_000, 3_600_040) == [GOOD, GOOD, JUMP, GOOD]


def test_leap_ahead_in_a_file_is_its_true_time() -> None:
    assert judge(0, 40, 3_600_000, 3_600_040, live=False) == [GOOD] * 4


def test_frames_held_up_in_the_network_are_no_jump() -> None:
    stamps = TimeStamps(live=True)
    second = 1_000_000_000
    verdicts = [stamps.see(index * 1000, MS, max(index, 8) * second) for index in range(1, 20)]
    assert set(verdicts) == {GOOD}


def test_long_outage_with_true_time_stamps_is_no_jump() -> None:
    stamps = TimeStamps(live=True)
    assert stamps.see(0, MS, 0) is GOOD
    assert stamps.see(60_000, MS, 60_000_000_000) is GOOD


def test_alternating_time_stamps_do_not_make_an_epoch_a_frame() -> None:
    verdicts = judge(*[index * 40 + (index % 2) * 1_000_000 for index in range(100)])
    assert verdicts.count(JUMP) <= 4
    assert verdicts[-1] is not None


@given(st.lists(st.one_of(st.none(), st.integers(-(2**40), 2**40)), max_size=80), st.booleans())
def test_good_time_stamps_rise_strictly_until_the_next_jump(values: list[int | None], live: bool) -> None:
    stamps = TimeStamps(live=live)
    last = None
    for index, value in enumerate(values):
        verdict = stamps.see(value, MS, index * 40_000_000)
        if verdict is UNUSABLE:
            continue
        assert value is not None
        assert verdict is JUMP or last is None or value > last
        last = value


def test_media_time_is_exact() -> None:
    assert media_time_ns(90_000 * 3600 * 24 * 365, Fraction(1, 90_000)) == 3600 * 24 * 365 * 1_000_000_000
    assert media_time_ns(1, Fraction(1, 3)) == 333_333_333
