"""Files without a spec: recognised where nothing else can be meant, else the error names the keys to add."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.recognise import recognise
from engines.runtimes import read_model_file
from engines.spec import COCO_CLASSES, find_spec
from tests.support.model_files import model_file
from tests.support.shared import SHARED
from tests.support.specs import NANODET_PLUS_M, YOLOX_NANO
from vedette.errors import ModelError

NAMES = {"task": "detect", "names": "{0: 'person', 1: 'dog', 2: 'kite'}"}


def test_raw_yolox_is_recognised() -> None:
    spec = recognise(model_file("yolox_nano_416.onnx", (1, 3, 416, 416), outputs={"output": (1, 3549, 85)}))

    assert (spec.name, spec.head, spec.input) == ("yolox_nano_416", "yolox", YOLOX_NANO.input)
    assert spec.classes == COCO_CLASSES
    assert len(set(spec.classes)) == 80


def test_nanodet_plus_is_recognised() -> None:
    file = model_file("m.onnx", (1, 3, 416, 416), outputs={"output": (1, 3598, 112)}, input_name="data")

    spec = recognise(file)

    assert (spec.head, spec.input, spec.nms_iou) == ("nanodet_plus", NANODET_PLUS_M.input, 0.6)


@pytest.mark.parametrize(("shape", "head"), [((1, 7, 126), "yolov8"), ((1, 300, 6), "end2end")])
def test_ultralytics_export_is_recognised_by_its_metadata(shape: tuple[int, ...], head: str) -> None:
    spec = recognise(model_file("yolo.onnx", outputs={"output0": shape}, metadata=NAMES))

    assert spec.head == head
    assert spec.classes == ("person", "dog", "kite")
    assert (spec.input.size, spec.input.align, spec.input.colour) == ((96, 64), "centre", "rgb")


def test_yolo_nas_names_its_classes_in_a_spec_only() -> None:
    with pytest.raises(ModelError, match=r"looks like YOLO-NAS .* the names of its 3 classes are not in it") as error:
        recognise(model_file("models/nas.onnx"))
    assert error.value.hint is not None
    assert "models/nas.yaml with the keys name, head: yolo_nas, classes, input: {size: [96, 64]}" in error.value.hint


@pytest.mark.parametrize(
    ("outputs", "metadata", "said"),
    [
        ({"output": (1, 126, 85)}, {}, "cannot tell how to run it"),  # YOLOX at 96x64 or YOLOv6: the name decides
        ({"output0": (1, 84, 126)}, {}, "looks like YOLOv8 or kin .* the names of its 80 classes"),
        ({"output0": (1, 300, 6)}, {}, "looks like an end-to-end network"),
        ({"output0": (1, 7, 126)}, NAMES | {"task": "pose"}, "looks like YOLOv8"),
        ({"output0": (1, 7, 126)}, NAMES | {"names": "{0: 'a', 1: 'b'}"}, "looks like YOLOv8"),
        ({"output0": (1, 7, 126)}, NAMES | {"names": "{0: 'a', 2: 'b', 3: 'c'}"}, "looks like YOLOv8"),
        ({"output0": (1, 7, 126)}, NAMES | {"names": "__import__('os')"}, "looks like YOLOv8"),
        ({"output0": (1, 7, 126)}, NAMES | {"names": "(" * 300}, "looks like YOLOv8"),
        ({"output0": (-1, -1, -1)}, {}, "cannot tell how to run it by its inputs x .* outputs output0"),
        ({"a": (1, 10)}, {}, "cannot tell"),
        ({}, {}, "outputs none"),
    ],
)
def test_what_may_be_several_things_is_refused_with_the_keys_to_add(
    outputs: dict[str, tuple[int, ...]], metadata: dict[str, str], said: str
) -> None:
    file = model_file("m.onnx", outputs=outputs, metadata=metadata, input_name="x")

    with pytest.raises(ModelError, match=said) as error:
        recognise(file)
    assert error.value.hint is not None
    assert "write m.yaml with the keys name, head" in error.value.hint


def test_free_size_is_asked_for() -> None:
    with pytest.raises(ModelError) as error:
        recognise(model_file("m.onnx", (1, 3, -1, -1), outputs={"output": (1, -1, 85)}))
    assert error.value.hint is not None
    assert "input: {size: [width, height]}" in error.value.hint


@pytest.mark.skipif(SHARED is None, reason="the teachers are not on this machine")
@pytest.mark.parametrize(
    ("name", "head"), [("yolox_nano_416.onnx", "yolox"), ("nanodet_plus_m_416.onnx", "nanodet_plus")]
)
def test_teachers_are_recognised_as_they_are(name: str, head: str) -> None:
    assert SHARED is not None

    found = find_spec(read_model_file(Path(SHARED) / "teachers" / name))

    assert (found.spec.head, found.origin) == (head, "recognised by its inputs and outputs")
