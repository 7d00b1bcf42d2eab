"""Whole lines or none, on a real file system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stages.sink.jsonl import JsonlFile
from vedette.errors import SinkError


def test_lines_are_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lines.jsonl"
    for text in (b"{}", b'{"n":2}'):
        file = JsonlFile(str(path))
        file.append([text, text])
        file.close()
    assert path.read_bytes() == b'{}\n{}\n{"n":2}\n{"n":2}\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"type":"frame"}\n{"type":"fra', b'{"type":"frame"}\n'),
        (b'{"kind":"gap","a":', b""),
        (b'{"type":"frame"}\n{"t', b'{"type":"frame"}\n'),
        (b'{"type":"frame"}', b'{"type":"frame"}\n'),
        (b'{"somebody": "else"', b'{"somebody": "else"\n'),
        (b"", b""),
    ],
)
def test_a_half_line_of_ours_is_cut_off_and_nothing_of_anybody_elses(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(before)
    JsonlFile(str(path)).close()
    assert path.read_bytes() == after


@pytest.mark.parametrize("before", [b"somebody's notes", b"\0\0\0 ftypisom", b"version: 1\n"])
def test_a_file_of_something_else_is_not_written_to(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "mine.mp4"
    path.write_bytes(before)
    with pytest.raises(SinkError, match=r"mine\.mp4: cannot be opened: it is a file of something else"):
        JsonlFile(str(path))
    assert path.read_bytes() == before


_LIMITED = """
import resource, sys
from stages.sink.jsonl import JsonlFile
file = JsonlFile(sys.argv[1])
file.append([b"before"])
resource.setrlimit(resource.RLIMIT_FSIZE, (50, resource.RLIM_INFINITY))
try:
    file.append([b"x" * 20, b"y" * 40])
except OSError as error:
    print(error.strerror)
file.append([b"fits"])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.append([b"after" * 20])
"""


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    done = subprocess.run([sys.executable, "-c", _LIMITED, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert path.read_bytes() == b"before\nfits\n" + b"after" * 20 + b"\n"


def test_a_file_that_is_emptied_by_others_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    file = JsonlFile(str(path))
    file.append([b"1"])
    path.write_bytes(b"")
    file.append([b"2"])
    file.close()
    assert path.read_bytes() == b"2\n"


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    first = JsonlFile(str(path))
    with pytest.raises(SinkError, match=r"lines\.jsonl: in use by another process or another sink"):
        JsonlFile(str(path))
    first.close()
    JsonlFile(str(path)).close()


def test_a_directory_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="cannot be opened: Is a directory"):
        JsonlFile(str(tmp_path))


def test_a_device_that_is_full_is_an_error_and_nothing_is_cut(tmp_path: Path) -> None:
    file = JsonlFile("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        file.append([b"x"])
    file.close()


def test_a_file_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    """As logrotate does without `copytruncate`: lines would go on into the old file, which is deleted one day."""
    file = JsonlFile(str(tmp_path / "out.jsonl"))
    file.append([b'{"n":1}'])

    (tmp_path / "out.jsonl").rename(tmp_path / "out.jsonl.1")
    file.append([b'{"n":2}'])
    (tmp_path / "out.jsonl").unlink()
    file.append([b'{"n":3}', b'{"n":4}'])
    file.close()

    assert (tmp_path / "out.jsonl.1").read_bytes() == b'{"n":1}\n'
    assert (tmp_path / "out.jsonl").read_bytes() == b'{"n":3}\n{"n":4}\n'


def test_the_new_file_is_gone_on_with_and_locked_too(tmp_path: Path) -> None:
    file = JsonlFile(str(tmp_path / "out.jsonl"))
    (tmp_path / "out.jsonl").rename(tmp_path / "out.jsonl.1")
    (tmp_path / "out.jsonl").write_bytes(b'{"begun":"by logrotate"}\n{"type":"fra')

    file.append([b'{"n":1}'])

    assert (tmp_path / "out.jsonl").read_bytes() == b'{"begun":"by logrotate"}\n{"n":1}\n'
    with pytest.raises(SinkError, match="in use"):
        JsonlFile(str(tmp_path / "out.jsonl"))
    file.close()


def test_nothing_is_lost_while_somebody_else_has_the_new_file(tmp_path: Path) -> None:
    file = JsonlFile(str(tmp_path / "out.jsonl"))
    (tmp_path / "out.jsonl").rename(tmp_path / "out.jsonl.1")
    other = JsonlFile(str(tmp_path / "out.jsonl"))

    with pytest.raises(BlockingIOError):
        file.append([b'{"n":1}'])
    other.close()
    file.append([b'{"n":1}'])
    file.close()

    assert (tmp_path / "out.jsonl").read_bytes() == b'{"n":1}\n'
    assert (tmp_path / "out.jsonl.1").read_bytes() == b""
