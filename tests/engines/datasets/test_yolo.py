from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.datasets import open_dataset
from tests.support.datasets import write_picture
from vedette.errors import DataError


def yolo_set(folder: Path, lines: str = "0 0.5 0.5 0.5 0.25\n2 0.25 0.5 0.1 0.2\n") -> Path:
    """Two pictures; the second has no text file."""
    for name in ("a.png", "b.png"):
        write_picture(folder / "images" / "val" / name, (64, 48), {})
    (folder / "labels" / "val").mkdir(parents=True)
    (folder / "labels" / "val" / "a.txt").write_text(lines)
    yaml = folder / "data.yaml"
    yaml.write_text("train: images/train\nval: images/val\nnames: [red, green, blue]\n")
    return yaml


def test_boxes_are_in_pixels(tmp_path: Path) -> None:
    dataset = open_dataset(yolo_set(tmp_path))

    assert dataset.classes == ("red", "green", "blue")
    first, second = dataset.images
    assert first.size_wh == (64, 48)
    assert np.allclose(first.labels.xyxy_px, [[16, 18, 48, 30], [12.8, 19.2, 19.2, 28.8]])
    assert first.labels.class_ids.tolist() == [0, 2]
    assert len(second.labels) == 0
    assert second.labelled == {0, 1, 2}


def test_of_an_outline_its_bounding_box_is_taken(tmp_path: Path) -> None:
    dataset = open_dataset(yolo_set(tmp_path, "1 0.25 0.5 0.5 0.25 0.75 0.5 0.5 0.75\n"))
    assert dataset.images[0].labels.xyxy_px.tolist() == [[16, 12, 48, 36]]


def test_the_folder_stands_for_its_data_yaml(tmp_path: Path) -> None:
    yolo_set(tmp_path)
    assert len(open_dataset(tmp_path)) == 2


def test_names_may_be_numbered_and_folders_several(tmp_path: Path) -> None:
    yaml = yolo_set(tmp_path)
    write_picture(tmp_path / "more" / "images" / "c.png", (32, 32), {})
    yaml.write_text(f"path: {tmp_path}\nval: [images/val, more/images]\nnames: {{1: green, 0: red, 2: blue}}\n")
    dataset = open_dataset(yaml)
    assert dataset.classes == ("red", "green", "blue")
    assert len(dataset) == 3


def test_the_folders_of_roboflow_are_found(tmp_path: Path) -> None:
    write_picture(tmp_path / "valid" / "images" / "a.png", (64, 48), {})
    (tmp_path / "valid" / "labels").mkdir()
    (tmp_path / "valid" / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("val: ../valid/images\nnc: 1\nnames: ['car']\n")
    assert len(open_dataset(tmp_path).images[0].labels) == 1


def test_a_list_of_images_will_do(tmp_path: Path) -> None:
    yaml = yolo_set(tmp_path)
    (tmp_path / "val.txt").write_text("images/val/b.png\n")
    yaml.write_text("val: val.txt\nnames: [red, green, blue]\n")
    assert [image.path.name for image in open_dataset(yaml).images] == ["b.png"]


def test_without_data_yaml_the_names_are_in_classes_txt(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.png", (64, 48), {})
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match=r"expected the names of the classes in data\.yaml or classes\.txt"):
        open_dataset(tmp_path)
    (tmp_path / "classes.txt").write_text("red\ngreen\n")
    assert open_dataset(tmp_path).classes == ("red", "green")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 0.5 0.5 0.5 0.5", "expected a class from 0 to 2, got 3"),
        ("-1 0.5 0.5 0.5 0.5", "expected a class from 0 to 2, got -1"),
        ("0.5 0.5 0.5 0.5 0.5", "expected a class from 0 to 2, got 0.5"),
        ("0 0.5 0.5 0.5", "expected a class and 4 numbers"),
        ("0 0.5 0.5 0.5 0.5 0.5", "expected a class and 4 numbers"),
        ("red 0.5 0.5 0.5 0.5", "expected numbers, got 'red 0.5"),
        ("0 32 24 10 10", "expected numbers from 0 to 1, parts of the picture, got 32 24 10 10"),
        ("0 nan 0.5 0.5 0.5", "expected numbers from 0 to 1"),
        ("0 0.5 0.5 0 0.5", "expected a box with an area"),
    ],
)
def test_a_bad_line_is_named_with_file_and_number(tmp_path: Path, line: str, message: str) -> None:
    yaml = yolo_set(tmp_path, f"0 0.5 0.5 0.5 0.5\n\n{line}\n")
    with pytest.raises(DataError, match=rf"a\.txt:3: {message}"):
        open_dataset(yaml)


def test_a_label_file_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    data = yolo_set(tmp_path)
    label = next((tmp_path / "labels").rglob("*.txt"))
    with label.open("wb") as file:
        file.truncate(1 << 40)  # sparse: takes no room

    with pytest.raises(DataError, match=r"\.txt: cannot be read: expected at most 16 MiB, got more"):
        open_dataset(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected keys and values, got nothing"),
        ("{", "expected YAML"),
        ("val: images/val\n", "names: expected the names of the classes"),
        ("val: images/val\nnames: [a, a]\n", "names: expected names that differ"),
        ("train: images/val\nnames: [a]\n", "val: expected a folder of images, got None"),
        ("val: images/none\nnames: [a]\n", "images/none: expected a folder of images"),
    ],
)
def test_a_bad_data_yaml_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    yaml = yolo_set(tmp_path)
    yaml.write_text(text)
    with pytest.raises(DataError, match=message):
        open_dataset(yaml)


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    yaml = yolo_set(tmp_path)
    (tmp_path / "images" / "val" / "b.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"b\.png: expected a picture"):
        open_dataset(yaml)


def nested(levels: int, wide: int) -> str:
    """A few lines whose aliases, written out, are `wide` to the power of `levels` values."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * wide)}]" for n in range(1, levels + 1)]
    return "\n".join([*lines, f"names: *a{levels}", "val: images", ""])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (nested(8, 9), "aliases counted as often as they are used"),
        (nested(4, 6), "names: expected the names of the classes, from 0 on, got "),
        (
            f"a: &a {'x' * 100_000}\nnames: [{', '.join(['*a'] * 10_000)}]\nval: images",
            "at most 4000000 letters, aliases",
        ),
        (f"names: [{'x' * 100_000}, {'x' * 100_000}]\nval: images", "names that differ, got "),
        ("names: {0: a, b: c}\nval: images", "names: expected the names of the classes, from 0 on, got "),
        (f"names: 0x{'f' * 10_000}\nval: images", "got something that is too large to be shown"),
    ],
    ids=["too many", "many", "too long", "long", "mixed keys", "a large number"],
)
def test_hostile_yaml_makes_no_long_line(tmp_path: Path, text: str, says: str) -> None:
    yaml = yolo_set(tmp_path)
    yaml.write_text(text)
    with pytest.raises(DataError) as refused:
        open_dataset(yaml)
    (line,) = refused.value.problems
    assert says in line
    assert len(line) < 600
    assert line.isprintable()
