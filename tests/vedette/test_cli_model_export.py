"""`vedette model export` from a checkpoint to a file that runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engines.runtimes import read_model_file
from engines.spec import find_spec
from engines.yolo_nas.random_weights import random_network
from vedette.cli.main import main


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "mine.pth"
    torch.save({"net": random_network("n", 2).state_dict(), "class_names": ["cat", "dog"]}, path)
    return path


def test_a_checkpoint_becomes_a_file_that_runs(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "export", str(checkpoint), "--size", "96x64"]) == 0
    out = checkpoint.with_name("mine_96x64.onnx")
    said = capsys.readouterr().out
    assert said.startswith(f"{out}: 12,")
    assert "YOLO-NAS N, 2 classes, 96x64, 3,044," in said
    assert "onnxruntime against torch: boxes " in said
    spec = find_spec(read_model_file(out)).spec
    assert (spec.name, spec.classes, spec.input.size) == ("mine", ("cat", "dog"), (96, 64))


def test_json_reports_figures_and_how_near_it_is(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = checkpoint.with_name("small.onnx")
    words = ["--size", "64", "--half", "--dynamic-size", "--out", str(out), "--json"]
    assert main(["model", "export", str(checkpoint), *words]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["path"] == str(out)
    assert report["bytes"] == out.stat().st_size < 7_000_000
    assert (report["variant"], report["classes"], report["size"]) == ("n", ["cat", "dog"], [64, 64])
    assert (report["precision"], report["dynamic_size"]) == ("fp16", True)
    assert report["gflops"] == pytest.approx(0.080, abs=1e-3)
    assert 0 < report["difference"]["boxes_px"] < 0.5


def test_weights_stored_in_half_are_half_the_file_and_compute_as_before(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = checkpoint.with_name("stored.onnx")
    assert (
        main(["model", "export", str(checkpoint), "--size", "64", "--half-weights", "--out", str(out), "--json"]) == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert report["bytes"] < 7_000_000
    assert report["precision"] == "fp32"
    assert 0 < report["difference"]["boxes_px"] < 0.5
    file = read_model_file(out)
    assert {tensor.dtype for tensor in (*file.inputs, *file.outputs)} == {"float32"}
    assert find_spec(file).spec.classes == ("cat", "dog")


def test_random_weights_lie_where_one_stands_and_say_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["model", "export", "yolo-nas-n", "--size", "64"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["yolo-nas-n-random_64x64.onnx"]
    assert "note: its weights are random: for speed alone, it finds nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", "huge"], "UsageError: --size: expected W or WxH, multiples of 32, got 'huge'"),
        (["--size", "640x360"], "UsageError: --size: expected multiples of 32, 32 to 8192, got 640x360"),
        (["--size", "64", "--classes", "cat"], "UsageError: --classes: expected 2 names"),
        (["--size", "64", "--half", "--half-weights"], "UsageError: --half and --half-weights: expected one of them"),
        (["--size", "64", "--out", "a.pt"], "ModelError: a.pt: expected a name that ends in .onnx"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    checkpoint: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "export", str(checkpoint), *words]) == 2
    assert capsys.readouterr().err.startswith(said)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["mine.pth"]


def test_a_checkpoint_cut_short_is_one_line(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:100_000])
    assert main(["model", "export", str(checkpoint), "--size", "64"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"ModelError: {checkpoint}: is a checkpoint cut short or damaged")
    assert second == "  hint: copy it again"
