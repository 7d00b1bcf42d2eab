"""`vedette model quantize`: what it prints, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engines.quantize.small_network import write_pictures, write_small
from vedette.cli.main import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantize")
    write_small(folder)
    write_pictures(folder / "pictures")
    return folder


def test_it_says_what_is_int8_what_is_float_and_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["model", "quantize", str(folder / "small.onnx"), "--data", str(folder / "pictures")]
    assert main([*words, "--exclude", "reg_*", "--out", str(folder / "said")]) == 0
    out = capsys.readouterr().out
    assert "32 pictures looked at; ranges by mse" in out
    assert "INT8   12 convolutions, 18 tensors with 13 scales, 1 multiplications as scales" in out
    assert "1 convolutions, since excluded by 'reg_*': reg_pred" in out
    assert f"wrote  {folder / 'said' / 'small-int8-unsigned.onnx'}" in out
    assert "small-int8-signed.onnx" in out
    assert main([*words, "--out", str(folder / "said"), "--method", "minmax"]) == 0
    assert "looked at before, out of the cache" in capsys.readouterr().out


def test_the_report_can_be_had_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["model", "quantize", str(folder / "small.onnx"), "--data", str(folder / "pictures"), "--json"]
    assert main([*words, "--out", str(folder / "json"), "--per-tensor", "--name", "other"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert Path(report["unsigned"]).name == "other-int8-unsigned.onnx"
    assert report["report"]["options"]["per_channel"] is False
    assert report["report"]["graph"]["convolutions"] == 13


def test_dynamic_needs_no_pictures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "quantize", str(folder / "small.onnx"), "--dynamic", "--out", str(folder / "dynamic")]) == 0
    assert "small-int8-dynamic.onnx" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--data: expected pictures to calibrate with"),
        (["--data", "nowhere"], "no such file or folder"),
        (["--data", "pictures", "--images", "3"], "--images: expected int >= 32"),
        (["--data", "pictures", "--method", "magic"], "invalid choice: 'magic'"),
        (["--data", "pictures", "--percentile", "99"], "--percentile: needs --method percentile"),
        (["--data", "pictures", "--method", "percentile", "--percentile", "7"], "--percentile: expected float > 50.0"),
        (["--data", "pictures", "--exclude", "nothing*"], "exclude: no node has a name like 'nothing*'"),
        (["--data", "pictures", "--name", "a/b"], "--name: expected a name without a folder, got 'a/b'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    folder: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main(["model", "quantize", "small.onnx", "--out", "wrong", *words]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert not list((folder / "wrong").glob("*.onnx")) if (folder / "wrong").exists() else True
