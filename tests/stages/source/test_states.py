from __future__ import annotations

import random

import pytest

from stages.source.backoff import BackOff
from stages.source.gaps import PictureGaps
from stages.source.state import FINAL, MOVES, check_move
from stages.types import Reason, State


def test_every_state_has_its_row_and_final_ones_have_no_way_out() -> None:
    assert set(MOVES) == {None, *State}
    assert all(not MOVES[state] for state in FINAL)


def test_every_state_can_be_reached_and_every_living_one_stopped() -> None:
    reached: set[State | None] = {None}
    for _ in State:
        reached |= {state for start in reached for state in MOVES[start]}
    assert reached == {None, *State}
    assert all(State.STOPPED in MOVES[state] for state in State if state not in FINAL)


@pytest.mark.parametrize(
    ("previous", "state", "reason"),
    [
        (State.ENDED, State.CONNECTING, None),
        (State.CONNECTING, State.STALLED, Reason.STALL),
        (State.STREAMING, State.WAITING, None),
        (None, State.STREAMING, None),
    ],
)
def test_move_that_the_table_lacks_is_our_fault(previous: State | None, state: State, reason: Reason | None) -> None:
    with pytest.raises(ValueError, match=f"a stream cannot go from .* to {state.value} for"):
        check_move(previous, state, reason)


def test_back_off_grows_from_half_a_second_to_thirty_with_jitter() -> None:
    back_off = BackOff(random.Random(1))
    delays = [back_off.delay_s(Reason.REFUSED) for _ in range(12)]
    assert 0.5 <= delays[0] <= 1.0
    assert all(min(30.0, 2.0**index) / 2 <= delay <= min(30.0, 2.0**index) for index, delay in enumerate(delays))
    assert len(set(delays)) == 12


def test_refused_password_waits_thirty_seconds_at_once() -> None:
    back_off = BackOff(random.Random(1))
    assert all(30.0 <= back_off.delay_s(Reason.AUTH) <= 33.0 for _ in range(5))


def test_only_a_steady_connection_makes_the_next_attempt_quick() -> None:
    back_off = BackOff(random.Random(1))
    for _ in range(6):
        back_off.delay_s(Reason.EOF)
    back_off.succeeded(1.0)
    assert back_off.delay_s(Reason.EOF) > 10
    back_off.succeeded(60.0)
    assert back_off.delay_s(Reason.EOF) <= 1.0


def lost(*steps: int) -> list[int]:
    gaps, now, found = PictureGaps(), 0, []
    for step in (0, *steps):
        now += step
        found.append(gaps.see(now))
    return found


def test_gap_in_an_even_stream_counts_the_missing() -> None:
    even = [3600] * 12
    assert lost(*even, 3600 * 4, 3600)[-2:] == [3, 0]
    assert sum(lost(*([3600, 3610, 3590] * 4), 7200, *([3600] * 3), 7200)) == 2


def test_stream_that_changes_its_rate_is_not_judged_for_long() -> None:
    assert sum(lost(*([3600] * 20), *([7200] * 200))) < 12


def test_uneven_or_reordered_stream_is_not_judged() -> None:
    assert sum(lost(*([3600, 9000, 1800, 20000] * 20))) == 0
    assert sum(lost(*([10800, -3600, -3600, 10800] * 20))) == 0


def test_leap_is_no_loss() -> None:
    assert lost(*([3600] * 12), 3600 * 100_000)[-1] == 0
