"""The teacher on the device says what the one on the host says, and its decoding is the plain one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engines.heads.grid import anchor_points
from engines.spec import HeadName, InputSpec, ModelSpec
from engines.train.dense import dense
from engines.train.dense_torch import dense_batch
from engines.train.host_teacher import HostTeacher
from engines.train.onnx_teacher import OnnxTeacher
from engines.train.teachers import Taught
from engines.types import U8, SizeWH
from engines.weights import find_model
from engines.yolo_nas.export import export_onnx
from engines.yolo_nas.random_weights import random_network
from tests.engines.train.teacher_files import shuffling_teacher
from tests.support.models import colour_model
from tests.support.shared import SHARED
from vedette.errors import DataError, ModelError

NAMES = ("person", "vehicle", "bike")
MAP = {"car": "vehicle", "bus": "vehicle", "truck": "vehicle", "bicycle": "bike", "motorcycle": "bike"}
CPU = torch.device("cpu")


def smooth(size_wh: SizeWH, seed: int = 3, count: int = 3) -> U8:
    """(n, H, W, 3): smooth pictures of many colours."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(one, size_wh, interpolation=cv2.INTER_CUBIC) for one in small])


def of_both(path: Path, sizes: tuple[SizeWH, ...], names: dict[str, str]) -> list[tuple[Taught, Taught]]:
    host = HostTeacher(path, NAMES, names, bf16=False)
    device = OnnxTeacher(path, NAMES, names, CPU)
    assert (host.classes, host.widths) == (device.classes, device.widths)
    both = []
    for seed, size_wh in enumerate(sizes):
        levels = smooth(size_wh, seed)
        images = torch.from_numpy(levels.transpose(0, 3, 1, 2).copy()).float() / 255
        both.append((host.look(levels), device.look(images)))
    return both


def agree(host: Taught, device: Taught) -> None:
    """Scores within 0.0005, boxes within 0.05 pixels and 0.1 % of where they lie, features within 0.001."""
    torch.testing.assert_close(device.scores, host.scores, atol=5e-4, rtol=0)
    assert torch.equal(device.known, host.known)
    torch.testing.assert_close(device.boxes, host.boxes, atol=0.05, rtol=1e-3)
    assert len(host.features) == len(device.features)
    for mine, theirs in zip(device.features, host.features, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)


@pytest.mark.skipif(SHARED is None, reason="the teachers are not beside this repository")
@pytest.mark.parametrize("name", ["yolox_nano_dynamic.onnx", "nanodet_plus_m_416.onnx"])
def test_real_teachers_say_the_same_on_the_device(name: str) -> None:
    assert SHARED is not None
    for host, device in of_both(SHARED / "teachers" / name, ((320, 192), (256, 256)), MAP):
        assert device.known.tolist() == [1.0, 1.0, 1.0]
        agree(host, device)


@pytest.mark.parametrize("features", [False, True])
def test_a_file_of_fixed_size_and_batch_is_rewritten(tmp_path: Path, features: bool) -> None:
    path = shuffling_teacher(tmp_path / "t.onnx", features=features)
    for host, device in of_both(path, ((96, 64), (160, 96), (64, 128)), MAP):
        assert device.known.tolist() == [1.0, 1.0, 0.0]
        assert [tuple(one.shape[:2]) for one in device.features] == ([(3, 8)] * 3 if features else [])
        agree(host, device)


def test_a_file_of_free_size_needs_no_rewriting(tmp_path: Path) -> None:
    path = tmp_path / "free.onnx"
    spec = ModelSpec(name="free", head="yolo_nas", classes=("person", "car"), input=InputSpec(size=(64, 64)))
    export_onnx(random_network("n", 2), spec, path, dynamic_size=True)
    for host, device in of_both(path, ((96, 64), (64, 64)), MAP):
        agree(host, device)


def test_a_file_whose_anchors_are_of_one_size_says_so_at_another() -> None:
    path = find_model("vedette-n-seed")
    ((host, device),) = of_both(path, ((416, 256),), {})
    agree(host, device)
    with pytest.raises(ModelError, match="cannot be run at 64x64: its own size is fixed"):
        OnnxTeacher(path, NAMES, {}, CPU).look(torch.zeros(2, 3, 64, 64))


def test_half_precision_stays_near(tmp_path: Path) -> None:
    path = shuffling_teacher(tmp_path / "t.onnx", features=True)
    images = torch.from_numpy(smooth((96, 64)).transpose(0, 3, 1, 2).copy()).float() / 255
    whole = OnnxTeacher(path, NAMES, MAP, CPU).look(images)
    for dtype in (torch.bfloat16, torch.float16):
        half = OnnxTeacher(path, NAMES, MAP, CPU, dtype=dtype).look(images)
        assert {one.dtype for one in (half.scores, half.boxes, *half.features)} == {torch.float32}
        torch.testing.assert_close(half.scores, whole.scores, atol=0.03, rtol=0)


def test_it_looks_without_waiting_for_the_device(tmp_path: Path) -> None:
    """On torch's device `meta` nothing can be read back, and what is on two devices does not go together."""
    meta = torch.device("meta")
    teacher = OnnxTeacher(shuffling_teacher(tmp_path / "t.onnx", features=True), NAMES, MAP, meta, dtype=torch.float16)
    taught = teacher.look(torch.zeros((4, 3, 96, 160), device=meta))
    assert {one.device for one in (taught.scores, taught.boxes, taught.known, *taught.features)} == {meta}


def test_a_gpu_machine_needs_no_openvino(tmp_path: Path) -> None:
    path = shuffling_teacher(tmp_path / "t.onnx")
    lines = [
        "import sys; sys.modules['openvino'] = None",
        "import torch; from pathlib import Path; import engines.train.job",
        "from engines.train.onnx_teacher import OnnxTeacher",
        f"OnnxTeacher(Path({str(path)!r}), ('person',), {{}}, torch.device('meta')); print('fine')",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


def test_wrong_teachers_are_one_line_on_the_device_too(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected 315 anchors at 160x96"):
        OnnxTeacher(colour_model(tmp_path / "few.onnx"), ("red", "green"), {}, CPU)
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="is not an ONNX model"):
        OnnxTeacher(junk, NAMES, {}, CPU)
    with pytest.raises(DataError, match="no class in common"):
        OnnxTeacher(shuffling_teacher(tmp_path / "t.onnx"), ("moon",), {}, CPU)


@pytest.mark.parametrize("size_wh", [(96, 64), (160, 96)])
@pytest.mark.parametrize(
    ("head", "columns"), [("yolox", 5 + 3), ("nanodet_plus", 3 + 32), ("yolov8", 4 + 3), ("yolo_nas", 3)]
)
def test_dense_on_the_device_is_the_plain_one(head: HeadName, columns: int, size_wh: SizeWH) -> None:
    rng = np.random.default_rng(4)
    spec = ModelSpec(name="t", head=head, classes=("a", "b", "c"), input=InputSpec(size=size_wh))
    anchors = len(anchor_points(size_wh, (8, 16, 32, 64) if head == "nanodet_plus" else (8, 16, 32))[0])
    shape = (2, columns, anchors) if head == "yolov8" else (2, anchors, columns)
    values = {"output": rng.uniform(0, 1, shape).astype(np.float32)}
    if head == "nanodet_plus":
        values["output"][..., 3:] *= 9
    if head == "yolo_nas":
        values = {"scores": values["output"], "boxes": rng.uniform(0, 90, (2, anchors, 4)).astype(np.float32)}
    scores, boxes = dense_batch(spec, {name: torch.from_numpy(value) for name, value in values.items()})
    for row in range(2):
        want = dense(spec, {name: value[row : row + 1] for name, value in values.items()})
        np.testing.assert_allclose(scores[row].numpy(), want[0], atol=1e-6)
        np.testing.assert_allclose(boxes[row].numpy(), want[1], atol=1e-4, rtol=1e-5)


def test_a_head_that_decodes_itself_is_refused() -> None:
    spec = ModelSpec(name="t", head="end2end", classes=("a",), input=InputSpec(size=(64, 64)))
    with pytest.raises(ModelError, match="a teacher with head end2end says nothing at every anchor"):
        dense_batch(spec, {"output": torch.zeros(1, 3, 6)})
