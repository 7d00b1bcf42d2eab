"""The doors of `tests/fuzz/doors.py`, in make test: what was kept, what is like it, and what a grammar thinks of.

Configuration files and messages have properties of their own besides (tests/pipeline/test_config_properties.py,
tests/vedette/test_messages.py), and so has the spool (test_spool_model.py): here they meet whole, damaged files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.spool.record import encode
from pipeline.spool.recovery import Cursor, segment_name
from tests.fuzz import doors
from tests.fuzz.doors import CORPUS, DOORS, corpus, pack, unpack

EXAMPLES = {"config": 200, "spec": 400, "message": 1000, "spool": 100}


@pytest.mark.parametrize(
    ("door", "path"),
    [(door, path) for door in DOORS for path in corpus(door)],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_was_kept_still_goes_through(door: str, path: Path) -> None:
    DOORS[door](path.read_bytes())


def test_the_corpus_is_small_and_each_part_of_it_has_a_door() -> None:
    assert {path.name for path in CORPUS.iterdir()} == {*DOORS, "bitstream"}
    assert sum(path.stat().st_size for door in (*DOORS, "bitstream") for path in corpus(door)) < 100_000


@pytest.mark.parametrize("door", DOORS)
def test_what_is_like_what_was_kept_goes_through(door: str) -> None:
    """Pieces of the corpus, cut, doubled, joined and overwritten."""
    kept = [path.read_bytes() for path in corpus(door)]

    @settings(max_examples=EXAMPLES[door], derandomize=True, deadline=None)
    @given(_like(kept))
    def feed(data: bytes) -> None:
        DOORS[door](data)

    feed()


@st.composite
def _like(draw: st.DrawFn, kept: list[bytes]) -> bytes:
    data = draw(st.sampled_from(kept))
    for _ in range(draw(st.integers(1, 4))):
        at, size = draw(st.integers(0, len(data))), draw(st.sampled_from([0, 1, 2, 4, 16, 100]))
        other = draw(st.sampled_from(kept))
        start = draw(st.integers(0, len(other)))
        new: bytes = draw(
            st.one_of(
                st.binary(max_size=4),
                st.just(other[start : start + size]),
                st.just(data[at : at + size] * 2),
                st.sampled_from(
                    [
                        b'""',
                        b"null",
                        b"-1",
                        b"9" * 30,
                        b"1e999",
                        b"!!int ",
                        b"&a ",
                        b"*a",
                        b"\xff",
                        b"\\ud800",
                        b"{",
                        b"]",
                    ]
                ),
            )
        )
        data = data[:at] + new + data[at + size :]
    return data


# ── spool files with right checksums and wrong contents ──────────────────────────────────────────────────────────────

_N = st.one_of(st.integers(0, 8), st.sampled_from([2**31, 2**52, 2**52 + 1, 2**53, 2**63, 2**64 - 1]))
_PRODUCERS = st.sampled_from(["p", "q", "new0", "0" * 32])
_RECORDS = st.builds(encode, _N, st.binary(max_size=6))
_JUNK = st.one_of(st.binary(max_size=12), st.builds(lambda record, cut: record[:cut], _RECORDS, st.integers(0, 30)))
_CONTENTS = st.lists(st.one_of(_RECORDS, _RECORDS, _JUNK), max_size=5).map(b"".join)
_NAMES = st.builds(segment_name, st.sampled_from([0, 1, 2, 3, 10**10 - 1]), _PRODUCERS, _N)
_CURSORS = st.builds(lambda *values: Cursor(*values).encode(), _PRODUCERS, _N, st.text("ab\0é", max_size=4))


def _files() -> st.SearchStrategy[dict[str, bytes]]:
    odd = st.sampled_from(["x.v2", "x.v1", ".v9", "0000000001-p-1.v1", "cursor.new", "notes"])
    segments = st.dictionaries(st.one_of(_NAMES, _NAMES, _NAMES, odd), _CONTENTS, max_size=5)
    extras: dict[str, Any] = {"cursor": st.one_of(_CURSORS, _JUNK), "id": st.one_of(_CURSORS, _JUNK)}
    return st.builds(lambda some, more: {**some, **more}, segments, st.fixed_dictionaries({}, optional=extras))


@settings(max_examples=200, derandomize=True, deadline=None)
@given(_files())
def test_a_spool_of_sound_records_in_any_order_is_recovered_or_refused(files: dict[str, bytes]) -> None:
    doors.spool(pack(files))


@given(st.dictionaries(st.sampled_from(["a", "b.v1", "é"]), st.sampled_from([b"", b"\n", b"x\n\ny"])))
def test_files_come_back_from_one_text(files: dict[str, bytes]) -> None:
    assert unpack(pack(files)) == files


# ── the doors themselves ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("door", [doors.spec, doors.message])
def test_a_door_tells_of_an_exception_that_is_none_of_ours(
    door: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise nobody would know that the others find nothing because there is nothing."""

    def broken(*_: object, **__: object) -> None:
        raise KeyError("x")

    for name in ("read_spec", "decode_message"):
        monkeypatch.setattr(doors, name, broken)
    with pytest.raises(KeyError):
        door(b"{}")
