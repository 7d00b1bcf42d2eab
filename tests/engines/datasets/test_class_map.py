from __future__ import annotations

from pathlib import Path

import pytest

from engines.datasets import ClassMap, Dataset, Image, Labels, match_classes, parse_map
from engines.spec import COCO_CLASSES
from vedette.errors import DataError, UsageError

OURS = ("person", "vehicle", "bike")
VEHICLES = {"car": "vehicle", "bus": "vehicle", "truck": "vehicle"}


def test_classes_are_matched_by_name_in_the_order_of_the_data() -> None:
    found = match_classes(("bike", "person"), OURS, {})
    assert found.names == ("person", "bike")
    assert found.of_model.tolist() == [1, 0]
    assert found.of_data.tolist() == [0, -1, 1]
    assert found.only_data == ("vehicle",)


def test_capitals_do_not_matter() -> None:
    assert match_classes(("Person",), ("person ",), {}).of_model.tolist() == [0]


def test_a_model_of_coco_is_held_against_our_classes() -> None:
    found = match_classes(COCO_CLASSES, OURS, VEHICLES | {"bicycle": "bike"})
    assert found.names == OURS
    assert {COCO_CLASSES[index]: found.of_model[index] for index in range(6)} == {
        "person": 0, "bicycle": 2, "car": 1, "motorcycle": -1, "airplane": -1, "bus": 1,
    }  # fmt: skip


def test_our_model_is_held_against_boxes_of_coco() -> None:
    found = match_classes(OURS, COCO_CLASSES, VEHICLES)
    assert found.names == ("person", "vehicle")
    assert found.of_model.tolist() == [0, 1, -1]
    image = Image(
        path=Path("a"),
        labels=Labels.of([[0, 0, 1, 1]] * 3, [2, 3, 7]),
        labelled=frozenset(range(80)),
    )
    mapped = found.apply(Dataset(path=Path("d"), classes=COCO_CLASSES, images=(image,)))
    assert mapped.classes == ("person", "vehicle")
    assert mapped.images[0].labels.class_ids.tolist() == [1, 1]
    assert mapped.images[0].labelled == {0, 1}


def test_a_class_is_labelled_only_if_all_that_go_into_it_are() -> None:
    found = match_classes(OURS, COCO_CLASSES, VEHICLES)
    image = Image(path=Path("a"), labelled=frozenset({0, 2, 5}))  # no trucks
    mapped = found.apply(Dataset(path=Path("d"), classes=COCO_CLASSES, images=(image,)))
    assert mapped.images[0].labelled == {0}


def test_pictures_without_labels_take_the_models_classes() -> None:
    dataset = Dataset(path=Path("d"), classes=(), images=(Image(path=Path("a")),))
    assert ClassMap.same(OURS).apply(dataset).classes == OURS


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(DataError, match=r"the model \(cat\) and the data set \(person, vehicle, bike\) have no class"):
        match_classes(("cat",), OURS, {})


def test_a_name_that_neither_has_is_an_error() -> None:
    with pytest.raises(UsageError, match="neither the model nor the data set has a class 'vehicel'") as raised:
        match_classes(OURS, OURS, {"vehicel": "car"})
    assert raised.value.hint == "did you mean 'vehicle'?"


def test_the_words_of_a_map_are_pairs() -> None:
    assert parse_map("car=vehicle, bus = vehicle") == {"car": "vehicle", "bus": "vehicle"}
    for text in ("", "car", "=vehicle", "car=vehicle,"):
        with pytest.raises(UsageError, match="--map: expected NAME=NAME"):
            parse_map(text)
