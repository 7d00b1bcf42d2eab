"""The suppression kernels, as they are, on the host: equal to the CPU's head and NMS, and to the plain definition."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.cuda.suppression import (
    FOUND,
    PLACED,
    RULES,
    Memory,
    OutputType,
    detections,
    found_type,
    placed_records,
    rules_record,
    scratch_bytes,
    suppression_launches,
)
from engines.heads.yolo_nas import YoloNasHead
from engines.picture import Placement, place
from engines.spec import InputSpec, ModelSpec
from engines.suppression import leave_best
from engines.types import F32
from tests.engines.cuda.host import address, compiled, run
from tests.engines.test_nms import nms_slow

SPEC = ModelSpec(name="small", head="yolo_nas", classes=("person", "car", "bike"), input=InputSpec(size=(64, 48)))
CLASSES = len(SPEC.classes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Outputs of a network: `boxes` (n, A, 4), `scores` (n, A, 3), and where the pictures lie."""

    boxes: npt.NDArray[Any]
    scores: npt.NDArray[Any]
    placements: list[Placement]


@dataclass(frozen=True, kw_only=True)
class Rules:
    score: float = 0.0
    iou: float | None = 0.65
    max_objects: int = 300
    wanted: tuple[bool, ...] | None = None


def suppressed(batch: Batch, rules: Rules, *, turns: int = 1) -> npt.NDArray[Any]:
    """What the kernels write, (n,), in the last of some turns; all memory that they are given is full of noise."""
    pictures, anchors, classes = batch.scores.shape
    random = np.random.default_rng(1)
    sizes = scratch_bytes(pictures, anchors, rules.max_objects)
    scratch = {name: random.integers(0, 256, size, np.uint8) for name, size in sizes.items()}
    wanted = None if rules.wanted is None else np.array(rules.wanted, np.uint8)
    record = rules_record(
        anchors,
        classes,
        score=rules.score,
        iou=rules.iou,
        max_objects=rules.max_objects,
        wanted=0 if wanted is None else address(wanted),
    )
    placed, count = placed_records(batch.placements), np.array([pictures], np.int32)
    memory = Memory(
        rules=address(record),
        pictures=address(count),
        placed=address(placed),
        boxes=address(batch.boxes),
        scores=address(batch.scores),
        **{name: address(array) for name, array in scratch.items()},
    )
    dtype: OutputType = "float16" if batch.scores.dtype == np.float16 else "float32"
    for launch in suppression_launches(memory, pictures, anchors, dtype) * turns:
        run(compiled("host_nms"), launch)
    return scratch["out"].view(found_type(rules.max_objects))


def hold(batch: Batch, rules: Rules) -> None:
    """The kernels' detections are the CPU's, every bit; so are the anchors, of which the CPU does not tell."""
    out = suppressed(batch, rules)
    head = YoloNasHead(SPEC)
    wanted = None if rules.wanted is None else np.array(rules.wanted)
    for index, (got, placement) in enumerate(zip(detections(out), batch.placements, strict=True)):
        outputs = {"boxes": batch.boxes, "scores": batch.scores}
        expected = leave_best(
            head.decode(outputs, index, rules.score),
            placement,
            score=rules.score,
            iou=rules.iou,
            max_objects=rules.max_objects,
            wanted=wanted,
        )
        np.testing.assert_array_equal(got.xyxy_px, expected.xyxy_px)
        np.testing.assert_array_equal(got.scores, expected.scores)
        np.testing.assert_array_equal(got.class_ids, expected.class_ids)
        found = out[index]["found"][: len(got)]
        boxes: F32 = batch.boxes[index].astype(np.float32)
        np.testing.assert_array_equal(placement.to_source(boxes[found["anchor"]]), got.xyxy_px)


# A coarse grid, so that boxes coincide, touch, nest, have no area, lie in the padding or are turned inside out, and
# scores tie, within an anchor, too. What a broken network gives is among them.
corner = st.sampled_from([4.0 * side for side in range(-2, 17)] * 3 + [np.inf, -np.inf, np.nan])
share = st.sampled_from([eighth / 8 for eighth in range(9)] * 3 + [-0.0, 1.001, -0.5, np.inf, np.nan])
row = st.tuples(corner, corner, corner, corner, share, share, share)
source_sizes = st.tuples(st.integers(1, 400), st.integers(1, 400))


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    anchors = draw(st.integers(1, 30))
    tables = draw(st.lists(st.lists(row, min_size=anchors, max_size=anchors), min_size=1, max_size=3))
    dtype = draw(st.sampled_from([np.float32, np.float16]))
    outputs = np.array(tables, np.float64).astype(dtype)
    placements = [place(draw(source_sizes), SPEC.input) for _ in tables]
    return Batch(
        boxes=np.ascontiguousarray(outputs[..., :4]),
        scores=np.ascontiguousarray(outputs[..., 4:]),
        placements=placements,
    )


rules = st.builds(
    Rules,
    score=st.sampled_from([0.0, 0.125, 0.3, 1.0]),
    iou=st.one_of(st.none(), st.integers(0, 20).map(lambda n: n / 20), st.floats(0, 1)),
    max_objects=st.integers(1, 40),
    wanted=st.one_of(st.none(), st.tuples(st.booleans(), st.booleans(), st.booleans())),
)


@given(batches(), rules)
@settings(max_examples=200)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # numpy's, of the broken boxes
def test_batch_is_what_a_cpu_makes_of_it(batch: Batch, rules: Rules) -> None:
    hold(batch, rules)


def crowd(seed: int, pictures: int, anchors: int) -> Batch:
    """Boxes around a few objects, as a detector gives them, most of the scores low."""
    random = np.random.default_rng(seed)
    centres = random.uniform(0, 60, (12, 2))[random.integers(0, 12, (pictures, anchors))]
    centres += random.normal(0, 1, centres.shape)
    halves = random.uniform(2, 12, (pictures, anchors, 2))
    boxes = np.concatenate([centres - halves, centres + halves], axis=-1).astype(np.float32)
    scores = (random.integers(1, 50, (pictures, anchors, CLASSES)) / 50).astype(np.float32)
    placements = [place((1920, 1080 - 100 * index), SPEC.input) for index in range(pictures)]
    return Batch(boxes=boxes, scores=scores, placements=placements)


@pytest.mark.parametrize("anchors", [1, 63, 64, 65, 500, 2100])
@pytest.mark.parametrize("iou", [0.0, 0.3, 0.65, 1.0, None])
def test_crowds_across_tiles_are_what_a_cpu_makes_of_them(anchors: int, iou: float | None) -> None:
    batch = crowd(anchors, 3, anchors)

    for most in (1, 7, 300):
        hold(batch, Rules(score=0.5, iou=iou, max_objects=most))


@given(st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 60))
@settings(max_examples=50)
def test_anchors_that_stay_are_those_of_the_plain_definition(seed: int, iou: float, most: int) -> None:
    batch = crowd(seed, 1, 80)
    boxes, scores = batch.boxes[0], batch.scores[0]
    best, anchors = scores.argmax(axis=1), np.flatnonzero(inside(batch))

    (picture,) = suppressed(batch, Rules(iou=iou, max_objects=most))

    kept = nms_slow((boxes[anchors], scores.max(axis=1)[anchors], best[anchors].astype(np.int32)), iou, most)
    assert picture["found"]["anchor"][: picture["count"]].tolist() == anchors[kept].tolist()


@pytest.mark.parametrize("seed", range(20))
def test_overlaps_at_the_threshold_are_decided_by_the_last_bit(seed: int) -> None:
    """The threshold is the overlap of two of the boxes, in double: float, or one fused operation, would decide else."""
    batch = crowd(seed, 1, 40)
    boxes = batch.boxes[0].astype(np.float64)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    sides = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    shared = np.maximum(sides, 0).prod(axis=2)
    overlaps = shared / (areas[:, None] + areas[None, :] - shared)
    same = np.equal.outer(*[batch.scores[0].argmax(axis=1)] * 2)
    pairs = overlaps[np.triu((overlaps > 0.2) & same, 1)]
    assert len(pairs)

    for iou in pairs[:10]:
        for near in (np.nextafter(iou, 0), iou, np.nextafter(iou, 1)):
            hold(batch, Rules(iou=float(near)))


def inside(batch: Batch) -> npt.NDArray[np.bool_]:
    """Which boxes of the first picture have an area in it."""
    source = batch.placements[0].to_source(batch.boxes[0])
    shown: npt.NDArray[np.bool_] = (source[:, 2:] > source[:, :2]).all(axis=1)
    return shown


def test_ties_go_to_the_first_anchor_and_the_first_class() -> None:
    boxes = np.tile(np.array([8, 8, 24, 24], np.float32), (1, 3, 1))
    scores = np.full((1, 3, CLASSES), 0.5, np.float32)
    scores[0, 0, 0] = 0.25
    batch = Batch(boxes=boxes, scores=scores, placements=[place((64, 48), SPEC.input)])

    (picture,) = suppressed(batch, Rules(iou=0.5))

    # Anchor 0 is of class 1 (the first with 0.5), anchor 1 of class 0; anchor 2 is anchor 1 over again.
    assert picture["count"] == 2
    assert picture["found"][["anchor", "class_id"]][:2].tolist() == [(0, 1), (1, 0)]


def test_an_overlap_of_exactly_the_threshold_stays() -> None:
    boxes = np.array([[[0, 0, 32, 32], [0, 0, 16, 16]]], np.float32)
    scores = np.array([[[0.9, 0, 0], [0.8, 0, 0]]], np.float32)
    batch = Batch(boxes=boxes, scores=scores, placements=[place((64, 48), SPEC.input)])

    assert suppressed(batch, Rules(score=0.1, iou=0.25))[0]["count"] == 2
    assert suppressed(batch, Rules(score=0.1, iou=0.2499))[0]["count"] == 1


def test_a_second_turn_sees_nothing_of_the_first() -> None:
    batch = crowd(5, 2, 100)

    once, twice = (suppressed(batch, Rules(score=0.5), turns=turns) for turns in (1, 2))

    assert once["count"].tolist() == twice["count"].tolist()
    assert detections(once)[1].xyxy_px.tolist() == detections(twice)[1].xyxy_px.tolist()


def test_records_lie_in_memory_as_the_kernels_read_them() -> None:
    offsets = [RULES.fields["wanted"][1], RULES.fields["score"][1]]  # type: ignore[index]
    more = [PLACED.fields["limit"][1], FOUND.itemsize, FOUND.fields["class_id"][1]]  # type: ignore[index]
    layout = (ctypes.c_uint * 7).in_dll(compiled("host_nms"), "layout")

    assert list(layout) == [RULES.itemsize, *offsets, PLACED.itemsize, *more]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"score": 1.5}, "expected score and iou from 0 to 1, got 1.5 and 0.5"),
        ({"score": float("nan")}, "expected score and iou from 0 to 1, got nan and 0.5"),
        ({"iou": -0.1}, "expected score and iou from 0 to 1, got 0.3 and -0.1"),
        ({"max_objects": 0}, "expected anchors, classes and max_objects of at least 1, got 10, 3, 0"),
    ],
)
def test_rules_that_the_kernels_cannot_follow_are_refused(changes: dict[str, Any], says: str) -> None:
    good: dict[str, Any] = {"score": 0.3, "iou": 0.5, "max_objects": 10}
    with pytest.raises(ValueError, match=says):
        rules_record(10, 3, **(good | changes))
