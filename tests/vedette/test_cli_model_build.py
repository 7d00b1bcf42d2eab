"""`vedette model build` as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.runtimes import read_model_file
from engines.spec import find_spec
from stages.source.synthetic.dataset import write_dataset
from stages.source.synthetic.options import parse_synthetic
from vedette.cli.main import main


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures and their boxes: enough to calibrate with, too few to compare on."""
    folder = tmp_path_factory.mktemp("street") / "scenes"
    url = "synthetic://street?people=6&vehicles=3&bikes=2&seed=4&fps=2&seconds=20"
    write_dataset(folder, parse_synthetic(url), every=1, progress=lambda: None)
    return next(folder.glob("*.json"))


def test_a_checkpoint_becomes_engines_that_are_marked_when_nothing_was_compared(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="checkpoints need the extra train")
    from engines.yolo_nas.random_weights import random_network

    checkpoint = tmp_path / "mine.pth"
    torch.save({"net": random_network("n", 3).state_dict(), "class_names": ["a", "b", "c"]}, checkpoint)
    words = ["--size", "96x64", "--data", str(pictures), "--images", "32", "--no-gate", "--out", str(tmp_path / "out")]

    assert main(["model", "build", str(checkpoint), *words, "--json", str(tmp_path / "report.json")]) == 0

    said = capsys.readouterr().out
    assert said.count("unverified") == 2
    assert "gate" not in said
    made = tmp_path / "out" / "mine_96x64-int8-unsigned.onnx"
    spec = find_spec(read_model_file(made)).spec
    assert (spec.unverified, spec.gate, spec.classes, spec.input.size) == (True, None, ("a", "b", "c"), (96, 64))
    report = json.loads((tmp_path / "report.json").read_text())
    assert [file["form"] for file in report["files"]] == ["unsigned", "signed"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--data: expected pictures to calibrate with"),
        (["--precision", "fp16"], "--gate-data: expected pictures to compare on"),
        (["--data", "DATA", "--size", "640"], "--size: is for checkpoints; vedette-n-seed has it already"),
        (["--data", "DATA", "--name", "a/b"], "--name: expected a name without a folder, got 'a/b'"),
        (["--data", "DATA", "--images", "5"], "--images: expected `int` >= 32"),
        (["--data", "DATA", "--percentile", "99"], "--percentile: needs --method percentile"),
        (["--data", "DATA"], "at least 100 images that calibration has not used, got"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str], said: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(pictures) if word == "DATA" else word for word in words]

    assert main(["model", "build", "vedette-n-seed", *given, "--out", str(tmp_path)]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert said.replace("`", "") in err.replace("`", "")
    assert not list(tmp_path.glob("*.onnx"))


def test_an_int8_file_is_not_quantized_again(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "build", "vedette-n", "--data", str(pictures), "--no-gate", "--out", str(tmp_path)]) == 2

    assert "expected a float model, got a quantized one" in capsys.readouterr().err
