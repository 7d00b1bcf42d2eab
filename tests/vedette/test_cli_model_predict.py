"""`vedette model predict`: tables, JSON, pictures, and what it does of bad images among good ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import pytest

from tests.support.models import colour_model, painted
from vedette.cli.main import main

SIZE_WH = (160, 96)


@pytest.fixture
def colours(tmp_path: Path) -> list[str]:
    return ["--model", str(colour_model(tmp_path / "colours.onnx")), "--score", "0.5"]


def picture(path: Path, **things: tuple[int, int, int, int]) -> Path:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), painted(SIZE_WH, things)[:, :, ::-1])
    return path


def test_a_table_says_what_is_where(tmp_path: Path, colours: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = picture(tmp_path / "a.png", red=(20, 10, 60, 50))

    assert main(["model", "predict", str(path), *colours]) == 0

    head, row = capsys.readouterr().out.splitlines()
    assert head == f"{path}  160x96  1 object"
    name, score, *sides = row.split()
    assert name == "red"
    assert float(score) > 0.9
    assert [float(side) for side in sides] == pytest.approx([20, 10, 60, 50], abs=0.1)


def test_bad_images_get_a_line_each_and_the_rest_is_still_done(
    tmp_path: Path, colours: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jpg").write_text("no picture")
    good = picture(tmp_path / "good.png")
    words = [str(tmp_path / "bad.jpg"), str(tmp_path / "none.png"), str(good)]

    assert main(["model", "predict", *words, *colours]) == 2

    said = capsys.readouterr()
    assert said.out.splitlines() == [f"{good}  160x96  no objects"]
    errors = [line for line in said.err.splitlines() if not line.startswith("  hint: ")]
    assert [line.partition(" ")[0] for line in errors] == ["StillError:", "StillError:"]
    assert "bad.jpg: expected a picture" in errors[0]
    assert "none.png: no such image file" in errors[1]


def test_a_name_that_is_not_utf_8_is_shown_with_question_marks(
    tmp_path: Path, colours: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    picture(tmp_path / "a.png", green=(20, 10, 60, 50)).rename(path)

    assert main(["model", "predict", str(path), *colours, "--json"]) == 0

    (image,) = json.loads(capsys.readouterr().out)["images"]
    assert image["path"] == f"{tmp_path}/caf?.png"


def test_json_holds_boxes_and_errors(tmp_path: Path, colours: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = picture(tmp_path / "a.png", green=(20, 10, 60, 50))

    assert main(["model", "predict", str(path), str(tmp_path / "none.png"), "--json", *colours]) == 2

    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "colours"
    (box,) = found["images"][0].pop("boxes")
    assert found["images"][0] == {"path": str(path), "size_wh": [160, 96]}
    assert box["class"] == "green"
    assert box["xyxy_px"] == pytest.approx([20, 10, 60, 50], abs=0.1)
    assert "no such image file" in found["images"][1]["error"]


def test_pictures_of_one_name_are_saved_side_by_side(tmp_path: Path, colours: list[str]) -> None:
    one = picture(tmp_path / "one" / "a.png", red=(20, 10, 60, 50))
    other = picture(tmp_path / "other" / "a.png")
    grey = tmp_path / "a.pgm"
    cv2.imwrite(str(grey), painted(SIZE_WH, {})[:, :, 0])
    out = tmp_path / "found" / "today"

    assert main(["model", "predict", str(one), str(other), str(grey), "--save", str(out), *colours]) == 0

    assert sorted(path.name for path in out.iterdir()) == ["a-2.png", "a-3.png", "a.png"]
    assert (cv2.imread(str(out / "a.png")) != cv2.imread(str(one))).any()
    assert (cv2.imread(str(out / "a-2.png")) == cv2.imread(str(other))).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--save", "SAME"], "is the picture itself"),
        (["--save", "SAME/a.png"], "cannot be made"),
        (["--score", "3"], "UsageError: --score: expected float <= 1.0, got 3.0"),
        (["--backend", "abacus"], "UsageError: --backend: expected one of auto, openvino"),
        (["--model", "none.onnx"], "ModelError: none.onnx: no such model file"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str],
    message: str,
    tmp_path: Path,
    colours: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = picture(tmp_path / "a.png")
    before = path.read_bytes()

    status = main(["model", "predict", str(path), *colours, *(word.replace("SAME", str(tmp_path)) for word in words)])

    assert status == 2
    assert message in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_cameras_password_is_not_shown(colours: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for form in ([], ["--json"]):
        assert main(["model", "predict", "rtsp://user:hunter2@host/x", *colours, *form]) == 2

        said = capsys.readouterr()
        assert "StillError: rtsp:/***@host/x: no such image file" in said.err
        assert "hunter2" not in said.out + said.err
