"""Pictures in memory: what people said of them, what nobody said, what a teacher said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.datasets import open_dataset
from engines.train.evaluate import halves
from engines.train.pictures import decode, load_samples
from engines.train.pseudo import image_ids, read_pseudo
from engines.types import F32
from tests.support.datasets import coco_document, write_json, write_picture
from tests.support.models import COLOURS
from vedette.errors import DataError

THINGS = {"red": (4, 6, 30, 40), "green": (50, 10, 90, 60)}


def written(folder: Path, **changes: Any) -> Path:
    """Two pictures with two things each; `changes` are fields of the first image."""
    pictures = []
    for name in ("one.png", "two.png"):
        write_picture(folder / name, (120, 80), THINGS)
        pictures.append((name, (120, 80), THINGS))
    document = coco_document(pictures)
    document["images"][0] |= {"id": 71} | changes
    for annotation in document["annotations"]:
        annotation["image_id"] = 71 if annotation["image_id"] == 1 else 2
    return write_json(folder / "set.json", document)


def test_a_picture_is_kept_as_it_is_and_boxes_lie_on_it(tmp_path: Path) -> None:
    samples, problems = load_samples(open_dataset(written(tmp_path)), longest_px=640)
    assert (len(samples), problems) == (2, [])
    for box, class_id in zip(samples[0].truth.xyxy_px.astype(int), samples[0].truth.class_ids, strict=True):
        inside = samples[0].rgb[box[1] : box[3], box[0] : box[2]]
        assert (inside == list(COLOURS.values())[class_id]).all()
    assert samples[0].truth.weights.tolist() == [1.0, 1.0]
    assert not len(samples[0].truth.regions)


def test_a_large_picture_is_made_smaller_with_its_boxes(tmp_path: Path) -> None:
    samples, _ = load_samples(open_dataset(written(tmp_path)), longest_px=60)
    assert samples[0].rgb.shape == (40, 60, 3)
    np.testing.assert_allclose(samples[0].truth.xyxy_px, np.array(list(THINGS.values())) / 2)


def test_a_class_that_is_not_labelled_is_a_region_of_no_cost(tmp_path: Path) -> None:
    samples, _ = load_samples(open_dataset(written(tmp_path, labels=["red"])), longest_px=640)
    first, second = (sample.truth for sample in samples)
    assert first.regions.tolist() == [[0, 0, 120, 80]]
    assert first.region_weights.tolist() == [[1.0, 0.0, 0.0]]
    assert len(first.class_ids) == 2  # green has a box all the same, and it is right
    assert not len(second.regions)


def test_a_crowd_is_a_region_and_no_object(tmp_path: Path) -> None:
    path = written(tmp_path)
    document = json.loads(path.read_text())
    document["annotations"][1]["iscrowd"] = 1
    samples, _ = load_samples(open_dataset(write_json(path, document)), longest_px=640)
    assert samples[0].truth.class_ids.tolist() == [0]
    assert samples[0].truth.region_weights.tolist() == [[1.0, 0.0, 1.0]]
    np.testing.assert_allclose(samples[0].truth.regions[0], THINGS["green"])


def results(path: Path, *rows: tuple[int, int, list[float], float]) -> Path:
    named = [dict(zip(("image_id", "category_id", "bbox", "score"), row, strict=True)) for row in rows]
    return write_json(path, named)


BLUE: list[float] = [95, 60, 20, 15]
RED: list[float] = [5, 6, 25, 34]


def test_pseudo_labels_fill_what_people_left_open_and_nothing_else(tmp_path: Path) -> None:
    dataset = open_dataset(written(tmp_path, labels=["red", "green"]))
    said = results(
        tmp_path / "pseudo.json",
        (71, 3, BLUE, 0.8),  # blue: nobody labelled it in this picture
        (71, 3, [0, 60, 20, 20], 0.2),  # perhaps
        (71, 1, [60, 60, 20, 20], 0.9),  # red is labelled: people know better
        (2, 3, BLUE, 0.9),  # all is labelled there
    )
    samples, _ = load_samples(dataset, longest_px=640, pseudo=read_pseudo(said, dataset, take=0.4, trust=0.5))
    first, second = (sample.truth for sample in samples)
    assert first.class_ids.tolist() == [0, 1, 2]
    assert first.weights.tolist() == pytest.approx([1.0, 1.0, 0.8])
    weights = {tuple(row) for row in first.region_weights.tolist()}
    assert weights == {(1.0, 1.0, 0.0), (1.0, 1.0, 0.5)}
    assert second.class_ids.tolist() == [0, 1]


def test_a_pseudo_label_on_a_box_by_people_is_the_same_object(tmp_path: Path) -> None:
    dataset = open_dataset(written(tmp_path, labels=[]))
    said = results(tmp_path / "pseudo.json", (71, 1, RED, 0.9), (71, 1, BLUE, 0.9))
    samples, _ = load_samples(dataset, longest_px=640, pseudo=read_pseudo(said, dataset))
    assert samples[0].truth.class_ids.tolist() == [0, 1, 0]


def test_pseudo_labels_find_their_image_in_a_part_of_the_set(tmp_path: Path) -> None:
    dataset = open_dataset(written(tmp_path)).chosen(lambda image: image.path.name == "two.png")
    dataset = replace(dataset, images=tuple(replace(image, labelled=frozenset()) for image in dataset.images))
    said = results(tmp_path / "pseudo.json", (71, 3, BLUE, 0.9), (2, 3, [1, 60, 30, 15], 0.9))
    samples, _ = load_samples(dataset, longest_px=640, pseudo=read_pseudo(said, dataset))
    box: F32 = samples[0].truth.xyxy_px[-1]
    assert box.tolist() == [1, 60, 31, 75]
    assert image_ids(dataset) == ["2"]


@pytest.mark.parametrize("prefix", ["", "./", "sub/../", "absolute"])
def test_ids_are_those_of_the_file_however_it_names_its_pictures(tmp_path: Path, prefix: str) -> None:
    """1.jpg is the end of a/1.jpg, too."""
    (tmp_path / "sub").mkdir()
    before = f"{tmp_path}/" if prefix == "absolute" else prefix
    pictures = []
    for name in ("1.png", "a/1.png"):
        write_picture(tmp_path / name, (120, 80), {})
        pictures.append((before + name, (120, 80), {}))
    dataset = open_dataset(write_json(tmp_path / "set.json", coco_document(pictures)))
    dataset = replace(dataset, images=tuple(replace(image, labelled=frozenset()) for image in dataset.images))
    assert image_ids(dataset) == ["1", "2"]

    rows = read_pseudo(results(tmp_path / "pseudo.json", (2, 3, BLUE, 0.9)), dataset).rows
    assert [len(row.class_ids) for row in rows] == [0, 1]


def test_a_picture_of_a_folder_is_called_by_its_place_there(tmp_path: Path) -> None:
    for name in ("1.png", "a/1.png"):
        write_picture(tmp_path / "pictures" / name, (120, 80), {})
    dataset = open_dataset(tmp_path / "pictures")
    assert image_ids(dataset) == ["1.png", "a/1.png"]
    with pytest.raises(DataError, match="pseudo-labels go by COCO's image ids"):
        read_pseudo(results(tmp_path / "pseudo.json"), dataset)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("[]", "has no box for an image"),
        ("{}", "expected a COCO results list"),
        ('[{"image_id": 1}]', "expected a COCO results list"),
        ("nonsense", "expected a COCO results list"),
    ],
)
def test_wrong_pseudo_labels_are_one_line(tmp_path: Path, content: str, match: str) -> None:
    dataset = open_dataset(written(tmp_path))
    path = tmp_path / "pseudo.json"
    path.write_text(content)
    with pytest.raises(DataError, match=match) as caught:
        read_pseudo(path, dataset)
    assert "\n" not in caught.value.message


def test_pictures_that_cannot_be_read_are_named_and_left_out(tmp_path: Path) -> None:
    dataset = open_dataset(written(tmp_path))
    (tmp_path / "one.png").write_bytes(b"no picture")
    samples, problems = load_samples(dataset, longest_px=640)
    assert len(samples) == 1
    assert "one.png" in problems[0]
    (tmp_path / "two.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of 2 images can be used"):
        load_samples(dataset, longest_px=640)


def test_a_tiny_picture_has_an_area_all_the_same(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", (3, 5), {})
    image = open_dataset(tmp_path).images[0]
    assert decode(image, 640)[0].shape == (32, 32, 3)


def test_halves_share_no_image_and_do_not_depend_on_what_else_is_there(tmp_path: Path) -> None:
    pictures = []
    for index in range(40):
        write_picture(tmp_path / f"{index}.png", (32, 32), {})
        pictures.append((f"{index}.png", (32, 32), {}))
    dataset = open_dataset(write_json(tmp_path / "set.json", coco_document(pictures)))
    first, second = halves(dataset)
    assert len(first) + len(second) == 40
    assert 8 <= len(first) <= 32
    assert not {image.path for image in first.images} & {image.path for image in second.images}
    some = dataset.chosen(lambda image: image.path.stem.endswith("7"))
    assert [i.path for i in halves(some)[0].images] == [i.path for i in first.images if i.path.stem.endswith("7")]
