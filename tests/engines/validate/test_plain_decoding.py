"""The plain reference of parity against the heads and the NMS that run, on made-up outputs."""

from __future__ import annotations

import numpy as np
import pytest

from engines.heads import build_head
from engines.nms import nms
from engines.picture import place
from engines.spec import HeadName, InputSpec, ModelSpec
from engines.validate.plain_decoding import PlainBox, plain_boxes, plain_candidates, plain_nms, plain_to_source

SIZE = (64, 96)
CLASSES = ("a", "b", "c")


def spec_of(head: HeadName) -> ModelSpec:
    return ModelSpec(name="x", head=head, classes=CLASSES, input=InputSpec(size=SIZE))


def outputs_of(head: HeadName) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    cells = {8: 96, 16: 24, 32: 6, 64: 2}
    anchors = sum(cells.values()) if head == "nanodet_plus" else 126
    scores = rng.uniform(0, 1, (1, anchors, 3)) ** 4
    corners = rng.uniform(0, 60, (1, anchors, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 40, (1, anchors, 2))], axis=2)
    logits = rng.normal(0, 1, (1, anchors, 4))
    made = {
        "yolo_nas": {"boxes": boxes, "scores": scores},
        "yolox": {"o": np.concatenate([logits, rng.uniform(0, 1, (1, anchors, 1)), scores], axis=2)},
        "nanodet_plus": {"o": np.concatenate([scores, rng.normal(0, 2, (1, anchors, 32))], axis=2)},
        "yolov8": {"o": np.concatenate([boxes, scores], axis=2).transpose(0, 2, 1)},
        "end2end": {"o": np.concatenate([boxes, scores[..., :1], rng.integers(0, 3, (1, anchors, 1))], axis=2)[:, :40]},
    }[head]
    return {name: array.astype(np.float32) for name, array in made.items()}


@pytest.mark.parametrize("head", ["yolo_nas", "yolox", "nanodet_plus", "yolov8", "end2end"])
def test_plain_decoding_is_that_of_the_head(head: HeadName) -> None:
    spec, outputs = spec_of(head), outputs_of(head)
    wanted = build_head(spec).decode(outputs, 0, 0.2)
    found = plain_candidates(spec, outputs, 0.2)

    assert len(found) == len(wanted) > 5
    assert [one.class_id for one in found] == wanted.class_ids.tolist()
    assert np.allclose([one.score for one in found], wanted.scores, atol=1e-6)
    assert np.allclose([one.xyxy_px for one in found], wanted.xyxy_px, atol=1e-3)


def test_plain_suppression_is_that_which_runs() -> None:
    boxes = plain_candidates(spec_of("yolo_nas"), outputs_of("yolo_nas"), 0.0)
    arrays = (
        np.array([one.xyxy_px for one in boxes], np.float32),
        np.array([one.score for one in boxes], np.float32),
        np.array([one.class_id for one in boxes], np.int32),
    )
    assert plain_nms(boxes, 0.3, 50) == nms(*arrays, 0.3, 50).tolist()
    assert len(plain_nms(boxes, 0.3, 300)) < len(boxes)


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_boxes_go_back_to_the_source_as_they_do_when_running(fit: str) -> None:
    spec = InputSpec(size=SIZE, fit="stretch" if fit == "stretch" else "letterbox")
    placement = place((301, 203), spec)
    boxes = np.random.default_rng(1).uniform(-20, 110, (20, 4)).astype(np.float32)
    plain = [plain_to_source((x1, y1, x2, y2), placement) for x1, y1, x2, y2 in boxes.tolist()]
    assert np.allclose(plain, placement.to_source(boxes), atol=1e-3)


def test_what_lies_in_the_padding_is_no_box() -> None:
    placement = place((64, 32), InputSpec(size=(64, 64)))  # rows 16 to 48
    boxes = [PlainBox((0, 0, 20, 15), 0.9, 0), PlainBox((0, 20, 20, 30), 0.5, 0)]
    assert [one.xyxy_px for one in plain_boxes(boxes, placement, iou=0.5, most=9)] == [(0, 4, 20, 14)]
