"""What ships: each file is the one that its spec describes, and INT8 sees what its checkpoint does."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engines.runtimes import read_model_file
from engines.runtimes.openvino_core import core
from engines.spec import read_spec, sha256_of, spec_path
from engines.weights import NAMES, find_checkpoint, find_model
from engines.yolo_nas import Form, fuse, load_checkpoint
from vedette.errors import ModelError

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("person", "vehicle", "bike")
INT8 = [name for name in NAMES if "int8" in find_model(name).name]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_the_one_that_its_spec_describes(name: str) -> None:
    path = find_model(name)
    spec = read_spec(spec_path(path))
    assert spec.sha256 == sha256_of(path)
    assert spec.classes == CLASSES
    assert not spec.unverified
    (images,) = read_model_file(path).inputs
    assert images.shape[2:] == spec.input.size[::-1]


@pytest.mark.parametrize("name", INT8)
def test_what_ships_in_int8_went_through_the_gate(name: str) -> None:
    path = find_model(name)
    gate = read_spec(spec_path(path)).gate
    assert gate is not None
    assert gate["passed"]
    assert gate["candidate"] == sha256_of(path)
    assert gate["ap_lost_points"] <= gate["limits"]["ap_points"] == 0.5
    assert gate["used_for_calibration"] == 0


@pytest.mark.parametrize("name", [name for name in INT8 if "-416" not in name])
def test_int8_sees_what_its_checkpoint_sees(name: str) -> None:
    checkpoint = load_checkpoint(find_checkpoint(name))
    assert checkpoint.class_names == CLASSES
    spec = read_spec(spec_path(find_model(name)))
    width, height = spec.input.size
    street = cv2.imread(str(ROOT / "docs/pictures/street.jpg"))
    assert street is not None
    levels = cv2.cvtColor(cv2.resize(street, (width, height)), cv2.COLOR_BGR2RGB)
    images = np.ascontiguousarray(levels.transpose(2, 0, 1)[None], np.float32) / 255
    with torch.no_grad():
        _, expected = fuse(checkpoint.network, Form.FOLDED)(torch.from_numpy(images))
    found = core().compile_model(str(find_model(name)), "CPU", {"INFERENCE_NUM_THREADS": 2})(images)["scores"]

    sure = expected.numpy() > spec.score
    assert sure.sum() > 10
    assert np.abs(found - expected.numpy())[sure].mean() < 0.03


def test_an_unknown_name_is_one_line_that_says_what_ships() -> None:
    with pytest.raises(ModelError, match="expected a model file or the name of a model that ships") as raised:
        find_model("yolo")
    assert raised.value.hint == f"these ship: {', '.join(NAMES)}"
