import json
from pathlib import Path

import av
import cv2
import pytest

from stages.source.synthetic.dataset import write_dataset
from stages.source.synthetic.options import SyntheticOptions
from vedette.cli.main import main
from vedette.errors import UsageError

OPTIONS = SyntheticOptions(people=5, vehicles=2, bikes=1, size_wh=(320, 180), fps=5, seconds=4)


def nothing() -> None:
    pass


def test_the_data_set_is_whole_and_consistent(tmp_path: Path) -> None:
    out = tmp_path / "set"
    seen: list[int] = []
    written = write_dataset(out, OPTIONS, every=4, progress=lambda: seen.append(1))
    assert len(seen) == written.frames == 20
    assert sorted(path.name for path in out.iterdir()) == ["annotations.json", "images", "video.mp4"]
    coco = json.loads((out / "annotations.json").read_text())
    assert [category["name"] for category in coco["categories"]] == ["person", "vehicle", "bike"]
    images = {image["id"]: image for image in coco["images"]}
    assert len(images) == written.images == 5
    assert {image["file_name"] for image in images.values()} == {path.name for path in (out / "images").iterdir()}
    for image in images.values():
        pixels = cv2.imread(str(out / "images" / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3) == (180, 320, 3)
    annotations = coco["annotations"]
    assert len(annotations) == written.annotations > 20
    assert [annotation["id"] for annotation in annotations] == list(range(1, len(annotations) + 1))
    kinds: dict[int, int] = {}
    for annotation in annotations:
        image = images[annotation["image_id"]]
        x, y, width, height = annotation["bbox"]
        assert width > 0
        assert height > 0
        assert x >= 0
        assert x + width <= image["width"] + 0.01
        assert y >= 0
        assert y + height <= image["height"] + 0.01
        assert 0 <= annotation["area"] <= width * height + 0.5
        assert annotation["iscrowd"] == (annotation["visibility"] < 0.25)
        assert kinds.setdefault(annotation["track_id"], annotation["category_id"]) == annotation["category_id"]
    assert set(kinds.values()) == {1, 2, 3}
    assert len(kinds) == written.tracks
    with av.open(str(out / "video.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 320, 180)
        assert len(list(container.decode(stream))) == 20


def test_nothing_half_written_is_left_behind(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "set", OPTIONS, every=1, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(UsageError, match="exists already and is not an empty folder"):
        write_dataset(tmp_path, OPTIONS, every=1, progress=nothing)
    with pytest.raises(UsageError, match="exists already"):
        write_dataset(tmp_path / "precious.txt", OPTIONS, every=1, progress=nothing)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    out = tmp_path / "empty"
    out.mkdir()
    options = SyntheticOptions(people=1, vehicles=0, bikes=0, parked=0, size_wh=(64, 64), fps=5, seconds=0.2)
    assert write_dataset(out, options, every=1, progress=nothing).frames == 1
    assert (out / "video.mp4").exists()


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "night"
    command = [
        "synth",
        str(out),
        "--seconds",
        "1",
        "--fps",
        "4",
        "--size",
        "128x72",
        "--every",
        "2",
        "--night",
        "--json",
    ]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["frames"] == 4
    assert said["images"] == 2
    assert "time=night" in said["url"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--people", "many"], "--people: expected a whole number from 0 to 60, got 'many'"),
        (["--people", "3&seed=4"], "--people: expected a plain value"),
        (["--size", "10x10"], "--size: expected WIDTHxHEIGHT"),
        (["--seconds", "0"], "--seconds: expected a number above 0"),
        (["--every", "0"], "--every: expected a whole number from 1 on"),
    ],
)
def test_a_wrong_option_is_one_line(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["synth", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["synth", str(tmp_path / "file" / "out"), "--seconds", "1"]) == 2
    assert "cannot be written" in capsys.readouterr().err
