from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.datasets import open_dataset
from tests.support.datasets import coco_document, write_json, write_picture
from tests.support.shared import SHARED
from vedette.errors import DataError

THINGS = {"red": (2, 3, 20, 25), "blue": (30, 5, 50, 40)}


def document(folder: Path) -> dict[str, Any]:
    """Two pictures in `folder`/images; the second is empty."""
    for name, things in (("a.png", THINGS), ("b.png", {})):
        write_picture(folder / "images" / name, (64, 48), things)
    return coco_document([("a.png", (64, 48), THINGS), ("b.png", (64, 48), {})])


def test_images_and_boxes_are_read(tmp_path: Path) -> None:
    dataset = open_dataset(write_json(tmp_path / "set.json", document(tmp_path)))

    assert dataset.classes == ("red", "green", "blue")
    first, second = dataset.images
    assert first.path == tmp_path / "images" / "a.png"
    assert first.size_wh == (64, 48)
    assert first.labels.xyxy_px.tolist() == [[2, 3, 20, 25], [30, 5, 50, 40]]
    assert first.labels.class_ids.tolist() == [0, 2]
    assert first.labels.areas_px.tolist() == [18 * 22, 20 * 35]
    assert not first.labels.crowd.any()
    assert len(second.labels) == 0
    assert first.labelled == second.labelled == {0, 1, 2}


def test_partial_labels_crowds_sources_and_outlined_areas_are_read(tmp_path: Path) -> None:
    plain = document(tmp_path)
    plain["images"][0] |= {"labels": ["blue"], "source": "somewhere"}
    plain["images"][1]["labels"] = []
    plain["annotations"][0] |= {"iscrowd": 1, "area": 99.5, "segmentation": {"counts": [1, 2], "size": [48, 64]}}

    first, second = open_dataset(write_json(tmp_path / "set.json", plain)).images
    assert first.labelled == {2}
    assert first.part == "somewhere"
    assert second.labelled == frozenset()
    assert first.labels.crowd.tolist() == [True, False]
    assert first.labels.areas_px[0] == 99.5


def test_category_ids_may_have_gaps(tmp_path: Path) -> None:
    plain = document(tmp_path)
    for table, key in (("categories", "id"), ("annotations", "category_id")):
        for row in plain[table]:
            row[key] = 90 - 10 * row[key]
    dataset = open_dataset(write_json(tmp_path / "set.json", plain))
    assert dataset.classes == ("blue", "green", "red")
    assert dataset.images[0].labels.class_ids.tolist() == [2, 0]


def test_a_file_without_annotations_labels_nothing(tmp_path: Path) -> None:
    plain = document(tmp_path)
    del plain["annotations"]
    dataset = open_dataset(write_json(tmp_path / "set.json", plain))
    assert not dataset.is_labelled


@pytest.mark.parametrize(
    ("json_at", "root"),
    [
        ("set.json", "."),
        ("set.json", "images"),
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "images/val2017"),
    ],
)
def test_images_are_found_where_they_usually_lie(tmp_path: Path, json_at: str, root: str) -> None:
    write_picture(tmp_path / root / "a.png", (64, 48), {})
    path = write_json(tmp_path / json_at, coco_document([("a.png", (64, 48), {})]))
    assert open_dataset(path).images[0].path.samefile(tmp_path / root / "a.png")


def test_the_folder_of_the_images_may_be_given(tmp_path: Path) -> None:
    write_picture(tmp_path / "elsewhere" / "a.png", (64, 48), {})
    path = write_json(tmp_path / "set.json", coco_document([("a.png", (64, 48), {})]))
    with pytest.raises(DataError, match=r"images\[0\]\.file_name: no file .*a\.png") as raised:
        open_dataset(path)
    assert raised.value.hint == "say where the images are: --images FOLDER"
    with pytest.raises(DataError, match=r"images\[0\]\.file_name: no file .*a\.png") as raised:
        open_dataset(path, images=tmp_path / "nowhere")
    assert raised.value.hint == (
        f"--images: the files' names are looked for under {tmp_path / 'nowhere'}, and there is no such folder"
    )
    assert open_dataset(path, images=tmp_path / "elsewhere").images[0].path.is_file()


def test_a_box_without_area_is_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = document(tmp_path)
    plain["annotations"][0]["bbox"][2] = 0
    assert len(open_dataset(write_json(tmp_path / "set.json", plain)).images[0].labels) == 1
    assert "1 annotations have boxes without area" in caplog.text


def _set(*path: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    def change(plain: Any) -> None:
        for key in path[:-1]:
            plain = plain[key]
        plain[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("images", value=[]), r"set\.json: images: expected at least one, got none"),
        (_set("images", 1, "file_name", value="none.png"), r"images\[1\]\.file_name: no file .*none\.png"),
        (_set("images", 1, "id", value="x"), r"images\[1\]\.id: expected int, got str"),
        (_set("images", 1, "id", value=1), r"images: expected ids that differ, got 1 more than once"),
        (_set("images", 0, "labels", value=["bird"]), r"images\[0\]\.labels: expected names of categories, got 'bird'"),
        (_set("categories", 1, "id", value=1), r"categories: expected ids that differ, got 1 more than once"),
        (_set("categories", 1, "name", value="red"), r"categories: expected names that differ, got 'red'"),
        (_set("annotations", 1, "image_id", value=7), r"annotations\[1\]\.image_id: no image has the id 7"),
        (_set("annotations", 1, "category_id", value=9), r"annotations\[1\]\.category_id: expected one of .*, got 9"),
        (_set("annotations", 0, "bbox", value=[1, 2, 3]), r"annotations\[0\]\.bbox: expected x, y, width, height"),
        (_set("annotations", 0, "bbox", value=[1, 2, -3, 4]), r"annotations\[0\]\.bbox: expected x, y, width, height"),
        (_set("annotations", 0, "bbox", value=[1, 2, 3, None]), r"annotations\[0\]\.bbox\[3\]: expected float"),
        (_set("annotations", 0, "bbox", value=[70, 2, 3, 4]), r"annotations\[0\]\.bbox: .* in the picture of 64x48"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    plain = document(tmp_path)
    change(plain)
    with pytest.raises(DataError, match=message):
        open_dataset(write_json(tmp_path / "set.json", plain))


def test_many_problems_are_a_few_lines(tmp_path: Path) -> None:
    plain = document(tmp_path)
    plain["annotations"] = [plain["annotations"][0] | {"category_id": 9}] * 50
    with pytest.raises(DataError) as raised:
        open_dataset(write_json(tmp_path / "set.json", plain))
    assert len(raised.value.lines()) == 5
    assert raised.value.lines()[-1].endswith("(and 45 more like these)")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"[]", b'"x"', b'{"images": 3}'])
def test_a_file_that_is_no_coco_json_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "set.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"set\.json: ") as raised:
        open_dataset(path)
    assert raised.value.hint == "expected COCO JSON: images, categories, annotations"
    assert len(raised.value.lines()) == 2


@pytest.mark.skipif(SHARED is None, reason="needs the shared data sets")
def test_the_shared_validation_set_is_as_its_description_says() -> None:
    assert SHARED is not None
    dataset = open_dataset(SHARED / "detection" / "val.json")
    assert dataset.classes == ("person", "vehicle", "bike")
    counts = [sum(int((x.labels.class_ids == c).sum()) for x in dataset.images) for c in range(3)]
    assert (len(dataset), counts) == (329, [497, 360, 170])
    cctv = open_dataset(SHARED / "detection" / "val_cctv.json")
    assert sum(image.labelled == {0} for image in cctv.images) == 90
    stated = json.loads((SHARED / "detection" / "val_cctv.json").read_text())
    assert np.isclose(sum(x.labels.areas_px.sum() for x in cctv.images), sum(a["area"] for a in stated["annotations"]))


def test_a_file_name_that_no_file_can_have_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    plain = document(tmp_path)
    plain["images"][0]["file_name"] = "x" * 300 + ".png"
    with pytest.raises(DataError, match=r"images\[0\]\.file_name: no file "):
        open_dataset(write_json(tmp_path / "set.json", plain))
