from __future__ import annotations

import numpy as np
import pytest

from engines.validate import agreement
from engines.validate.agreement import iou_table, pair_up
from engines.validate.plain_decoding import plain_iou
from tests.support.predictions import Box, Row, dataset, detections, image, predictions

A: Row = ((10, 10, 50, 50), 0.9, 0)
B: Row = ((60, 60, 100, 120), 0.8, 0)
SET = dataset(image(), image())


def test_an_engine_agrees_with_itself() -> None:
    one = predictions(SET, [A, B], [])
    found = agreement(one, one)
    assert found.found_again == (1.0, 1.0)
    assert (found.boxes, found.pairs, found.images) == ((2, 2), 2, 2)
    assert (found.side_px, found.side_px_max, found.score, found.score_max) == (0.0, 0.0, 0.0, 0.0)


def test_what_one_lacks_and_what_it_has_more_are_told_apart() -> None:
    extra: Row = ((150, 150, 190, 190), 0.7, 0)
    found = agreement(predictions(SET, [A, B], []), predictions(SET, [A], [extra, B]))
    assert found.found_again == (pytest.approx(1 / 2), pytest.approx(1 / 3))


def test_only_what_is_shown_counts() -> None:
    found = agreement(predictions(SET, [A, B], []), predictions(SET, [A, (B[0], 0.4, 0)], []))
    assert found.boxes == (2, 1)


@pytest.mark.parametrize(("score", "near"), [(0.46, 1.0), (0.44, 0.0)])
def test_a_box_that_is_a_little_less_sure_is_found_nearby(score: float, near: float) -> None:
    found = agreement(predictions(SET, [A], []), predictions(SET, [(A[0], score, 0)], []))
    assert found.found_again == (0.0, None)
    assert found.found_near == (near, None)


def test_another_class_is_another_box() -> None:
    found = agreement(predictions(SET, [A], []), predictions(SET, [(A[0], 0.9, 1)], []))
    assert found.found_again == (0.0, 0.0)


@pytest.mark.parametrize(("height", "again"), [(31.0, 1.0), (29.0, 0.0)])
def test_a_box_is_found_again_from_an_overlap_of_three_quarters_on(height: float, again: float) -> None:
    found = agreement(predictions(SET, [A], []), predictions(SET, [((10, 10, 50, 10 + height), 0.9, 0)], []))
    assert found.found_again == (again, again)


def test_distances_are_those_of_the_pairs() -> None:
    found = agreement(predictions(SET, [A], []), predictions(SET, [((12, 10, 50, 50), 0.8, 0)], []))
    assert found.side_px == pytest.approx(0.5)
    assert found.side_px_max == pytest.approx(2.0)
    assert found.score_max == pytest.approx(0.1)


def test_nothing_shown_is_nothing_said() -> None:
    empty = predictions(SET, [], [])
    found = agreement(empty, empty)
    assert found.found_again == (None, None)
    assert found.side_px is None


def test_a_box_is_found_again_once() -> None:
    twice = detections([A, ((10, 10, 50, 49), 0.85, 0)])
    pairs = pair_up(detections([A]), twice, iou=0.75)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0], [0])


def test_the_best_overlap_is_taken_first() -> None:
    one = detections([((0, 0, 40, 40), 0.9, 0), ((4, 0, 44, 40), 0.8, 0)])
    other = detections([((4, 0, 44, 40), 0.9, 0), ((0, 0, 40, 40), 0.8, 0)])
    pairs = pair_up(one, other, iou=0.75)
    assert dict(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == {0: 1, 1: 0}


def test_the_table_of_overlaps_is_that_of_single_ones() -> None:
    rng = np.random.default_rng(2)
    boxes = rng.integers(0, 10, (2, 12, 4)).astype(np.float32)  # some of no area, some turned inside out
    boxes[..., 2:] += 3
    table = iou_table(boxes[0], boxes[1])

    def box(row: np.ndarray) -> Box:
        return (float(row[0]), float(row[1]), float(row[2]), float(row[3]))

    for row, column in np.ndindex(12, 12):
        one, other = box(boxes[0, row]), box(boxes[1, column])
        if min(one[2] - one[0], one[3] - one[1], other[2] - other[0], other[3] - other[1]) > 0:
            assert table[row, column] == pytest.approx(plain_iou(one, other))
