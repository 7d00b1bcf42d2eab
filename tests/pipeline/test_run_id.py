"""A run of a file is named by what decides its messages; a process by nothing but chance."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline import run_id
from pipeline.run_id import file_run, process_run


def name(source: Path | str, *, model: str = "m", fingerprint: str = "f") -> str:
    return file_run(source, model_sha256=model, fingerprint=fingerprint)


def test_a_process_has_a_name_of_its_own() -> None:
    names = {process_run() for _ in range(100)}
    assert len(names) == 100
    assert all(len(run) == 12 and int(run, 16) >= 0 for run in names)


def test_the_same_work_has_the_same_name_wherever_the_file_lies(tmp_path: Path) -> None:
    for place in ("a.mkv", "b.mkv"):
        (tmp_path / place).write_bytes(b"the same film")
    assert name(tmp_path / "a.mkv") == name(tmp_path / "b.mkv")


def test_another_file_model_or_configuration_is_another_run(tmp_path: Path) -> None:
    file, other = tmp_path / "a.mkv", tmp_path / "b.mkv"
    file.write_bytes(b"one film")
    other.write_bytes(b"two film")
    names = [
        name(file), name(other), name(file, model="n"), name(file, fingerprint="g"), name("synthetic://street?seed=1"),
        name("synthetic://street?seed=2"),
        name(file, model="mf", fingerprint=""), name(file, model="", fingerprint="mf"),
    ]  # fmt: skip
    assert len(set(names)) == len(names)
    assert all(len(run) == 12 for run in names)


def test_of_a_large_file_its_size_and_samples_all_along_it_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_id, "_WHOLE_BYTES", 1000)
    monkeypatch.setattr(run_id, "_SAMPLE_BYTES", 10)
    monkeypatch.setattr(run_id, "_SAMPLES", 5)
    file = tmp_path / "large.mkv"
    content = bytearray(10_000)

    def changed(at: int) -> str:
        altered = bytearray(content)
        altered[at] = 1
        file.write_bytes(altered)
        return name(file)

    file.write_bytes(content)
    plain = name(file)
    assert changed(50) == plain  # between two samples
    file.write_bytes(content + b"\0")
    assert name(file) != plain
    assert len({plain, changed(0), changed(9999), changed(4996)}) == 4


def test_what_cannot_be_read_has_a_name_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "none.mkv", tmp_path, tmp_path / "pipe"):
        assert len(name(place)) == 12
