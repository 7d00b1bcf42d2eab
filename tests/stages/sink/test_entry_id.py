"""Ids of frame entries rise, whatever the clocks do."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from stages.sink.entry_id import NONE, EntryId, id_after

MS = 1_000_000
times = st.integers(0, 4_000_000_000_000 * MS)


@given(st.lists(st.tuples(times, times)))
def test_ids_rise_strictly_and_stay_within_a_second_of_the_host_unless_they_must(
    frames: list[tuple[int, int]],
) -> None:
    ids = [NONE]
    for capture_ns, now_ns in frames:
        ids.append(id_after(ids[-1], capture_ns, now_ns))
        assert ids[-1].ms <= max(ids[-2].ms, now_ns // MS + 1000)
        assert ids[-1].ms >= ids[-2].ms
    assert all(before < after for before, after in itertools.pairwise(ids))


def test_the_id_is_the_capture_time_where_it_can_be() -> None:
    assert id_after(EntryId(5, 3), 9 * MS, 10 * MS) == EntryId(9, 0)
    assert id_after(EntryId(9, 3), 9 * MS, 10 * MS) == EntryId(9, 4)
    assert id_after(EntryId(9, 3), 2 * MS, 10 * MS) == EntryId(9, 4)
    assert id_after(NONE, 5000 * MS, 10 * MS) == EntryId(1010, 0)
    assert id_after(NONE, 0, 0) == EntryId(0, 1)


def test_ids_read_and_write_as_redis_does() -> None:
    assert str(EntryId(12, 3)) == "12-3"
    assert EntryId.parse("12-3") == EntryId(12, 3)
