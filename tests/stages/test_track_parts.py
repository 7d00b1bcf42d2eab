"""The parts of the tracker: the motion filter and the distance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.track.association import class_groups, distances, match, pairwise_iou
from stages.track.motion import BoxFilter

BOX = (100.0, 100.0, 160.0, 260.0)


def state(subject: BoxFilter) -> tuple[float, ...]:
    return (*subject.box, subject.reach_px)


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6))
def test_several_short_steps_are_one_long_step(steps: list[float]) -> None:
    one, many = BoxFilter(BOX), BoxFilter(BOX)
    for subject in (one, many):
        subject.predict(0.1)
        subject.see((110.0, 101.0, 171.0, 262.0))

    one.predict(sum(steps))
    for step_s in steps:
        many.predict(step_s)

    # The size that scales the noise moves along with the box, so the reach is equal only nearly.
    assert many.box == pytest.approx(one.box)
    assert many.reach_px == pytest.approx(one.reach_px, rel=0.05)


def test_a_steady_speed_is_learnt_and_makes_the_prediction_surer() -> None:
    subject = BoxFilter(BOX)
    reach = []
    for i in range(1, 30):
        subject.predict(0.1)
        reach.append(subject.reach_px)
        subject.see((100.0 + 8.0 * i, 100.0, 160.0 + 8.0 * i, 260.0))

    assert reach[-1] < reach[0] / 1.2
    subject.predict(1.0)
    assert subject.box == pytest.approx((100.0 + 8.0 * 39, 100.0, 160.0 + 8.0 * 39, 260.0), abs=2.0)


def test_edges_never_pass_through_each_other() -> None:
    subject = BoxFilter(BOX)
    for i in range(1, 6):
        subject.predict(0.1)
        subject.see((100.0 + 10.0 * i, 100.0, 160.0, 260.0))
    subject.predict(3.0)

    x1, y1, x2, y2 = subject.box
    assert x1 == x2
    assert y1 < y2


def test_rescaling_scales_the_box_its_speed_and_its_reach() -> None:
    plain, scaled = BoxFilter(BOX), BoxFilter(BOX)
    for subject in (plain, scaled):
        subject.predict(0.1)
        subject.see((110.0, 100.0, 170.0, 260.0))
    scaled.rescale(0.5, 0.5)
    plain.predict(1.0)
    scaled.predict(1.0)

    assert state(scaled) == pytest.approx(tuple(value / 2.0 for value in state(plain)))


def iou_slow(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if union > 0.0 else 0.0


CORNERS = st.tuples(*[st.floats(0.0, 100.0)] * 4).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]) + 1.0, max(c[1], c[3]) + 1.0)
)


@given(st.lists(CORNERS, min_size=1, max_size=5), st.lists(CORNERS, min_size=1, max_size=5))
def test_pairwise_iou_is_the_plain_definition(a: list[tuple[float, ...]], b: list[tuple[float, ...]]) -> None:
    plain = [[iou_slow(one, other) for other in b] for one in a]

    np.testing.assert_allclose(pairwise_iou(np.array(a), np.array(b)), plain, atol=1e-12)


def distance(seen: tuple[float, ...], predicted: tuple[float, ...], reach_px: float, group: int = 0) -> float:
    table = distances(np.array([seen]), np.array([predicted]), np.array([reach_px]), np.array([0]), np.array([group]))
    return float(table[0, 0])


def test_the_same_box_is_at_no_distance() -> None:
    assert distance(BOX, BOX, 10.0) == 0.0


def test_a_walker_who_moved_more_than_a_width_matches_if_the_time_allows_it() -> None:
    moved = (175.0, 100.0, 235.0, 260.0)

    assert distance(moved, BOX, 10.0) >= 1.0
    assert distance(moved, BOX, 40.0) < 1.0


def test_a_nearer_box_is_at_a_smaller_distance() -> None:
    near, far = (110.0, 100.0, 170.0, 260.0), (130.0, 100.0, 190.0, 260.0)

    assert distance(near, BOX, 30.0) < distance(far, BOX, 30.0) < 1.0


def test_another_group_never_matches() -> None:
    assert distance(BOX, BOX, 10.0, group=1) >= 1.0


def test_a_box_of_another_size_beside_it_is_something_else() -> None:
    small = (165.0, 200.0, 185.0, 250.0)

    assert distance(small, BOX, 100.0) >= 1.0


def test_much_overlap_matches_though_the_box_has_grown_at_the_edge_of_the_picture() -> None:
    assert distance((60.0, 100.0, 260.0, 430.0), (80.0, 260.0, 240.0, 430.0), 5.0) < 1.0


def match_slow(table: np.ndarray, limit: float) -> dict[int, int]:
    table = table.copy()
    pairs = {}
    while table.size and table.min() < limit:
        row, column = divmod(int(table.argmin()), table.shape[1])
        pairs[row] = column
        table[row, :] = table[:, column] = limit + 1.0
    return pairs


@settings(max_examples=200)
@given(st.integers(0, 6), st.integers(1, 6), st.data())
def test_match_is_smallest_first(rows: int, columns: int, data: st.DataObject) -> None:
    values = st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 0.999, 1.0, 2.0])
    table = np.array(data.draw(st.lists(values, min_size=rows * columns, max_size=rows * columns)))
    table = table.reshape(rows, columns)

    assert dict(zip(*match(table, 1.0), strict=True)) == match_slow(table, 1.0)


def test_class_groups_are_the_names_that_get_mixed_up() -> None:
    names = ("person", "Car", "dog", "truck", "bicycle", "bus", "motorcycle", "bench")

    assert class_groups(names) == (0, 1, 2, 1, 4, 1, 4, 7)
