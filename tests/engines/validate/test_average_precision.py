from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from engines.datasets import Dataset
from engines.validate import Predictions, average_precision
from engines.validate.plain_decoding import plain_iou
from tests.support.predictions import Box, Row, dataset, image, predictions
from vedette.errors import DataError

A: Box = (10, 10, 50, 50)
B: Box = (60, 60, 100, 120)
AWAY: Box = (150, 150, 190, 190)


def test_what_is_all_found_is_1_and_what_is_not_found_is_0() -> None:
    of = dataset(image([(A, 0)]), image([(B, 0)]))
    perfect = average_precision(predictions(of, [(A, 0.9, 0)], [(B, 0.2, 0)]), of)
    assert perfect.mean.ap == perfect.mean.ap50 == pytest.approx(1.0)
    assert average_precision(predictions(of, [], []), of).mean.ap == 0.0


def test_a_mistake_between_two_finds_costs_what_coco_says() -> None:
    of = dataset(image([(A, 0), (B, 0)]))
    found = predictions(of, [(A, 0.9, 0), (AWAY, 0.8, 0), (B, 0.7, 0)])
    # Precision 1 up to recall 0.5, 2/3 beyond: 51 and 50 of COCO's 101 points.
    assert average_precision(found, of).mean.ap == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_box_that_is_off_counts_at_the_thresholds_that_it_reaches() -> None:
    of = dataset(image([((0, 0, 100, 100), 0)]))
    report = average_precision(predictions(of, [((0, 0, 100, 72), 0.9, 0)]), of)  # IoU 0.72
    assert report.mean.ap50 == pytest.approx(1.0)
    assert report.mean.ap75 == 0.0
    assert report.mean.ap == pytest.approx(0.5)  # 0.50, 0.55, 0.60, 0.65, 0.70


def test_an_image_counts_only_for_the_classes_that_people_labelled_in_it() -> None:
    of = dataset(image([(A, 0)], labelled=[0]), image([(B, 1)], labelled=[1]), classes=("person", "bike"))
    # In each image the other class is found, too: it may well be there, since nobody labelled it.
    found = predictions(of, [(A, 0.8, 0), (B, 0.9, 1)], [(A, 0.9, 0), (B, 0.8, 1)])
    report = average_precision(found, of)
    assert [one.ap.ap for one in report.classes] == pytest.approx([1.0, 1.0])
    assert [one.images for one in report.classes] == [1, 1]
    everywhere = dataset(*(image([(A, 0)], labelled=[0, 1]), image([(B, 1)], labelled=[0, 1])), classes=of.classes)
    assert average_precision(found, everywhere).mean.ap == pytest.approx(0.5)


def test_a_crowd_is_neither_an_object_nor_a_mistake() -> None:
    of = dataset(image([(A, 0), (B, 0)], crowd=[False, True]))
    report = average_precision(predictions(of, [(B, 0.9, 0), (A, 0.8, 0)]), of)
    assert report.mean.ap == pytest.approx(1.0)
    assert report.classes[0].objects == 1


def test_sizes_are_counted_apart() -> None:
    small, medium, large = (0.0, 0.0, 20.0, 20.0), (50.0, 50.0, 100.0, 100.0), (0.0, 0.0, 150.0, 150.0)
    of = dataset(image([(small, 0)]), image([(medium, 0)]), image([(large, 0)]))
    report = average_precision(predictions(of, [(small, 0.9, 0)], [], [(large, 0.9, 0)]), of)
    assert (report.mean.small, report.mean.medium, report.mean.large) == pytest.approx((1.0, 0.0, 1.0))
    assert (
        average_precision(predictions(dataset(image([(small, 0)])), []), dataset(image([(small, 0)]))).mean.large
        is None
    )


def test_the_mean_is_over_the_classes_that_have_objects() -> None:
    of = dataset(image([(A, 0)], labelled=[0, 1]), classes=("person", "bike"))
    report = average_precision(predictions(of, [(A, 0.9, 0), (B, 0.8, 1)]), of)
    assert report.mean.ap == pytest.approx(1.0)
    assert report.classes[1].ap.ap is None


def test_without_any_object_there_is_no_ap() -> None:
    of = dataset(image([], labelled=[0]), image([(A, 0)], labelled=[]))
    with pytest.raises(DataError, match=r"set\.json: no image has a labelled object of person"):
        average_precision(predictions(of, [], []), of)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    of = dataset(image([(A, 0)]))
    average_precision(predictions(of, [(A, 0.9, 0)]), of)
    assert capsys.readouterr().out == ""


def test_it_agrees_with_a_plain_average_precision() -> None:
    rng = np.random.default_rng(11)
    for _ in range(5):
        of, found = _random_case(rng)
        got = average_precision(found, of).mean.ap50
        assert got == pytest.approx(_plain_ap50(of, found), abs=1e-9)


def _random_case(rng: np.random.Generator) -> tuple[Dataset, Predictions]:
    def box() -> Box:
        x, y = rng.uniform(0, 150, 2)
        return (x, y, x + rng.uniform(10, 50), y + rng.uniform(10, 50))

    images, rows = [], []
    for _ in range(6):
        truth = [box() for _ in range(int(rng.integers(0, 5)))]
        images.append(image([(one, 0) for one in truth]))
        near: list[Row] = []
        for one in truth * 2 + [box() for _ in range(3)]:
            moved = np.array(one) + rng.normal(0, 5, 4)
            near.append(((moved[0], moved[1], moved[2] + 9, moved[3] + 9), float(rng.uniform(0.05, 1)), 0))
        rows.append(near)
    of = dataset(*images, image([((0.0, 0.0, 9.0, 9.0), 0)]))
    return of, predictions(of, *rows, [])


def _plain_ap50(of: Dataset, found: Predictions) -> float:
    """Each detection, the best first, takes the free object that it overlaps most, by at least a half."""
    objects = [[tuple(map(float, box)) for box in one.labels.xyxy_px] for one in of.images]
    taken: list[set[int]] = [set() for _ in objects]
    every: list[tuple[float, int, Sequence[float]]] = [
        (float(score), index, box)
        for index, one in enumerate(found.found)
        for box, score in zip(one.every.xyxy_px.tolist(), one.every.scores.tolist(), strict=True)
    ]
    hits = []
    for _, index, box in sorted(every, key=lambda row: -row[0]):
        overlaps = [
            (plain_iou((box[0], box[1], box[2], box[3]), (one[0], one[1], one[2], one[3])), number)
            for number, one in enumerate(objects[index])
            if number not in taken[index]
        ]
        best = max(overlaps, default=(0.0, -1))
        hits.append(best[0] >= 0.5)
        if hits[-1]:
            taken[index].add(best[1])
    total = sum(map(len, objects))
    right = np.cumsum(hits)
    recall, precision = right / total, right / np.arange(1, len(hits) + 1)
    return float(np.mean([max(precision[recall >= step], default=0.0) for step in np.linspace(0, 1, 101)]))
