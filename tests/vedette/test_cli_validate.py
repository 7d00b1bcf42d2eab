"""`vedette model validate` and `vedette model parity`, from the words of the command line to the exit status."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import engines
from tests.support.datasets import coco_set, write_picture
from tests.support.models import colour_model
from tests.support.shared import SHARED
from vedette.cli.main import main

STREET = Path(engines.__file__).parents[1] / "docs" / "pictures" / "street.jpg"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return colour_model(tmp_path / "colours.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return coco_set(tmp_path / "set", 8)


def spoiled(model: Path, change: tuple[str, str]) -> Path:
    """A copy of the model with another spec."""
    other = model.with_name("other.onnx")
    shutil.copy(model, other)
    spec = model.with_suffix(".yaml").read_text()
    assert change[0] in spec
    other.with_suffix(".yaml").write_text(spec.replace(*change))
    return other


WRONG = ("96]", "96], colour: bgr")
STORED_AP, STORED_AP50 = 22.89, 40.98


def test_ap_is_shown_by_class_and_by_size(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "validate", str(model), "--data", str(data)]) == 0

    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert ["class", "images", "objects", "AP", "AP50", "AP75", "small", "medium", "large"] in lines
    rows = {words[0]: words[1:] for words in lines if words and words[0] in {"red", "green", "blue", "mean"}}
    assert set(rows) == {"red", "green", "blue", "mean"}
    assert rows["mean"][:2] == ["8", "24"]
    assert rows["mean"][3] == "100.00"
    assert err == ""


def test_the_report_is_written_as_json(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    assert main(["model", "validate", str(model), "--data", str(data), "--json", str(out), "--limit", "4"]) == 0
    report = json.loads(out.read_text())
    assert report["images"] == 4
    assert report["classes"] == ["red", "green", "blue"]
    assert report["model"]["ap"]["mean"]["ap50"] == pytest.approx(1.0)
    assert (report["ap"], report["ap50"]) == (report["model"]["ap"]["mean"]["ap"], pytest.approx(1.0))
    assert set(report["by_class"]) == {"red", "green", "blue"}
    assert report["by_source"] == {}
    assert [one["name"] for one in report["model"]["ap"]["classes"]] == ["red", "green", "blue"]
    assert {path.name for path in tmp_path.iterdir()} == {"colours.onnx", "colours.yaml", "set", "report.json"}


def test_against_itself_nothing_changes(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--against", str(model), "--tolerance", "0", "--against-backend", "onnxruntime"]
    assert main(["model", "validate", str(model), "--data", str(data), "--backend", "onnxruntime", *words]) == 0
    out = capsys.readouterr().out
    assert "change of AP: -0.00 points" in out or "change of AP: +0.00 points" in out
    assert "100.0 % of the other's 24 are found again, 100.0 % of this one's 24 are the other's" in out


def test_past_the_tolerance_is_one_line_and_status_1(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = spoiled(model, WRONG)
    words = ["model", "validate", str(worse), "--data", str(data), "--against", str(model)]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert "change of AP: -" in out
    assert len(err.splitlines()) == 1
    assert err.startswith("Past the tolerance: ")
    assert err.rstrip().endswith("points of AP lost, at most 0.5 may be")
    assert main([*words, "--tolerance", "100"]) == 0


def test_without_labels_two_models_are_compared_by_their_boxes(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = str(data.parent / "images")
    assert main(["model", "validate", str(model), "--data", images]) == 2
    assert "has no labels, so there is no AP" in capsys.readouterr().err

    assert main(["model", "validate", str(model), "--data", images, "--against", str(model)]) == 0
    assert "AP50" not in capsys.readouterr().out
    worse = spoiled(model, WRONG)
    assert main(["model", "validate", str(worse), "--data", images, "--against", str(model)]) == 1
    assert "% of boxes are not found again, at most 3 % may be" in capsys.readouterr().err


def test_classes_are_renamed_on_both_sides(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = spoiled(model, ("red, green, blue", "red, leaf, sky"))
    assert main(["model", "validate", str(other), "--data", str(data)]) == 0
    assert "not counted, the model does not know them: green, blue" in capsys.readouterr().out
    assert main(["model", "validate", str(other), "--data", str(data), "--map", "leaf=green,sky=blue"]) == 0
    out = capsys.readouterr().out
    assert "not counted" not in out
    assert "blue" in out


def test_images_that_cannot_be_used_are_named(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data.parent / "images" / "003.png").write_bytes(b"broken")
    assert main(["model", "validate", str(model), "--data", str(data)]) == 0
    out, err = capsys.readouterr()
    assert ": 7 images" in out
    assert len(err.splitlines()) == 1
    assert err.startswith("not used: ")
    assert "003.png: expected a picture" in err


def test_parts_of_the_data_are_counted_apart(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(data.read_text())
    for index, image in enumerate(document["images"]):
        image["source"] = "north" if index < 3 else "south"
    data.write_text(json.dumps(document))
    assert main(["model", "validate", str(model), "--data", str(data), "--by-source"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [words[0] for words in lines if words[1:2] == ["images"]] == ["class", "north", "south"]
    assert [words[1:3] for words in lines if words and words[0] == "mean"] == [["8", "24"], ["3", "9"], ["5", "15"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--backend", "ov"], "--backend: invalid enum value 'ov'"),
        (["--score", "2"], "--score: expected a number from 0 to 1, got 2"),
        (["--limit", "0"], "--limit: expected a number of images from 1 on, got 0"),
        (["--tolerance", "1"], "--tolerance: needs --against MODEL"),
        (["--map", "red"], "--map: expected NAME=NAME"),
        (["--map", "rde=blue"], "--map: neither the model nor the data set has a class 'rde'"),
        (["--data", "none.json"], "none.json: no such file or folder"),
        (["--json", "/proc/none/out.json"], "--json: /proc/none/out.json cannot be written"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["model", "validate", str(model), "--data", str(data), *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[0]
    assert len(lines) <= 2


@pytest.mark.skipif(SHARED is None, reason="needs the shared data sets")
def test_the_shipped_model_has_the_ap_that_was_measured(tmp_path: Path) -> None:
    assert SHARED is not None
    out = tmp_path / "report.json"
    words = ["--data", str(SHARED / "detection" / "val.json"), "--limit", "60", "--json", str(out)]
    assert main(["model", "validate", "vedette-n-seed", *words]) == 0
    report = json.loads(out.read_text())["model"]["ap"]
    # `vedette model validate vedette-n-seed --data val.json --limit 60`, OpenVINO 2026.4.1, FP32.
    assert 100 * report["mean"]["ap"] == pytest.approx(STORED_AP, abs=0.3)
    assert 100 * report["mean"]["ap50"] == pytest.approx(STORED_AP50, abs=0.8)


def test_parity_of_the_shipped_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "parity.json"
    assert main(["model", "parity", "vedette-n-seed", str(STREET), "--json", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    stages = [line.split("  ")[0] for line in lines if line.endswith("  ok") and not line.startswith(" ")]
    assert stages == ["pre-process", "network", "head", "suppression", "boxes", "end to end"]
    assert json.loads(out.read_text())["first_wrong"] is None


def test_parity_shows_where_a_wrong_spec_is_wrong(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = spoiled(model, WRONG)
    images = str(data.parent / "images")
    words = ["model", "parity", str(wrong), images, "--reference-spec", str(model.with_suffix(".yaml"))]
    assert main(words) == 1
    out, err = capsys.readouterr()
    row = next(line for line in out.splitlines() if line.startswith("pre-process"))
    assert row.endswith("WRONG")
    assert "pre-process: most different in " in out
    assert err == "The first stage that differs: pre-process\n"


def test_parity_of_no_images_is_an_error(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["model", "parity", str(model), str(tmp_path / "empty")]) == 2
    assert "IMAGE: no image in" in capsys.readouterr().err


def test_parity_names_a_reference_spec_that_is_none(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = write_picture(tmp_path / "a.png", (64, 48), {})
    assert main(["model", "parity", str(model), str(picture), "--reference-spec", str(tmp_path / "no.yaml")]) == 2
    assert "no.yaml: cannot be read" in capsys.readouterr().err
