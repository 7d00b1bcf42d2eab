"""The spool's own disk: it fills up, it is read-only, and nothing of it is seen or left outside."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.bench.faults.disk import DiskError, SpoolDisk, why_no_disk

WHY = why_no_disk()
pytestmark = pytest.mark.skipif(WHY is not None, reason=str(WHY))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SpoolDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with SpoolDisk(folder) as disk:
        yield disk


def within(disk: SpoolDisk, code: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell as `vedette run` would be, in the spool's folder."""
    words = [*disk.enter, "sh", "-c", f'cd "{disk.spool}" && {code}']
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_full_disk_takes_nothing_more_until_it_is_drained(disk: SpoolDisk) -> None:
    disk.fill()
    assert "No space left on device" in within(disk, "head -c 100000 /dev/zero > more").stderr

    disk.drain()
    assert within(disk, "head -c 100000 /dev/zero > more").returncode == 0


def test_read_only_folder_can_be_read_and_not_be_written(disk: SpoolDisk) -> None:
    within(disk, "echo promised > segment")
    disk.protect()
    assert within(disk, "cat segment").stdout == "promised\n"
    for change in ("echo x > new", "echo x >> segment", "rm segment", "mv segment other"):
        assert "Read-only file system" in within(disk, change).stderr

    disk.unprotect()
    assert within(disk, "echo x >> segment && mv segment other").returncode == 0


def test_file_that_is_open_neither_keeps_the_folder_from_being_protected_nor_from_being_freed(disk: SpoolDisk) -> None:
    code = f'exec 5> "{disk.spool}/open"; exec 6< "{disk.spool}"; echo ready; read line; echo x >&5; echo "$?"'
    holder = subprocess.Popen([*disk.enter, "sh", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"

    disk.protect()
    assert holder.communicate("go\n", timeout=60)[0] == "0\n"
    disk.unprotect()


READ = """
import sys
from pathlib import Path
from pipeline.spool import Directory, Spool

spool = Spool(Directory(Path(sys.argv[1])), max_bytes=8000, retain_ns=10**10, now_ns=0, new_id=lambda: "spool")
for n in range(1, 31):
    assert spool.append(b"event " + b"." * 100)
    spool.commit()
print(len(list(Path(sys.argv[1]).glob("*.v1"))), flush=True)
sys.stdin.readline()
records, lost = spool.read(100)
print(lost, *(record.n for record in records), flush=True)
"""


def test_what_was_promised_is_read_from_a_disk_that_became_read_only(disk: SpoolDisk) -> None:
    words = [*disk.enter, sys.executable, "-c", READ, str(disk.spool)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 2
        disk.protect()
        said, _ = process.communicate("go\n", timeout=60)

    assert said.split() == ["0", *map(str, range(1, 31))]


def test_nobody_else_sees_it_and_what_is_brought_out_stays(disk: SpoolDisk, tmp_path: Path) -> None:
    within(disk, "echo promised > segment")
    assert list((tmp_path / "disk").iterdir()) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()

    disk.copy_out()
    assert (disk.spool / "segment").read_text() == "promised\n"


def test_process_keeps_its_id_and_its_working_directory(disk: SpoolDisk) -> None:
    process = subprocess.Popen([*disk.enter, "sh", "-c", "echo $$; pwd"], stdout=subprocess.PIPE, text=True)

    assert process.communicate(timeout=60)[0].split() == [str(process.pid), str(Path.cwd())]


def test_disk_ends_with_whoever_made_it(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from pipeline.bench.faults.disk import SpoolDisk; "
        "SpoolDisk(Path(sys.argv[1])).__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    # The holder's standard error is its maker's: this returns when nobody holds it any more.
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL


def test_place_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="no disk could be mounted at"), SpoolDisk(tmp_path / "nowhere"):
        pass
    with pytest.raises(DiskError, match="is not mounted"):
        SpoolDisk(tmp_path).fill()
