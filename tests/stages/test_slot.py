"""A live stream's slot keeps the newest, a file's keeps all, in order."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.slot import EverySlot, NewestSlot, Slot

ACTIONS = st.lists(st.sampled_from(["put", "put", "take"]), max_size=30)


@pytest.mark.parametrize("slot", [NewestSlot(), EverySlot()], ids=["newest", "every"])
def test_an_empty_slot_has_nothing_to_take(slot: Slot[str]) -> None:
    assert len(slot) == 0
    with pytest.raises(IndexError):
        slot.take()


@given(ACTIONS)
def test_the_newest_slot_holds_one_and_gives_back_what_it_supersedes(actions: list[str]) -> None:
    slot: NewestSlot[int] = NewestSlot()
    held: int | None = None
    for number, action in enumerate(actions):
        if action == "put":
            assert slot.put(number) == held
            held = number
        elif held is not None:
            assert slot.take() == held
            held = None
        assert len(slot) == (held is not None)


@given(ACTIONS)
def test_the_slot_of_a_file_is_a_queue(actions: list[str]) -> None:
    slot: EverySlot[int] = EverySlot()
    model: deque[int] = deque()
    for number, action in enumerate(actions):
        if action == "put":
            assert slot.put(number) is None
            model.append(number)
        elif model:
            assert slot.take() == model.popleft()
        assert len(slot) == len(model)
