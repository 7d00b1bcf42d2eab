"""NMS against its plain definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engines.nms import nms
from engines.types import F32, I32

Found = tuple[F32, F32, I32]


def iou_slow(a: list[float], b: list[float]) -> tuple[float, float]:
    """(intersection, union)."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    area_a = max(a[2] - a[0], 0.0) * max(a[3] - a[1], 0.0)
    area_b = max(b[2] - b[0], 0.0) * max(b[3] - b[1], 0.0)
    return width * height, area_a + area_b - width * height


def overlaps_slow(a: list[float], b: list[float], iou: float) -> bool:
    intersection, union = iou_slow(a, b)
    return intersection > union * iou


def nms_slow(found: Found, iou: float, max_objects: int) -> list[int]:
    boxes, scores, classes = (array.tolist() for array in found)
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if not any(classes[i] == classes[k] and overlaps_slow(boxes[k], boxes[i], iou) for k in kept):
            kept.append(i)
    return kept[:max_objects]


def found_of(rows: list[tuple[float, float, float, float, float, int]]) -> Found:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int32)


# A coarse grid, so that boxes coincide, touch, nest, have no area or are turned inside out, and scores tie.
corner = st.integers(0, 12).map(float)
score = st.integers(0, 8).map(lambda n: n / 8)
row = st.tuples(corner, corner, corner, corner, score, st.integers(0, 2))
coarse = st.lists(row, max_size=40).map(found_of)


def crowd(seed: int, count: int) -> Found:
    """Boxes around a few objects, as a detector gives them; three times more than one block."""
    random = np.random.default_rng(seed)
    centres = random.uniform(0, 300, (12, 2))[random.integers(0, 12, count)] + random.normal(0, 3, (count, 2))
    halves = random.uniform(10, 40, (count, 2))
    boxes = np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)
    scores = random.integers(1, 50, count).astype(np.float32) / 50
    return boxes, scores, random.integers(0, 3, count).astype(np.int32)


@given(coarse, st.integers(0, 20).map(lambda n: n / 20), st.integers(1, 50))
def test_nms_equals_the_plain_definition(found: Found, iou: float, max_objects: int) -> None:
    assert nms(*found, iou, max_objects).tolist() == nms_slow(found, iou, max_objects)


@pytest.mark.parametrize("count", [1, 127, 128, 129, 400])
@pytest.mark.parametrize("iou", [0.0, 0.3, 0.65, 1.0])
def test_nms_equals_the_plain_definition_across_blocks(count: int, iou: float) -> None:
    found = crowd(count, count)

    assert nms(*found, iou, count).tolist() == nms_slow(found, iou, count)
    assert nms(*found, iou, 7).tolist() == nms_slow(found, iou, 7)


@given(coarse, st.floats(0, 1))
def test_nms_of_what_it_kept_keeps_all(found: Found, iou: float) -> None:
    kept = nms(*found, iou, 100)
    again = nms(found[0][kept], found[1][kept], found[2][kept], iou, 100)

    assert again.tolist() == list(range(len(kept)))


@given(coarse, st.floats(0, 1), st.randoms(use_true_random=False))
def test_nms_ignores_the_order_of_its_input_when_scores_differ(found: Found, iou: float, random: object) -> None:
    boxes, _, classes = found
    scores = np.linspace(1, 0.1, len(boxes), dtype=np.float32)
    order = np.arange(len(boxes))
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis gives a random.Random

    straight = nms(boxes, scores, classes, iou, 100)
    shuffled = nms(boxes[order], scores[order], classes[order], iou, 100)

    assert order[shuffled].tolist() == straight.tolist()


@given(coarse, st.floats(0, 1))
def test_no_two_kept_boxes_of_a_class_overlap_above_the_threshold(found: Found, iou: float) -> None:
    kept = nms(*found, iou, 100)
    boxes, classes = found[0][kept].tolist(), found[2][kept].tolist()

    for i in range(len(kept)):
        for j in range(i):
            assert classes[i] != classes[j] or not overlaps_slow(boxes[i], boxes[j], iou)


@given(coarse, st.floats(0, 1), st.integers(1, 100))
def test_nms_gives_the_best_first_and_ties_by_index(found: Found, iou: float, max_objects: int) -> None:
    kept = nms(*found, iou, max_objects)
    assume(len(kept) > 1)
    ranks = [(-float(found[1][i]), int(i)) for i in kept]

    assert len(kept) <= max_objects
    assert ranks == sorted(ranks)


def test_of_equal_boxes_with_equal_scores_the_first_stays() -> None:
    found = found_of([(0, 0, 4, 4, 0.5, 0)] * 3)

    assert nms(*found, 0.5, 10).tolist() == [0]


def test_an_overlap_of_exactly_the_threshold_stays() -> None:
    # Two of 2 x 1 that share 1 x 1: intersection 1, union 3; at a quarter: 1 x 1 within 2 x 2.
    found = found_of([(0, 0, 2, 2, 0.9, 0), (0, 0, 1, 1, 0.8, 0)])

    assert nms(*found, 0.25, 10).tolist() == [0, 1]
    assert nms(*found, 0.2499, 10).tolist() == [0]


def test_boxes_of_different_classes_do_not_suppress_each_other() -> None:
    found = found_of([(0, 0, 4, 4, 0.5, 0), (0, 0, 4, 4, 0.6, 1)])

    assert nms(*found, 0.1, 10).tolist() == [1, 0]


def test_boxes_without_area_neither_suppress_nor_are_suppressed() -> None:
    found = found_of([(1, 1, 1, 3, 0.9, 0), (0, 0, 4, 4, 0.8, 0), (3, 3, 1, 1, 0.7, 0), (1, 1, 1, 3, 0.6, 0)])

    assert nms(*found, 0.0, 10).tolist() == [0, 1, 2, 3]


def test_huge_coordinates_do_not_overflow() -> None:
    found = found_of([(-1e30, -1e30, 1e30, 1e30, 0.9, 0), (-1e30, -1e30, 1e30, 9e29, 0.8, 0)])

    assert nms(*found, 0.5, 10).tolist() == [0]


def test_nothing_in_gives_nothing_out() -> None:
    assert nms(*found_of([]), 0.5, 10).tolist() == []


def test_nms_does_not_modify_its_inputs() -> None:
    found = crowd(1, 200)
    for array in found:
        array.flags.writeable = False

    assert len(nms(*found, 0.5, 10)) == 10
