"""What is no file, and what is too large, is refused before it is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.bounded_file import read_bounded
from engines.datasets import open_dataset
from engines.stills import read_still
from vedette.errors import DataError, StillError


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert read_bounded(tmp_path / "a", at_most_bytes=3) == b"abc"
    with pytest.raises(OSError, match="expected at most 0 MiB, got more"):
        read_bounded(tmp_path / "a", at_most_bytes=2)


def test_a_folder_is_none(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_bounded(tmp_path, at_most_bytes=3)


@pytest.mark.parametrize("name", ["a.png", "a.json", "a.yaml"])
def test_a_pipe_is_neither_picture_nor_data_set(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises((StillError, DataError), match="cannot be read: expected a file, got a device or a pipe"):
        (read_still if name == "a.png" else open_dataset)(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.json", "a.yaml"])
def test_what_is_too_large_is_not_read(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(3 << 30)  # takes no place on the disk
    with pytest.raises((StillError, DataError), match=r"cannot be read: expected at most (512|2048|1) MiB, got more"):
        (read_still if name == "a.png" else open_dataset)(tmp_path / name)
