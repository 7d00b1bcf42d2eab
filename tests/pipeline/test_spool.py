"""The spool on a real file system, and the single behaviours that the model test only finds by chance."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.spool import Directory, Spool
from pipeline.spool.record import HEAD_BYTES, encode
from tests.support.model_disk import ModelDisk
from vedette.errors import SpoolError

SECOND = 1_000_000_000
RETAIN_NS = 10 * SECOND

OpenSpool = Callable[..., Spool]


@pytest.fixture
def open_spool(tmp_path: Path) -> Iterator[OpenSpool]:
    opened: list[Spool] = []
    ids = (f"spool{number}" for number in itertools.count())

    def open_it(max_bytes: int = 1 << 20, now_ns: int = 0) -> Spool:
        for spool in opened:
            spool.close()
        spool = Spool(
            Directory(tmp_path / "spool"),
            max_bytes=max_bytes,
            retain_ns=RETAIN_NS,
            now_ns=now_ns,
            new_id=lambda: next(ids),
        )
        opened.append(spool)
        return spool

    yield open_it
    for spool in opened:
        spool.close()


def put(spool: Spool, *texts: str) -> None:
    for text in texts:
        assert spool.append(text.encode())
    assert spool.commit() == len(texts)


def texts(spool: Spool) -> list[str]:
    return [record.payload.decode() for record in spool.read(1000)[0]]


def confirm_all(spool: Spool, now_ns: int) -> None:
    records, _ = spool.read(100_000)
    for record in records:
        spool.confirm(record, now_ns)


def segments(spool_path: Path) -> list[Path]:
    return sorted(path for path in spool_path.iterdir() if path.name.endswith(".v1"))


def test_what_was_committed_is_there_after_a_restart_with_its_numbers(open_spool: OpenSpool) -> None:
    spool = open_spool()
    put(spool, "a", "b")
    spool.append(b"never committed")
    again = open_spool()
    assert again.recovery.pending == 2
    assert again.producer == again.id == spool.id
    assert again.next_n == 3
    put(again, "c")
    assert [(r.serial, r.n, r.payload) for r in again.read(10)[0]] == [(0, 1, b"a"), (1, 2, b"b"), (2, 3, b"c")]


def test_numbers_go_on_when_everything_has_been_delivered_and_removed(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool(max_bytes=1000)
    for number in range(40):
        put(spool, f"event {number}" + "." * 50)
        confirm_all(spool, now_ns=number * 20 * SECOND)
        spool.release(number * 20 * SECOND)
    assert len(segments(tmp_path / "spool")) <= 2
    assert open_spool().next_n == 41


def test_a_confirmed_record_is_not_pending_after_a_restart_but_still_kept(open_spool: OpenSpool) -> None:
    spool = open_spool()
    put(spool, "a", "b", "c")
    records, _ = spool.read(2)
    spool.confirm(records[1], 0)
    again = open_spool()
    assert (again.recovery.pending, again.recovery.retained) == (1, 2)
    assert texts(again) == ["c"]
    assert again.rewind("another server", 0) == 2
    assert texts(again) == ["a", "b", "c"]


def test_another_server_gets_what_was_confirmed_within_the_time_and_nothing_older(open_spool: OpenSpool) -> None:
    spool = open_spool()
    for number in range(4):
        put(spool, f"event {number}")
        confirm_all(spool, now_ns=number * 4 * SECOND)
    assert spool.rewind("another server", 11 * SECOND) == 3
    assert texts(spool) == ["event 1", "event 2", "event 3"]
    assert [record.n for record in (spool.rewind("a third", 11 * SECOND), spool.read(9)[0])[1]] == [2, 3, 4]


def test_segments_go_when_their_time_is_over_and_not_before(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool(max_bytes=8000)
    for _ in range(6):
        put(spool, "." * 700)
    assert spool.next_release_ns() is None
    confirm_all(spool, now_ns=5 * SECOND)
    due = spool.next_release_ns()
    assert due == 5 * SECOND + RETAIN_NS
    spool.release(due - 1)
    assert len(segments(tmp_path / "spool")) == 6
    spool.release(due)
    assert len(segments(tmp_path / "spool")) == 1
    assert spool.next_release_ns() is None


def test_a_full_spool_refuses_new_events_keeps_the_old_and_recovers(open_spool: OpenSpool) -> None:
    spool = open_spool(max_bytes=2000)
    taken = 0
    while spool.append(f"event {taken}".encode()):
        taken += 1
    spool.commit()
    assert spool.next_n == taken + 1
    confirm_all(spool, now_ns=0)
    assert not spool.append(b"not yet: kept for another server")
    spool.release(RETAIN_NS)
    put(spool, "room again")
    assert open_spool(max_bytes=2000).next_n == taken + 2


def test_a_recovered_spool_that_is_full_of_old_records_gets_free_too(open_spool: OpenSpool) -> None:
    spool = open_spool(max_bytes=2000)
    while spool.append(b"." * 100):
        pass
    spool.commit()
    again = open_spool(max_bytes=2000)
    confirm_all(again, now_ns=0)
    again.release(RETAIN_NS)
    assert again.append(b"room again")


def test_a_second_process_is_told_who_has_the_spool(open_spool: OpenSpool, tmp_path: Path) -> None:
    open_spool()
    script = (
        "import pathlib, sys; from pipeline.spool import Directory; from vedette.errors import SpoolError\n"
        "try: Directory(pathlib.Path(sys.argv[1]))\n"
        "except SpoolError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "spool")], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"spool {tmp_path / 'spool'}: in use by process {os.getpid()}\n"
    with pytest.raises(SpoolError, match="in use by another sink of this process"):
        Directory(tmp_path / "spool")


def test_a_path_that_is_no_directory_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match=r"file/spool: cannot be opened: Not a directory"):
        Directory(tmp_path / "file" / "spool")


def test_files_of_a_later_version_are_refused_by_name(open_spool: OpenSpool, tmp_path: Path) -> None:
    open_spool().close()
    (tmp_path / "spool" / "0000000001-x-00000000000000000001.v2").write_bytes(b"?")
    with pytest.raises(SpoolError, match=r"another version of Vedette \(got v2, expected v1\)"):
        open_spool()


def test_a_record_cut_off_anywhere_was_never_promised_and_its_number_is_used_again(
    open_spool: OpenSpool, tmp_path: Path
) -> None:
    spool = open_spool()
    put(spool, "a", "b")
    (segment,) = segments(tmp_path / "spool")
    whole = segment.read_bytes()
    torn = encode(3, b"torn")
    for length in range(1, len(torn)):
        segment.write_bytes(whole + torn[:length])
        again = open_spool()
        assert (again.recovery.pending, again.recovery.lost, again.next_n) == (2, (), 3)
        assert again.producer == spool.producer
        assert len(again.recovery.notes) == 1


def test_any_flipped_bit_is_seen_and_only_its_record_is_lost(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool()
    put(spool, "first", "second", "third")
    (segment,) = segments(tmp_path / "spool")
    whole = segment.read_bytes()
    size = HEAD_BYTES + len("first")
    for bit in range(size * 8):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        segment.write_bytes(changed)
        again = open_spool()
        assert texts(again) == ["second", "third"]
        (lost,) = again.recovery.lost
        assert (lost.producer, lost.first, lost.last, lost.count) == (spool.producer, 1, 1, 1)
        assert again.next_n == 4


def test_a_change_in_the_last_record_is_told_and_its_number_is_never_given_again(
    open_spool: OpenSpool, tmp_path: Path
) -> None:
    spool = open_spool()
    put(spool, "first", "last")
    (segment,) = segments(tmp_path / "spool")
    changed = bytearray(segment.read_bytes())
    changed[-1] ^= 1
    segment.write_bytes(changed)
    again = open_spool()
    (lost,) = again.recovery.lost
    assert (lost.producer, lost.first, lost.last) == (spool.producer, 2, None)
    assert again.producer != spool.producer
    assert again.id == spool.id
    assert again.next_n == 1
    put(again, "next")
    assert [(record.producer, record.n) for record in again.read(9)[0]] == [(spool.producer, 1), (again.producer, 1)]


def test_damage_under_a_running_spool_is_counted_once(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool()
    put(spool, "a", "b", "c")
    (segment,) = segments(tmp_path / "spool")
    with segment.open("r+b") as file:
        file.seek(HEAD_BYTES + 1 + HEAD_BYTES)
        file.write(b"X")
    records, lost = spool.read(9)
    assert ([record.payload for record in records], lost) == ([b"a", b"c"], 1)
    assert [record.serial for record in records] == [0, 2]
    spool.rewind("another", 0)
    assert spool.read(9)[1] == 0


def test_a_lost_cursor_and_a_lost_id_cost_repeats_and_nothing_else(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool()
    put(spool, "a", "b")
    confirm_all(spool, 0)
    spool.close()
    (tmp_path / "spool" / "cursor").write_bytes(b"00000000 [garbage")
    (tmp_path / "spool" / "id").unlink()
    again = open_spool()
    assert (again.recovery.pending, again.next_n, again.producer) == (2, 3, spool.producer)
    assert again.id != spool.id


def test_after_a_failed_fsync_the_segment_is_left_and_its_numbers_are_free(tmp_path: Path) -> None:
    disk = ModelDisk()
    spool = Spool(disk, max_bytes=10_000, retain_ns=0, now_ns=0, new_id=lambda: "a")
    put(spool, "one")
    disk.fail_sync, disk.fail_truncate = 1, 1
    spool.append(b"two, lost")
    with pytest.raises(OSError, match="Input/output error"):
        spool.commit()
    put(spool, "two")
    assert len([name for name in disk.files if name.endswith(".v1")]) == 2
    again = Spool(disk.reopened(), max_bytes=10_000, retain_ns=0, now_ns=0, new_id=lambda: "b")
    assert texts(again) == ["one", "two"]


_LIMITED = """
import itertools, pathlib, resource, sys
from pipeline.spool import Directory, Spool
ids = (f"id{n}" for n in itertools.count())
spool = Spool(Directory(pathlib.Path(sys.argv[1])), max_bytes=1 << 20, retain_ns=0, now_ns=0, new_id=lambda: next(ids))
def put(text):
    assert spool.append(text)
    return spool.commit()
put(b"before")
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
lost = 0
for size in (50, 200, 300):
    try:
        put(b"x" * size)
    except OSError:
        lost += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
put(b"after")
print(lost, [(r.n, r.payload.decode()) for r in spool.read(9)[0]])
"""


def test_a_full_disk_loses_what_does_not_fit_and_nothing_else(tmp_path: Path, open_spool: OpenSpool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path / "spool")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "3 [(1, 'before'), (2, 'after')]\n"
    again = open_spool()
    assert texts(again) == ["before", "after"]
    assert again.recovery.lost == ()


_KILLED = """
import itertools, os, pathlib, signal, sys
from pipeline.spool import Directory, Spool
class Dying(Directory):
    left = int(sys.argv[2])
    def write(self, name, offset, data):
        if len(data) > self.left:
            super().write(name, offset, data[:self.left])
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= len(data)
        super().write(name, offset, data)
spool = Spool(Dying(pathlib.Path(sys.argv[1])), max_bytes=1 << 20, retain_ns=0, now_ns=0, new_id=lambda: "first")
for number in itertools.count(1):
    spool.append(b"event %d" % number)
    if number % 3 == 0:
        spool.commit()
        os.write(1, b"%d " % number)
"""


@pytest.mark.parametrize("bytes_written", [0, 1, 23, 24, 31, 32, 500, 777, 1000])
def test_killed_in_the_middle_of_a_write_it_recovers_what_was_promised(
    open_spool: OpenSpool, tmp_path: Path, bytes_written: int
) -> None:
    child = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "spool"), str(bytes_written)], capture_output=True, check=False
    )
    assert child.returncode == -signal.SIGKILL
    promised = int((child.stdout.split() or [b"0"])[-1])
    spool = open_spool()
    found = texts(spool)
    assert found == [f"event {number}" for number in range(1, len(found) + 1)]
    assert promised <= len(found) <= promised + 2
    assert spool.next_n == len(found) + 1
    assert spool.recovery.lost == ()
