"""Counting along, against the plain statement: what is yielded and what is told missing make up the whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.published import event, frame
from vedette.client.sequence import MAX_PRODUCERS, EventSequence, FrameSequence

NUMBERS = st.sets(st.integers(min_value=1, max_value=60), min_size=1).map(sorted)


@given(NUMBERS)
def test_frames_and_gaps_make_up_every_number_from_the_first_on(numbers: list[int]) -> None:
    sequence = FrameSequence("key", "gate")
    told: list[int] = []
    for n in numbers:
        gap = sequence.note(frame(n))
        if gap is not None:
            assert gap.first is not None
            assert gap.last is not None
            assert gap.count == gap.last - gap.first + 1
            told.extend(range(gap.first, gap.last + 1))
        told.append(n)

    assert told == list(range(numbers[0], numbers[-1] + 1))


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.integers(min_value=1, max_value=20)), max_size=60))
def test_events_are_taken_once_and_in_order_for_each_producer_whatever_is_repeated(
    arrivals: list[tuple[str, int]],
) -> None:
    sequence = EventSequence("key")
    taken: dict[str, list[int]] = {}
    missing: dict[str, list[int]] = {}
    for producer, n in arrivals:
        message = event(n, producer)
        if sequence.is_repeat(message):
            assert n <= taken[producer][-1]
            continue
        gap = sequence.note(message)
        if gap is not None:
            assert gap.first is not None
            assert gap.last is not None
            missing.setdefault(producer, []).extend(range(gap.first, gap.last + 1))
        taken.setdefault(producer, []).append(n)

    for producer, numbers in taken.items():
        whole = sorted([*numbers, *missing.get(producer, [])])
        assert whole == list(range(numbers[0], numbers[-1] + 1))


def test_a_suspicion_is_told_only_where_the_numbers_do_not_disprove_it() -> None:
    def after_two(n: int, run: str) -> str | None:
        sequence = FrameSequence("key", "gate")
        sequence.note(frame(2))
        gap = sequence.note(frame(n, run=run), "reset")
        return None if gap is None else f"{gap.first}-{gap.last} {gap.reason}"

    assert after_two(3, "run-1") is None
    assert after_two(5, "run-1") == "3-4 reset"
    assert after_two(1, "run-1") == "None-None reset"
    assert after_two(1, "run-2") == "None-None reset"
    assert after_two(4, "run-2") == "1-3 reset"


def test_messages_without_a_number_are_not_counted() -> None:
    frames, events = FrameSequence("key", "gate"), EventSequence("key")

    assert [frames.note(frame(n)) for n in (1, 0, 2)] == [None, None, None]
    assert [events.is_repeat(event(n)) for n in (0, 0)] == [False, False]
    assert [events.note(event(n)) for n in (1, 0, 2)] == [None, None, None]


def test_producers_without_end_do_not_fill_the_memory() -> None:
    sequence = EventSequence("key")
    for number in range(MAX_PRODUCERS + 10):
        sequence.note(event(1, f"spool-{number}"))

    assert len(sequence._last) == MAX_PRODUCERS
    assert not sequence.is_repeat(event(1, "spool-0"))
    assert sequence.is_repeat(event(1, f"spool-{MAX_PRODUCERS}"))
