"""What a person names as the place of a report is written, and never replaced if it is no file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vedette.cli.json_file import check_writable, write_json
from vedette.errors import UsageError
from vedette.whole_file import whole_file


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    link = tmp_path / "latest.json"
    link.symlink_to(tmp_path / "report.json")

    write_json(link, {"a": 1})

    assert link.is_symlink()
    assert (tmp_path / "report.json").read_text() == '{\n  "a": 1\n}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest.json", "report.json"]


def test_a_pipe_is_written_into_and_refused_where_a_file_is_needed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        check_writable(pipe)
        write_json(pipe, [])
        assert os.read(reader, 100) == b"[]\n"
    finally:
        os.close(reader)
    with pytest.raises(UsageError, match=r"--plot: .*pipe cannot be written: it has to be a file"):
        check_writable(pipe, option="--plot", into=False)
    with pytest.raises(OSError, match="it has to be a file"), whole_file(pipe):
        pass
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_is_refused_before_the_work_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: Is a directory"):
        check_writable(tmp_path)
    with pytest.raises(UsageError, match="cannot be written"):
        check_writable(Path("/proc/x.json"))

    check_writable(tmp_path / "new" / "report.json")

    assert list((tmp_path / "new").iterdir()) == []
