"""Spool files that no Vedette wrote: found by the fuzzers, or thought of; and who may read those that it did."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path

import pytest

from pipeline.spool import Directory, Spool
from pipeline.spool.record import encode
from pipeline.spool.recovery import Cursor, segment_name
from vedette.errors import SpoolError


def _spool(folder: Path) -> Spool:
    return Spool(Directory(folder), max_bytes=1 << 20, retain_ns=0, now_ns=0, new_id=lambda: "new1")


def test_only_the_owner_may_read_what_happened(tmp_path: Path) -> None:
    """Events say who was where and when; they used to be readable by every user of the machine."""
    before = os.umask(0)
    try:
        spool = _spool(tmp_path / "in" / "spool")
        assert spool.append(b"{}")
        spool.commit()
        (record,), _ = spool.read(1)
        spool.confirm(record, 1)
        spool.close()
    finally:
        os.umask(before)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "in" / "spool").iterdir()}
    assert modes == dict.fromkeys(["lock", "id", "cursor", segment_name(1, "new1", 1)], 0o600)
    assert stat.S_IMODE((tmp_path / "in" / "spool").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["cursor", "id"])
@pytest.mark.parametrize(
    "body",
    [b"", b"[", b"{}", b"[1,2,3]", b'["p",null,""]', b'["../../x",1,""]', b'["p\\u0000",1,""]', b"\xff", b"[" * 5000],
    ids=["empty", "half", "a mapping", "numbers", "null", "a path", "NUL", "not UTF-8", "deep"],
)
def test_a_cursor_or_id_with_a_right_checksum_and_wrong_contents_counts_as_none(
    tmp_path: Path, name: str, body: bytes
) -> None:
    """A file of the eight bytes «00000000», which is nothing's right checksum, kept the process from starting."""
    (tmp_path / name).write_bytes(b"%08x %s" % (zlib.crc32(body), body))
    (tmp_path / segment_name(1, "p", 1)).write_bytes(encode(1, b"one"))

    spool = _spool(tmp_path)
    assert [(record.producer, record.n) for record in spool.read(9)[0]] == [("p", 1)]
    assert spool.append(b"two")
    assert spool.commit() == 1
    spool.close()


@pytest.mark.parametrize(("far", "found"), [(2**64 - 1, [b"one"]), (2**53, [b"one", b"joke"])])
def test_numbers_that_nobody_reaches_are_not_gone_on_with(tmp_path: Path, far: int, found: list[bytes]) -> None:
    """The next record's number would not have fitted into 64 bits, or not into Redis's numbers."""
    (tmp_path / segment_name(1, "p", 1)).write_bytes(encode(1, b"one") + encode(far, b"joke"))

    spool = _spool(tmp_path)
    assert [record.payload for record in spool.read(9)[0]] == found
    assert spool.append(b"two")
    assert spool.commit() == 1
    assert spool.producer == "new1"
    spool.close()


def test_segments_out_of_order_do_not_make_a_number_come_twice(tmp_path: Path) -> None:
    (tmp_path / segment_name(1, "p", 1)).write_bytes(encode(1, b"one") + encode(2, b"two"))
    (tmp_path / segment_name(2, "p", 3)).write_bytes(encode(3, b"three"))
    (tmp_path / segment_name(401, "p", 1)).write_bytes(b"")

    spool = _spool(tmp_path)
    found = [(record.producer, record.n) for record in spool.read(9)[0]]
    assert ("p", 1) in found
    assert (spool.producer, spool.next_n) not in found
    spool.close()


@pytest.mark.parametrize("name", [segment_name(1, "p", 10**20 - 1), segment_name(10**10 - 1, "p", 1)])
def test_names_with_numbers_that_nobody_reaches_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")

    with pytest.raises(SpoolError, match="is none of Vedette's: no spool has come that far"):
        _spool(tmp_path)


def test_a_name_that_cannot_be_printed_is_shown_so_that_it_can(tmp_path: Path) -> None:
    (tmp_path / "a\n\udc9e.v2").write_bytes(b"")

    with pytest.raises(SpoolError, match=r"'a\\n\\udc9e.v2' was written by another version") as got:
        _spool(tmp_path)
    assert all(line.isprintable() for line in got.value.lines())


def test_a_cursor_comes_back_as_it_was() -> None:
    cursor = Cursor("p1", 7, "a server's run id")

    assert Cursor.decode(cursor.encode()) == cursor
    assert Cursor.decode(Cursor().encode()) == Cursor()
