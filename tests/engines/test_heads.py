"""Every head on arrays with known answers."""

from __future__ import annotations

import math
import warnings
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engines.heads import Candidates, build_head
from engines.heads.grid import anchor_points
from engines.spec import HeadName, ModelSpec
from engines.types import F32
from tests.support.specs import small_spec
from vedette.errors import ModelError

Row = tuple[list[float], float, int]

# Anchors of a 64 x 64 input: 8 x 8 + 4 x 4 + 2 x 2, and 1 more at stride 64.
YOLOX_ANCHORS, NANODET_ANCHORS = 84, 85
OUTPUT_SHAPES: dict[HeadName, dict[str, tuple[int, ...]]] = {
    "yolo_nas": {"boxes": (2, 84, 4), "scores": (2, 84, 2)},
    "yolox": {"output": (2, YOLOX_ANCHORS, 7)},
    "nanodet_plus": {"output": (2, NANODET_ANCHORS, 34)},
    "yolov8": {"output0": (2, 6, 84)},
    "end2end": {"output0": (2, 10, 6)},
}
HEADS = list(get_args(HeadName))


def zeros(head: HeadName) -> dict[str, F32]:
    return {name: np.zeros(shape, np.float32) for name, shape in OUTPUT_SHAPES[head].items()}


def rows_of(candidates: Candidates) -> list[Row]:
    """By box, class and score, rounded; in a settled order."""
    return sorted(
        (np.round(box, 3).tolist(), round(float(score), 4), int(class_id))
        for box, score, class_id in zip(candidates.xyxy_px, candidates.scores, candidates.class_ids, strict=True)
    )


# ── known answers ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_yolo_nas_takes_the_best_class_of_each_box() -> None:
    outputs = zeros("yolo_nas")
    outputs["boxes"][1, 3], outputs["scores"][1, 3] = [1, 2, 30, 40], [0.4, 0.6]
    outputs["boxes"][1, 80], outputs["scores"][1, 80] = [5, 6, 7, 8], [0.9, 0.1]

    found = build_head(small_spec("yolo_nas")).decode(outputs, 1, 0.35)

    assert rows_of(found) == [([1, 2, 30, 40], 0.6, 1), ([5, 6, 7, 8], 0.9, 0)]


@pytest.mark.parametrize(
    ("anchor", "box"),
    [
        # Stride 8, cell (column 2, row 1): centre ((0.5 + 2) * 8, (0.25 + 1) * 8), sides 16 and 24.
        (1 * 8 + 2, [20 - 8, 10 - 12, 20 + 8, 10 + 12]),
        # Stride 16, cell (3, 2): centre (3.5 * 16, 2.25 * 16), sides 32 and 48.
        (64 + 2 * 4 + 3, [56 - 16, 36 - 24, 56 + 16, 36 + 24]),
        # Stride 32, cell (0, 1): centre (0.5 * 32, 1.25 * 32), sides 64 and 96.
        (64 + 16 + 1 * 2 + 0, [16 - 32, 40 - 48, 16 + 32, 40 + 48]),
    ],
)
def test_yolox_decodes_cells_of_every_stride(anchor: int, box: list[float]) -> None:
    outputs = zeros("yolox")
    outputs["output"][0, anchor] = [0.5, 0.25, math.log(2), math.log(3), 0.8, 0.1, 0.5]

    found = build_head(small_spec("yolox")).decode(outputs, 0, 0.35)

    assert rows_of(found) == [(box, 0.4, 1)]


def test_yolox_holds_objectness_times_class_against_the_threshold() -> None:
    outputs = zeros("yolox")
    outputs["output"][0, 0, 4:] = [0.8, 0.5, 0.0]
    outputs["output"][0, 1, 4:] = [0.6, 0.5, 0.0]
    outputs["output"][0, 2, 4:] = [0.3, 1.0, 0.0]

    found = build_head(small_spec("yolox")).decode(outputs, 0, 0.35)

    assert found.scores.tolist() == pytest.approx([0.4])


@pytest.mark.parametrize(
    ("anchor", "point", "stride"),
    [(1 * 8 + 2, (16, 8), 8), (64 + 2 * 4 + 3, (48, 32), 16), (64 + 16 + 1, (32, 0), 32), (84, (0, 0), 64)],
)
def test_nanodet_distances_are_expectations_from_the_cells_corner(
    anchor: int, point: tuple[float, float], stride: float
) -> None:
    outputs = zeros("nanodet_plus")
    row = outputs["output"][0, anchor]
    row[:2] = [0.7, 0.2]
    left, top, right, bottom = row[2:].reshape(4, 8)
    left[0] = 50.0  # all weight on 0
    top[1] = 50.0  # on 1
    right[2] = right[3] = 50.0  # half on 2, half on 3
    bottom[:] = 1.0  # equal on 0..7

    found = build_head(small_spec("nanodet_plus")).decode(outputs, 0, 0.35)

    x, y = point
    assert rows_of(found) == [([x, y - stride, x + 2.5 * stride, y + 3.5 * stride], 0.7, 0)]


def test_yolov8_reads_columns_as_boxes() -> None:
    outputs = zeros("yolov8")
    outputs["output0"][1, :, 7] = [30, 20, 10, 8, 0.2, 0.6]
    outputs["output0"][1, :, 83] = [5, 6, 2, 4, 0.36, 0.2]

    found = build_head(small_spec("yolov8")).decode(outputs, 1, 0.35)

    assert rows_of(found) == [([4, 4, 6, 8], 0.36, 0), ([25, 16, 35, 24], 0.6, 1)]


def test_end_to_end_rows_are_boxes_as_they_stand() -> None:
    outputs = zeros("end2end")
    outputs["output0"][0, 0] = [1, 2, 3, 4, 0.9, 1]
    outputs["output0"][0, 1] = [5, 6, 7, 8, 0.3, 0]

    head = build_head(small_spec("end2end"))

    assert rows_of(head.decode(outputs, 0, 0.35)) == [([1, 2, 3, 4], 0.9, 1)]
    assert len(head.decode(outputs, 0, 0.0)) == 2, "padding is not an object, whatever the threshold"
    assert not head.needs_nms


def test_an_end_to_end_class_that_the_spec_does_not_name_is_left_out_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outputs = zeros("end2end")
    outputs["output0"][0, :4] = [[1, 2, 3, 4, 0.9, class_id] for class_id in (1, 2, -1, 1e30)]

    found = build_head(small_spec("end2end")).decode(outputs, 0, 0.35)

    assert rows_of(found) == [([1, 2, 3, 4], 0.9, 1)]
    assert "model small gave class 1e+30, but its spec names 2" in caplog.text


def test_all_labels_gives_a_candidate_for_each_class_above_the_threshold() -> None:
    outputs = zeros("yolo_nas")
    outputs["boxes"][0, 3], outputs["scores"][0, 3] = [1, 2, 30, 40], [0.4, 0.6]
    outputs["boxes"][0, 4], outputs["scores"][0, 4] = [5, 6, 7, 8], [0.4, 0.2]

    found = build_head(small_spec("yolo_nas"), labels="all").decode(outputs, 0, 0.35)

    assert rows_of(found) == [([1, 2, 30, 40], 0.4, 0), ([1, 2, 30, 40], 0.6, 1), ([5, 6, 7, 8], 0.4, 0)]


def test_anchor_points_go_by_rows_and_round_up() -> None:
    cells, strides = anchor_points((96, 40), (32, 64))

    assert cells.tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1], [0, 0], [1, 0]]
    assert strides.ravel().tolist() == [32] * 6 + [64] * 2


@pytest.mark.parametrize(
    ("size_wh", "strides", "count"),
    [((416, 416), (8, 16, 32), 3549), ((416, 416), (8, 16, 32, 64), 3598), ((640, 384), (8, 16, 32), 5040)],
)
def test_anchor_points_are_as_many_as_the_published_models_have(
    size_wh: tuple[int, int], strides: tuple[int, ...], count: int
) -> None:
    assert len(anchor_points(size_wh, strides)[0]) == count


# ── what holds for every head ────────────────────────────────────────────────────────────────────────────────────────


def put(outputs: dict[str, npt.NDArray[np.floating]], head: HeadName, row: int, score: float) -> None:
    """One candidate of class 1 in picture 0; its box is of no interest."""
    match head:
        case "yolo_nas":
            outputs["scores"][0, row, 1] = score
        case "yolox":
            outputs["output"][0, row, [4, 6]] = [1.0, score]
        case "nanodet_plus":
            outputs["output"][0, row, 1] = score
        case "yolov8":
            outputs["output0"][0, 5, row] = score
        case "end2end":
            outputs["output0"][0, row, 4:] = [score, 1]


@pytest.mark.parametrize("head", HEADS)
def test_a_score_of_exactly_the_threshold_counts(head: HeadName) -> None:
    outputs = zeros(head)
    put(outputs, head, 2, np.nextafter(np.float32(0.35), np.float32(0)))
    put(outputs, head, 5, 0.35)
    put(outputs, head, 6, 1.0)

    found = build_head(small_spec(head)).decode(outputs, 0, 0.35)

    assert found.scores.tolist() == pytest.approx([0.35, 1.0])
    assert found.class_ids.tolist() == [1, 1]


@pytest.mark.parametrize("head", HEADS)
def test_the_other_pictures_of_a_batch_are_not_looked_at(head: HeadName) -> None:
    outputs = zeros(head)
    put(outputs, head, 2, 0.9)

    assert len(build_head(small_spec(head)).decode(outputs, 0, 0.35)) == 1
    assert len(build_head(small_spec(head)).decode(outputs, 1, 0.35)) == 0


@pytest.mark.parametrize("head", HEADS)
def test_nothing_found_is_empty_arrays_of_the_right_shape(head: HeadName) -> None:
    found = build_head(small_spec(head)).decode(zeros(head), 0, 0.35)

    assert (found.xyxy_px.shape, found.scores.shape, found.class_ids.shape) == ((0, 4), (0,), (0,))
    assert (found.xyxy_px.dtype, found.scores.dtype, found.class_ids.dtype) == (np.float32, np.float32, np.int32)


@pytest.mark.parametrize("head", HEADS)
def test_candidates_outlive_the_engines_memory(head: HeadName) -> None:
    outputs = zeros(head)
    put(outputs, head, 2, 0.9)
    found = build_head(small_spec(head)).decode(outputs, 0, 0.35)
    before = rows_of(found)

    for array in outputs.values():
        array[:] = 77.0

    assert rows_of(found) == before
    assert all(
        not np.shares_memory(mine, array)
        for mine in (found.xyxy_px, found.scores, found.class_ids)
        for array in outputs.values()
    )


@pytest.mark.parametrize("head", HEADS)
def test_outputs_of_half_precision_are_read(head: HeadName) -> None:
    halves = {name: array.astype(np.float16) for name, array in zeros(head).items()}
    put(halves, head, 2, 0.75)

    found = build_head(small_spec(head)).decode(halves, 0, 0.35)

    assert found.scores.tolist() == [0.75]
    assert found.xyxy_px.dtype == np.float32


@pytest.mark.parametrize("head", HEADS)
def test_outputs_may_be_read_only(head: HeadName) -> None:
    outputs = zeros(head)
    put(outputs, head, 2, 0.75)
    for array in outputs.values():
        array.flags.writeable = False

    assert len(build_head(small_spec(head)).decode(outputs, 0, 0.35)) == 1


@pytest.mark.parametrize("head", HEADS)
@given(data=st.data(), score=st.sampled_from([0.0, 0.35, 1.0]))
def test_nothing_that_is_not_finite_gets_through(head: HeadName, data: st.DataObject, score: float) -> None:
    odd = st.sampled_from([math.nan, math.inf, -math.inf, 2.0**127, -(2.0**127), 0.0, 0.5, 1.0, 2.0])
    outputs = {
        name: data.draw(hnp.arrays(np.float32, shape, elements=odd, fill=st.just(0.5)))
        for name, shape in OUTPUT_SHAPES[head].items()
    }
    with warnings.catch_warnings(action="error"):
        found = build_head(small_spec(head)).decode(outputs, 0, score)

    assert np.isfinite(found.xyxy_px).all()
    assert ((found.scores >= np.float32(score)) & (found.scores <= 1.0)).all()
    assert ((found.class_ids >= 0) & (found.class_ids < 2)).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("head", HEADS)
def test_a_row_that_is_not_finite_takes_no_other_with_it(head: HeadName, value: float) -> None:
    outputs = zeros(head)
    put(outputs, head, 2, 0.9)
    put(outputs, head, 3, value)

    found = build_head(small_spec(head)).decode(outputs, 0, 0.35)

    assert found.scores.tolist() == pytest.approx([0.9])


# ── a file that does not fit its spec ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("head", HEADS)
def test_check_takes_fixed_and_free_shapes(head: HeadName) -> None:
    checked = build_head(small_spec(head))
    shapes = OUTPUT_SHAPES[head]

    checked.check(shapes)
    checked.check({name: (-1, *shape[1:]) for name, shape in shapes.items()})
    checked.check(dict.fromkeys(shapes, (-1,) * 3))


@pytest.mark.parametrize(
    ("spec", "shapes", "message"),
    [
        (
            small_spec("yolo_nas"),
            {"boxes": (1, 84, 4), "scores": (1, 84, 80)},
            r"head yolo_nas with 2 classes at 64x64 expected boxes \[\?,84,4\], scores \[\?,84,2\], "
            r"got boxes \[1,84,4\], scores \[1,84,80\]$",
        ),
        (small_spec("yolo_nas"), {"boxes": (1, 84, 4), "scores": (1, 85, 2)}, r"got boxes \[1,84,4\], scores \[1,85"),
        (small_spec("yolo_nas"), {"box": (1, 84, 4), "scores": (1, 84, 2)}, r"expected boxes .*, got box \[1,84,4\]"),
        (small_spec("yolo_nas"), {}, r"got none$"),
        (small_spec("yolox"), {"output": (1, 84, 85)}, r"expected one output \[\?,84,7\], got output \[1,84,85\]"),
        (small_spec("yolox", size=96), {"output": (1, 84, 7)}, r"at 96x96 expected one output \[\?,189,7\]"),
        (small_spec("yolox"), {"a": (1, 84, 7), "b": (1, 84, 7)}, r"expected one output .*, got a .*, b "),
        (small_spec("nanodet_plus"), {"output": (1, 84, 34)}, r"expected one output \[\?,85,34\], got output \[1,84,"),
        (small_spec("yolov8"), {"output0": (1, 84, 6)}, r"expected one output \[\?,6,\?\], got output0 \[1,84,6\]"),
        (small_spec("end2end"), {"output0": (1, 6, 84)}, r"expected one output \[\?,\?,6\], got output0 \[1,6,84\]"),
        (small_spec("end2end"), {"output0": (10, 6)}, r"got output0 \[10,6\]"),
    ],
)  # fmt: skip
def test_outputs_that_do_not_fit_are_refused_with_expected_and_got(
    spec: ModelSpec, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        build_head(spec).check(shapes)

    assert raised.value.hint == "head, classes or input.size of the spec are of another model"
