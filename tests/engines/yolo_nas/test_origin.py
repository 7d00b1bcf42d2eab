"""Where a model comes from: what a checkpoint says, what the command line says, and which of them goes first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engines.spec import COCO_CLASSES, InputSpec
from engines.yolo_nas import build
from engines.yolo_nas.origin import open_origin
from vedette.errors import ModelError, UsageError

RECIPE: dict[str, Any] = {
    "class_names": ["cat", "dog"],
    "conf": 0.25,
    "iou": 0.7,
    "image_processor": {
        "ComposeProcessing": {
            "processings": [
                {"DetectionLongestMaxSizeRescale": {"output_shape": (320, 320)}},
                {"DetectionBottomRightPadding": {"output_shape": (320, 320), "pad_value": 114}},
                {"StandardizeImage": {"max_value": 255.0}},
            ]
        }
    },
}


def saved(path: Path, classes: int = 2, **content: object) -> str:
    torch.save({"net": build("n", classes).state_dict(), **content}, path)
    return str(path)


def test_a_checkpoint_that_says_everything_needs_no_more(tmp_path: Path) -> None:
    spec = open_origin(saved(tmp_path / "pets.pth", processing_params=RECIPE)).spec
    assert (spec.name, spec.head, spec.classes) == ("pets", "yolo_nas", ("cat", "dog"))
    assert spec.input == InputSpec(size=(320, 320), align="top_left")
    assert (spec.score, spec.nms_iou) == (0.25, 0.7)


def test_what_the_caller_says_goes_first(tmp_path: Path) -> None:
    model = saved(tmp_path / "pets.pth", processing_params=RECIPE)
    spec = open_origin(model, size_wh=(640, 384), classes=("a", "b"), name="mine").spec
    assert (spec.name, spec.classes) == ("mine", ("a", "b"))
    assert spec.input == InputSpec(size=(640, 384), align="top_left")


def test_random_weights_are_marked(tmp_path: Path) -> None:
    origin = open_origin("yolo-nas-n")
    assert origin.spec.name == "yolo-nas-n-random"
    assert (origin.spec.input.size, len(origin.spec.classes)) == ((640, 640), 80)
    assert origin.notes == ("its weights are random: for speed alone, it finds nothing",)


def test_eighty_classes_without_names_are_those_of_coco(tmp_path: Path) -> None:
    origin = open_origin(saved(tmp_path / "a.pth", classes=80), size_wh=(64, 64))
    assert origin.spec.classes == COCO_CLASSES
    assert origin.notes == ("it does not name its 80 classes: they are taken for those of COCO",)


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ({}, "--classes: .* does not name its 2 classes", "--classes person,car"),
        ({"classes": ("a", "b")}, "--size: .* does not say for which size it was made", "--size 640x384"),
        ({"classes": ("a",)}, "--classes: expected 2 names, as many as the network has classes, got 1", None),
        ({"classes": ("a", "a")}, "--classes: expected names that differ, got a,a", None),
        ({"size_wh": (640, 360)}, "--size: expected multiples of 32, 32 to 8192, got 640x360", None),
        ({"size_wh": (0, 32)}, "--size: expected multiples of 32", None),
    ],
)
def test_what_is_missing_or_wrong_is_asked_for(
    given: dict[str, Any], said: str, hint: str | None, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        open_origin(saved(tmp_path / "a.pth"), **given)
    assert (caught.value.hint or "").startswith(hint or "")


@pytest.mark.parametrize(
    ("model", "said", "hint"),
    [
        ("yolo-nas-xl", "yolo-nas-xl: no such checkpoint", "did you mean yolo-nas-"),
        ("/none/a.pth", "/none/a.pth: no such checkpoint", "give a .pth"),
        ("a.onnx", "a.onnx: is an ONNX file already", "it can be quantized"),
    ],
)
def test_what_is_no_checkpoint_is_refused(model: str, said: str, hint: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        open_origin(model)
    assert (caught.value.hint or "").startswith(hint)
