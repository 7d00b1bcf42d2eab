"""Candidates in network pixels to detections in source pixels."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.heads import Candidates
from engines.options import ModelOptions
from engines.picture import Placement
from engines.spec import HeadName, ModelSpec
from engines.types import Detections
from stages.suppress import Suppress
from tests.support.specs import small_spec
from vedette.errors import ModelError

# A source of 200 x 100 in a 64 x 64 input: scaled by 0.32, 16 px of padding above and below.
PLACEMENT = Placement(source_wh=(200, 100), inner_wh=(64, 32), offset_xy=(0, 16))

Row = tuple[list[float], float, int]


def candidates(*rows: Row) -> Candidates:
    return Candidates(
        xyxy_px=np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        scores=np.array([row[1] for row in rows], np.float32),
        class_ids=np.array([row[2] for row in rows], np.int32),
    )


def options(**changed: object) -> ModelOptions:
    return msgspec.structs.replace(ModelOptions(path="model.onnx"), **changed)


def suppress(*rows: Row, head: HeadName = "yolo_nas", **changed: object) -> Detections:
    return Suppress(small_spec(head), options(**changed))(candidates(*rows), PLACEMENT)


def test_boxes_come_out_in_source_pixels() -> None:
    found = suppress(([16, 24, 32, 40], 0.9, 1))

    np.testing.assert_allclose(found.xyxy_px, [[50, 25, 100, 75]], rtol=1e-6)
    assert (found.scores.tolist(), found.class_ids.tolist()) == (pytest.approx([0.9]), [1])
    assert (found.xyxy_px.dtype, found.scores.dtype, found.class_ids.dtype) == (np.float32, np.float32, np.int32)


def test_boxes_are_clipped_to_the_picture() -> None:
    found = suppress(([-10, 0, 100, 64], 0.9, 0))

    assert found.xyxy_px.tolist() == [[0, 0, 200, 100]]


@pytest.mark.parametrize(
    "box",
    [[0, 0, 64, 10], [0, 50, 64, 60], [-20, 20, -1, 40], [65, 20, 80, 40], [30, 20, 30, 40], [40, 20, 30, 40]],
    ids=["in the padding above", "below", "to the left", "to the right", "no width", "inside out"],
)
def test_boxes_without_area_in_the_picture_are_dropped(box: list[float]) -> None:
    assert len(suppress((box, 0.9, 0))) == 0


def test_boxes_outside_do_not_use_up_the_limit() -> None:
    found = suppress(([0, 0, 64, 10], 0.9, 0), ([16, 24, 32, 40], 0.8, 0), max_objects=1)

    assert found.scores.tolist() == pytest.approx([0.8])


@pytest.mark.parametrize("head", ["yolo_nas", "end2end"])
def test_the_best_come_first_and_at_most_the_limit(head: HeadName) -> None:
    rows: list[Row] = [([10 * i, 20, 10 * i + 8, 40], score, 0) for i, score in enumerate((0.5, 0.9, 0.7, 0.6))]

    assert suppress(*rows, head=head).scores.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.5])
    assert suppress(*rows, head=head, max_objects=2).scores.tolist() == pytest.approx([0.9, 0.7])


def test_of_two_boxes_on_one_object_the_better_stays() -> None:
    rows: list[Row] = [([16, 20, 32, 40], 0.6, 0), ([16, 20, 32, 41], 0.7, 0), ([16, 20, 32, 40], 0.5, 1)]

    assert suppress(*rows).scores.tolist() == pytest.approx([0.7, 0.5])
    assert suppress(*rows, nms_iou=1.0).scores.tolist() == pytest.approx([0.7, 0.6, 0.5])


def test_an_end_to_end_network_has_suppressed_already() -> None:
    rows: list[Row] = [([16, 20, 32, 40], 0.6, 0), ([16, 20, 32, 40], 0.7, 0)]

    assert len(suppress(*rows, head="end2end")) == 2


def test_only_the_named_classes_stay() -> None:
    rows: list[Row] = [([16, 20, 32, 40], 0.9, 0), ([16, 20, 32, 40], 0.8, 1)]

    assert suppress(*rows, classes=("car",)).class_ids.tolist() == [1]
    assert suppress(*rows, classes=("car", "person")).class_ids.tolist() == [0, 1]
    assert suppress(*rows).class_ids.tolist() == [0, 1]


def test_candidates_below_the_score_are_dropped() -> None:
    rows: list[Row] = [([16, 20, 32, 40], 0.34, 0), ([0, 20, 10, 40], 0.35, 0)]

    assert suppress(*rows).scores.tolist() == pytest.approx([0.35])


def test_score_and_overlap_are_the_models_own_unless_configured() -> None:
    spec: ModelSpec = msgspec.structs.replace(small_spec("yolo_nas"), score=0.2, nms_iou=0.0)
    rows = candidates(([16, 20, 32, 40], 0.6, 0), ([31, 20, 60, 40], 0.7, 0))

    assert Suppress(spec, options()).score == 0.2
    assert Suppress(spec, options(score=0.0)).score == 0.0
    assert len(Suppress(spec, options())(rows, PLACEMENT)) == 1
    assert len(Suppress(spec, options(nms_iou=0.65))(rows, PLACEMENT)) == 2


def test_no_candidates_are_no_detections() -> None:
    found = suppress()

    assert (found.xyxy_px.shape, len(found)) == ((0, 4), 0)


def test_a_class_that_the_model_does_not_have_is_refused_with_the_nearest() -> None:
    message = "model.classes[1]: expected one of the model's classes, got 'persn', did you mean 'person'?"

    with pytest.raises(ModelError, match=re.escape(message)) as raised:
        Suppress(small_spec("yolo_nas"), options(classes=("car", "persn")))

    assert raised.value.hint == "the model's classes: person, car"


def test_every_unknown_class_is_named() -> None:
    with pytest.raises(ModelError, match=r"model\.classes\[0\]: .*'zzz'; model\.classes\[2\]: .*'caar', did you mean"):
        Suppress(small_spec("yolo_nas"), options(classes=("zzz", "car", "caar")))


side = st.floats(-100, 200, width=32)
rows = st.lists(st.tuples(st.lists(side, min_size=4, max_size=4), st.floats(0, 1, width=32), st.integers(0, 1)))


@given(rows, st.integers(1, 5))
def test_what_comes_out_lies_in_the_picture_sorted_and_within_limits(found: list[Row], limit: int) -> None:
    out = suppress(*found, max_objects=limit)

    assert len(out) <= limit
    assert (np.diff(out.scores) <= 0).all()
    assert (out.scores >= np.float32(0.35)).all()
    assert (out.xyxy_px >= 0).all()
    assert (out.xyxy_px <= [200, 100, 200, 100]).all()
    assert (out.xyxy_px[:, :2] < out.xyxy_px[:, 2:]).all()
