from __future__ import annotations

from pathlib import Path

import pytest

from engines.datasets import open_dataset
from stages.source.synthetic.dataset import write_dataset
from stages.source.synthetic.options import parse_synthetic
from tests.support.datasets import write_picture
from vedette.errors import DataError


def test_a_plain_folder_has_images_and_no_labels(tmp_path: Path) -> None:
    for name in ("b.png", "deeper/a.PNG", ".hidden/c.png"):
        write_picture(tmp_path / name, (32, 32), {})
    (tmp_path / "notes.txt").write_text("not an image")

    dataset = open_dataset(tmp_path)
    assert [image.path.name for image in dataset.images] == ["b.png", "a.PNG"]
    assert dataset.classes == ()
    assert not dataset.is_labelled


def test_what_the_synthetic_camera_writes_is_a_data_set(tmp_path: Path) -> None:
    options = parse_synthetic("synthetic://street?size=320x180&seconds=0.2")
    write_dataset(tmp_path / "street", options, every=2, progress=lambda: None)
    dataset = open_dataset(tmp_path / "street")
    assert dataset.classes == ("person", "vehicle", "bike")
    assert dataset.is_labelled
    assert sum(len(image.labels) for image in dataset.images) > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [("none", "none: no such file or folder"), ("empty", "found none"), ("a.csv", "expected COCO JSON")],
)
def test_what_is_no_data_set_is_one_line(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / name)


def test_some_images_are_spread_over_the_whole(tmp_path: Path) -> None:
    for index in range(10):
        write_picture(tmp_path / f"{index}.png", (32, 32), {})
    dataset = open_dataset(tmp_path)
    assert [image.path.stem for image in dataset.spread(3).images] == ["0", "3", "6"]
    assert len(dataset.spread(99)) == 10
