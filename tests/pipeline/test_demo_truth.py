"""What the demo says of its own accuracy, where the answer is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config_file import make_config
from pipeline.demo_truth import Judgement, Jury, compare
from stages.source.synthetic.options import parse_synthetic
from stages.source.synthetic.scene import Scene
from stages.source.synthetic.truth import TrueObject, true_objects
from vedette.messages import Box, FrameMessage, TrackedObject

STREET = "synthetic://street?people=5&vehicles=2&bikes=1&seed=11&fps=8"


def shown(kind: str, box: Box, *, score: float = 0.9, state: str = "confirmed") -> TrackedObject:
    return TrackedObject(track=1, class_=kind, score=score, box=box, state=state, age_ms=0)  # type: ignore[arg-type]


def true(kind: str, box: Box, *, visible: float = 1.0) -> TrueObject:
    return TrueObject(
        id=1, kind=kind, full_xyxy_px=box, xyxy_px=box, visible_xyxy_px=box, visible=visible, truncated=0.0,  # type: ignore[arg-type]
        area_px=1.0,
    )  # fmt: skip


def test_each_object_is_found_once_and_other_classes_and_places_are_wrong() -> None:
    there = [true("person", (0, 0, 10, 20)), true("vehicle", (50, 0, 90, 20))]
    boxes = [
        shown("person", (0, 0, 10, 18)),
        shown("person", (1, 0, 11, 20), score=0.5),
        shown("bike", (50, 0, 90, 20)),
        shown("person", (200, 0, 210, 20)),
    ]
    judged = compare(boxes, there)
    assert judged == Judgement(frames=1, found=1, missed=1, wrong=3)
    assert (judged.precision, judged.recall) == (0.25, 0.5)


def test_what_is_hidden_counts_neither_way_and_neither_does_what_was_not_seen() -> None:
    there = [true("person", (0, 0, 10, 20), visible=0.1)]
    assert compare([], there) == Judgement(frames=1)
    assert compare([shown("person", (0, 0, 10, 20))], there) == Judgement(frames=1)
    assert compare([shown("person", (70, 0, 80, 20), state="coasted")], there) == Judgement(frames=1)
    assert Judgement(frames=1).precision is None


def test_the_truth_itself_is_all_right() -> None:
    config = make_config(
        {
            "version": 1,
            "model": {"path": "vedette-n.onnx"},
            "streams": [
                {"id": "street", "url": STREET, "mode": "live"},
                {"id": "file", "url": "a.mp4", "mode": "file"},
            ],
            "sinks": [{"kind": "redis", "url": "redis://127.0.0.1:6379/0", "spool": {"path": "spool"}}],
        },
        name="a test",
        base=Path.cwd(),
    )
    jury, scene = Jury.of(config), Scene(parse_synthetic(STREET))
    assert list(jury.streets) == ["street"]
    for frame in (0, 3, 40):
        objects = tuple(shown(one.kind, one.xyxy_px) for one in true_objects(scene, frame))
        jury.see(message("street", frame, objects))
        jury.see(message("file", frame, objects))
    (judged,) = jury.judge().values()
    assert judged.frames == 2  # a sample of them
    assert judged.found > 5
    assert judged.precision == pytest.approx(1.0)
    assert judged.recall == pytest.approx(1.0)


def message(stream: str, frame: int, objects: tuple[TrackedObject, ...]) -> FrameMessage:
    return FrameMessage(
        stream=stream, run="r", epoch=0, seq=frame, n=frame, pts=frame, time_base=(1, 8), wall_ns=0, clock="arrival",
        clock_error_ms=0.0, size=(640, 360), model="m", objects=objects,
    )  # fmt: skip
