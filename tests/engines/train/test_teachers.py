"""What teachers say at every anchor, and that a student comes nearer to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engines.heads import build_head
from engines.options import ModelOptions
from engines.runtimes import open_engine
from engines.spec import ModelSpec
from engines.train.batches import Batch
from engines.train.checkpoints import save_weights
from engines.train.dense import dense
from engines.train.distill import Adapters, DistillOptions, distillation_loss
from engines.train.host_teacher import HostTeacher
from engines.train.options import TrainOptions
from engines.train.student import Student
from engines.train.teachers import DeviceTeacher, Taught
from engines.weights import find_model
from engines.yolo_nas import build
from engines.yolo_nas.random_weights import random_network
from pipeline.clock import SystemClock
from tests.engines.train.scenes import CLASSES, SURE, grid, nothing, outputs, targets, truth
from tests.support.models import colour_model
from tests.support.shared import SHARED
from vedette.errors import DataError, ModelError

NAMES = ("person", "vehicle", "bike")
MAP = {"car": "vehicle", "bus": "vehicle", "truck": "vehicle", "bicycle": "bike", "motorcycle": "bike"}
OPTIONS = TrainOptions(arch="n", classes=NAMES, epochs=1, precision="fp32", warmup_steps=0)


def levels(size_wh: tuple[int, int], seed: int = 3) -> np.ndarray:
    """Smooth noise, RGB."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (2, size_wh[1] // 16, size_wh[0] // 16, 3), dtype=np.uint8)
    return small.repeat(16, axis=1).repeat(16, axis=2)


def says(score: float, *, known: tuple[float, ...] = (1, 1, 1)) -> Taught:
    points, strides = grid()
    scores = torch.zeros(1, len(points), CLASSES)
    scores[0, 10, 1] = score
    boxes = torch.cat([points - strides, points + strides], dim=1)[None]
    return Taught(scores=scores, known=torch.tensor(known), boxes=boxes)


def test_a_student_that_sees_the_same_pays_nothing() -> None:
    logits, sides = nothing()
    points, strides = grid()
    logits[0, 10, 1] = SURE
    taught = says(1.0)
    raw = outputs(logits, sides)
    assert float(distillation_loss(raw, taught, DistillOptions(bins_part=0.0))) == pytest.approx(0.0, abs=1e-4)
    assert float(distillation_loss(raw, says(0.3), DistillOptions())) > 0.05
    assert (len(points), len(strides)) == (len(points), len(points))


def test_a_class_that_the_teacher_does_not_know_costs_nothing() -> None:
    logits, sides = nothing()
    logits = torch.zeros_like(logits).requires_grad_()
    distillation_loss(outputs(logits, sides), says(0.9, known=(1, 1, 0)), DistillOptions()).backward()
    assert logits.grad is not None
    assert (logits.grad[..., 2] == 0.0).all()
    assert (logits.grad[..., 0] > 0.0).all()
    assert float(logits.grad[0, 10, 1]) < 0.0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with random weights, other than any student's."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    save_weights(path, random_network("n", 3, seed=9), NAMES, (64, 64), half=False)
    return path


def test_a_student_comes_nearer_to_its_teacher_in_boxes_scores_and_features(checkpoint: Path) -> None:
    teacher = DeviceTeacher(checkpoint, NAMES, {}, torch.device("cpu"))
    torch.manual_seed(1)
    student = Student(build("n", 3), OPTIONS, device=torch.device("cpu"), teachers=[teacher])
    images = torch.from_numpy(levels((64, 64)).transpose(0, 3, 1, 2).copy())
    everywhere = ((0.0, 0.0, 64.0, 64.0), (0.0, 0.0, 0.0))  # people say nothing
    unsaid = truth(regions=[everywhere])
    batch = Batch(levels=images, targets=targets(unsaid, unsaid), taught=())
    before = apart(student, teacher, images)
    reports = [student.step(batch, step, 1e-3) for step in range(40)]
    assert reports[0].classes == 0.0
    assert reports[-1].distill < 0.7 * reports[0].distill
    assert reports[-1].features < 0.7 * reports[0].features
    assert apart(student, teacher, images) < 0.9 * before


def test_a_checkpoint_in_half_precision_stays_near(checkpoint: Path) -> None:
    images = torch.from_numpy(levels((64, 64)).transpose(0, 3, 1, 2).copy()).float() / 255
    cpu = torch.device("cpu")
    whole, half = (
        DeviceTeacher(checkpoint, NAMES, {}, cpu, dtype=dtype).look(images) for dtype in (torch.float32, torch.bfloat16)
    )
    assert {one.dtype for one in (half.scores, half.boxes, *half.features)} == {torch.float32}
    torch.testing.assert_close(half.scores, whole.scores, atol=0.05, rtol=0)


def apart(student: Student, teacher: DeviceTeacher, images: torch.Tensor) -> float:
    values = images.float() / 255
    with torch.no_grad():
        scores = student.network.raw(values).cls_logits.sigmoid()
    return float((scores - teacher.look(values).scores).abs().mean())


def test_adapters_find_patterns_that_are_equal_up_to_a_mixture() -> None:
    torch.manual_seed(0)
    mine = [torch.randn(2, 6, 8, 8)]
    mixture = torch.randn(4, 6)
    theirs = [torch.einsum("oi,nihw->nohw", mixture, mine[0]) * 3 + 5]
    adapters = Adapters([6], [4])
    optimizer = torch.optim.Adam(adapters.parameters(), 0.05)
    first = float(adapters(mine, theirs).detach())
    for _ in range(200):
        optimizer.zero_grad()
        loss = adapters(mine, theirs)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05 * first


def test_an_onnx_teacher_says_what_its_own_head_finds() -> None:
    path = find_model("vedette-n-seed")
    taught = HostTeacher(path, ("vehicle", "person", "cat"), {"bike": "vehicle"}, bf16=False).look(levels((416, 256)))
    assert taught.scores.shape == (2, 2184, 3)
    assert taught.known.tolist() == [1.0, 1.0, 0.0]
    engine = open_engine(ModelOptions(path=path, backend="onnxruntime"), now_ns=SystemClock().mono_ns)
    try:
        buffer = engine.acquire()
        assert buffer is not None
        picture = levels((416, 256))[0].transpose(2, 0, 1)
        buffer.array[0] = picture if buffer.array.dtype == np.uint8 else picture / np.float32(255)
        engine.submit(buffer, 1)
        done = engine.completed()
        assert done is not None
        assert done.outputs is not None
        own = {name: value.copy() for name, value in done.outputs.items()}
        engine.release(buffer)
    finally:
        engine.close()
    np.testing.assert_allclose(taught.scores[0, :, 1], own["scores"][0, :, 0], atol=1e-3)
    np.testing.assert_allclose(taught.scores[0, :, 0], own["scores"][0, :, 1:].max(axis=1), atol=1e-3)
    np.testing.assert_allclose(taught.boxes[0], own["boxes"][0], atol=0.3)


def test_a_teacher_of_fixed_size_says_so_at_another() -> None:
    teacher = HostTeacher(find_model("vedette-n-seed"), NAMES, {})
    with pytest.raises(ModelError, match="cannot be run at 64x64: its own size is fixed"):
        teacher.look(levels((64, 64)))


@pytest.mark.skipif(SHARED is None, reason="the teachers are not beside this repository")
@pytest.mark.parametrize("name", ["yolox_nano_dynamic.onnx", "nanodet_plus_m_416.onnx"])
def test_the_teachers_of_other_families_say_what_their_heads_find(name: str) -> None:
    assert SHARED is not None
    teacher = HostTeacher(SHARED / "teachers" / name, NAMES, MAP, bf16=False)
    size_wh = (320, 192)
    picture = levels(size_wh)
    taught = teacher.look(picture)
    assert taught.scores.shape == (2, 40 * 24 + 20 * 12 + 10 * 6, 3)
    assert taught.known.tolist() == [1.0, 1.0, 1.0]
    compiled, spec = teacher._prepared(size_wh)
    request = compiled.create_infer_request()
    values = (picture[0][..., ::-1].transpose(2, 0, 1) * spec.input.scale).astype(np.float32)
    mean, std = (np.array(three, np.float32)[:, None, None] for three in (spec.input.mean, spec.input.std))
    request.infer([((values - mean) / std)[None]])
    found = build_head(spec, labels="all").decode({"": request.get_output_tensor(0).data}, 0, 0.02)
    of_person = {tuple(np.round(box, 1)) for box, c in zip(found.xyxy_px, found.class_ids, strict=True) if c == 0}
    rows = (taught.scores[0, :, 0] >= 0.02).nonzero()[:, 0].tolist()
    ours = {tuple(np.round(taught.boxes[0, row].numpy(), 1)) for row in rows}
    assert len(ours & of_person) >= 0.9 * len(of_person)


def test_nanodets_coarsest_grid_goes_to_the_cells_under_it() -> None:
    from engines.heads.grid import anchor_points
    from engines.spec import InputSpec

    size_wh = (96, 64)
    spec = ModelSpec(name="n", head="nanodet_plus", classes=("a",), input=InputSpec(size=size_wh))
    cells, strides = anchor_points(size_wh, (8, 16, 32, 64))
    raw = np.zeros((len(cells), 1 + 32), np.float32)
    coarse = int((strides[:, 0] < 64).sum())
    raw[coarse, 0] = 0.8  # of its two columns the first: over the first two cells of stride 32 in each row
    scores, boxes = dense(spec, {"output": raw[None]})
    assert scores.shape == (coarse, 1)
    last = scores[-6:, 0].reshape(2, 3)
    np.testing.assert_allclose(last, [[0.8, 0.8, 0.0], [0.8, 0.8, 0.0]])
    np.testing.assert_allclose(boxes[coarse - 6], [-224, -224, 224, 224])


def test_a_teacher_that_does_not_look_at_every_anchor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected 315 anchors at 160x96"):
        HostTeacher(colour_model(tmp_path / "few.onnx"), ("red", "green"), {})


def test_wrong_teachers_are_one_line(tmp_path: Path, checkpoint: Path) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"nothing")
    for path, match in ((junk, "is not an ONNX model"), (tmp_path / "none.onnx", "no such model file")):
        with pytest.raises(ModelError, match=match) as caught:
            HostTeacher(path, NAMES, {})
        assert "\n" not in caught.value.message
    with pytest.raises(DataError, match="no class in common"):
        DeviceTeacher(checkpoint, ("cat",), {}, torch.device("cpu"))
