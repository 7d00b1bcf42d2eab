"""Credits bound what is on its way, wake their waiter, and notice one that comes back twice."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.credits import FILE_CREDITS, Credits

LIMIT_S = 20.0


def taking(credits: Credits) -> tuple[threading.Thread, list[bool]]:
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(credits.take()), daemon=True)
    thread.start()
    return thread, got


def test_a_file_has_eight_on_their_way_at_once() -> None:
    assert FILE_CREDITS == 8
    credits = Credits()
    assert all(credits.take() for _ in range(8))
    thread, got = taking(credits)
    thread.join(0.05)
    assert thread.is_alive()
    credits.give_back()
    thread.join(LIMIT_S)
    assert got == [True]


def test_close_wakes_the_waiter_and_nothing_is_given_any_more() -> None:
    credits = Credits(1)
    assert credits.take()
    thread, got = taking(credits)
    credits.close()
    thread.join(LIMIT_S)
    assert got == [False]
    credits.give_back()
    assert credits.all_back()
    assert not credits.take()


def test_a_credit_given_back_twice_is_our_fault() -> None:
    credits = Credits(2)
    credits.take()
    credits.give_back()
    with pytest.raises(RuntimeError, match="given back twice: 2 of 2 are free"):
        credits.give_back()


@given(st.lists(st.sampled_from(["take", "give"]), max_size=60))
def test_it_is_said_each_time_that_all_are_back_and_without_the_lock(actions: list[str]) -> None:
    told: list[bool] = []
    credits = Credits(3, on_all_back=lambda: told.append(credits.all_back()))
    out = expected = 0
    for action in actions:
        if action == "take" and out < 3:
            assert credits.take()
            out += 1
        elif action == "give" and out:
            credits.give_back()
            out -= 1
            expected += out == 0
        assert credits.all_back() == (out == 0)
        assert told == [True] * expected
