"""Whole runs, small: something is learnt, a run goes on exactly, what is wrong is said in one line."""

from __future__ import annotations

import copy
import csv
import json
import resource
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from engines.datasets import open_dataset
from engines.train import Materials, TrainOptions, job, train
from engines.train.batches import Batch, Batches
from engines.train.checkpoints import load_run, save_weights
from engines.train.evaluate import Evaluator
from engines.train.geometry import CALM
from engines.train.looks import AppearanceOptions
from engines.train.pictures import load_samples
from engines.train.planner import BatchOptions
from engines.train.schedule import progress, rate
from engines.train.start import first_network
from engines.train.student import DivergedError, Student
from engines.yolo_nas import YoloNas, load_checkpoint
from engines.yolo_nas.random_weights import random_network
from engines.yolo_nas.variants import Variant
from pipeline.clock import SystemClock
from tests.engines.train.teacher_files import shuffling_teacher
from tests.support.datasets import coco_set, random_things, write_picture
from tests.support.models import CLASSES
from vedette.cli.main import main
from vedette.errors import ModelError, UsageError

NOW = SystemClock().mono_ns
SMALL: dict[str, Any] = {"arch": "n", "classes": CLASSES, "sizes": ((96, 64),), "batch": 2, "threads": 1, "epochs": 4}


# A network like N with a third of its blocks and channels.
THIN = Variant(
    name="n", stem=16, stage_out=(24, 32, 48, 64), stage_blocks=(1, 1, 1, 1), stage_hidden=(8, 16, 16, 24),
    stage_concat=(False, False, False, False), context_out=64, neck_out=(32, 32, 32, 48), neck_blocks=(1, 1, 1, 1),
    neck_hidden=(16, 16, 16, 16), head_width=(32, 32, 32),
)  # fmt: skip


def test_eight_pictures_are_learnt_by_heart(tmp_path: Path) -> None:
    data, steps = open_dataset(coco_set(tmp_path / "set", 8, sizes=((96, 64),))), 160
    options = TrainOptions(
        arch="n", classes=CLASSES, epochs=steps, rate=8e-3, warmup_steps=10, ema=0.9, precision="fp32"
    )
    samples, _ = load_samples(data, longest_px=96)
    made = BatchOptions(batch=8, sizes=((96, 64),), seed=0, classes=3, geometry=CALM, appearance=AppearanceOptions())
    batches = Batches(samples, [1.0] * 8, made)
    torch.manual_seed(0)
    student = Student(YoloNas(THIN, 3), options, device=torch.device("cpu"))
    losses = [
        student.step(batches.make(step, calm=True), step, rate(options, step, step / steps)).total
        for step in range(steps)
    ]
    assert losses[-1] < 0.3 * losses[0]
    ap = Evaluator(data, (96, 64)).ap(student.average.network, torch.device("cpu"))
    assert ap.mean.ap is not None
    assert ap.mean.ap > 0.9


def test_parts_learnt_by_threads_are_one_step(tmp_path: Path) -> None:
    """A step of two threads goes half way of what each half of the batch asks for."""
    samples, _ = load_samples(open_dataset(coco_set(tmp_path / "set", 8, sizes=((96, 64),))), longest_px=96)
    made = BatchOptions(batch=8, sizes=((96, 64),), seed=0, classes=3, geometry=CALM, appearance=AppearanceOptions())
    batch = Batches(samples, [1.0] * 8, made).make(0, calm=True)
    start = YoloNas(THIN, 3)

    def moved(part: Batch, threads: int) -> torch.Tensor:
        options = TrainOptions(
            arch="n", classes=CLASSES, epochs=1, threads=threads, precision="fp32", optimizer="sgd", clip=1e9
        )
        student = Student(copy.deepcopy(start), options, device=torch.device("cpu"))
        before = torch.cat([one.detach().flatten().clone() for one in student.network.parameters()])
        student.step(part, 0, 1e-3)
        return torch.cat([one.detach().flatten() for one in student.network.parameters()]) - before

    both = moved(batch, 2)
    halves_apart = torch.stack([moved(part, 1) for part in batch.parts(2)])
    torch.testing.assert_close(both, halves_apart.mean(dim=0), rtol=1e-3, atol=1e-6)
    assert float((halves_apart[0] - halves_apart[1]).abs().max()) > 1e-5


def half_precision(tmp_path: Path, scale: float) -> tuple[Student, Batch]:
    """A student in FP16 whose losses are scaled so much, and a batch."""
    samples, _ = load_samples(open_dataset(coco_set(tmp_path / "set", 4, sizes=((96, 64),))), longest_px=96)
    made = BatchOptions(batch=4, sizes=((96, 64),), seed=0, classes=3, geometry=CALM, appearance=AppearanceOptions())
    torch.manual_seed(0)
    options = TrainOptions(arch="n", classes=CLASSES, epochs=1, threads=1, precision="fp16")
    student = Student(YoloNas(THIN, 3), options, device=torch.device("cpu"))
    state = student.state()
    student.load({**state, "scaler": {**state["scaler"], "scale": scale}})
    return student, Batches(samples, [1.0] * 4, made).make(0, calm=True)


def test_in_half_precision_something_is_learnt(tmp_path: Path) -> None:
    student, batch = half_precision(tmp_path, 2.0**10)
    losses = [student.step(batch, step, 2e-3).total for step in range(12)]
    assert losses[-1] < 0.9 * losses[0]


def test_gradients_that_overflow_are_left_out_and_the_scale_falls(tmp_path: Path) -> None:
    student, batch = half_precision(tmp_path, 2.0**60)
    before = copy.deepcopy(student.state()["net"])
    report = student.step(batch, 0, 1e-3)
    assert not np.isfinite(report.gradient)
    assert student.state()["scaler"]["scale"] == 2.0**59
    learnt = dict(student.network.named_parameters())
    assert all(torch.equal(before[name], value) for name, value in learnt.items())


def test_gradients_that_overflow_unscaled_end_the_run(tmp_path: Path) -> None:
    student, batch = half_precision(tmp_path, 1.0)
    with torch.no_grad():
        next(student.network.parameters()).fill_(float("inf"))
    with pytest.raises(DivergedError, match="step 0: the loss is no number any more"):
        student.step(batch, 0, 1e-3)


def weights(out: Path) -> dict[str, torch.Tensor]:
    state, _, where = load_run(out / "last.pth")
    assert where["step"] == 4
    flat = {f"net.{key}": value for key, value in state["net"].items()}
    flat |= {f"ema.{key}": value for key, value in state["ema_net"].items()}
    for number, one in state["optimizer"]["state"].items():
        flat |= {f"optimizer.{number}.{key}": value for key, value in one.items()}
    return flat


@pytest.mark.parametrize(("optimizer", "precision"), [("adamw", "bf16"), ("sgd", "fp32"), ("adamw", "fp16")])
def test_two_steps_and_two_more_are_four_steps(tmp_path: Path, optimizer: str, precision: str) -> None:
    data = open_dataset(coco_set(tmp_path / "set", 5))
    options = TrainOptions(**SMALL, optimizer=optimizer, precision=precision, warmup_steps=3)  # type: ignore[arg-type]
    materials = Materials(data=data)
    train(options, materials, tmp_path / "whole", now_ns=NOW, most_steps=4)
    train(options, materials, tmp_path / "parts", now_ns=NOW, most_steps=2)
    train(options, materials, tmp_path / "parts", now_ns=NOW, most_steps=2, resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    differing = [key for key, value in whole.items() if not torch.equal(value, parts[key])]
    assert not differing
    best = [(tmp_path / name / "best.pth") for name in ("whole", "parts")]
    one, other = (torch.load(path, weights_only=True)["net"] for path in best)
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_run_with_an_onnx_teacher_on_the_device_goes_on_exactly(tmp_path: Path, precision: str) -> None:
    """Batches are made there, too; the file shows features, so that adapters are learnt."""
    data = open_dataset(coco_set(tmp_path / "set", 5))
    teacher = shuffling_teacher(tmp_path / "teacher.onnx", features=True)
    names = {"person": "red", "car": "green", "bus": "green"}
    materials = Materials(data=data, teachers=(teacher,), names=names, on_device=True)
    options = TrainOptions(**SMALL, precision=precision)  # type: ignore[arg-type]
    train(options, materials, tmp_path / "whole", now_ns=NOW, most_steps=4)
    train(options, materials, tmp_path / "parts", now_ns=NOW, most_steps=2)
    train(options, materials, tmp_path / "parts", now_ns=NOW, most_steps=2, resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())
    with (tmp_path / "whole" / "run.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["distill"]) > 0.0
    assert float(last["features"]) > 0.0


def test_a_frozen_backbone_stays_as_it_was(tmp_path: Path) -> None:
    start = tmp_path / "start.pth"
    save_weights(start, random_network("n", 3, seed=2), CLASSES, (96, 64), half=False)
    options = TrainOptions(**SMALL, freeze_backbone=True, precision="fp32")
    data = open_dataset(coco_set(tmp_path / "set", 4))
    train(options, Materials(data=data, init=start), tmp_path / "out", now_ns=NOW, most_steps=2)
    before, after = load_checkpoint(start).network.state_dict(), load_run(tmp_path / "out" / "last.pth")[0]["net"]
    assert all(torch.equal(before[key], after[key]) for key in before if key.startswith("backbone."))
    assert any(not torch.equal(before[key], after[key]) for key in before if key.startswith("neck."))


def test_classes_of_the_same_name_keep_their_weights(tmp_path: Path) -> None:
    start = tmp_path / "start.pth"
    save_weights(start, random_network("n", 3, seed=2), ("cat", "dog", "cow"), (96, 64), half=False)
    options = TrainOptions(arch="n", classes=("cow", "fox"), epochs=1)
    network, line = first_network(options, start)
    key = "heads.head1.cls_pred.weight"
    given = load_checkpoint(start).network.state_dict()
    assert torch.equal(network.state_dict()[key][0], given[key][2])
    assert not torch.equal(network.state_dict()[key][1], given[key][1])
    assert torch.equal(
        network.state_dict()["backbone.stem.conv.post_bn.weight"], given["backbone.stem.conv.post_bn.weight"]
    )
    assert "classes kept: cow" in line
    with pytest.raises(ModelError, match="holds a YOLO-NAS N, expected M"):
        first_network(TrainOptions(arch="m", classes=("cow",), epochs=1), start)


def test_an_s_may_begin_as_an_n(tmp_path: Path) -> None:
    start = tmp_path / "start.pth"
    save_weights(start, random_network("n", 3, seed=2), CLASSES, (96, 64), half=False)
    options = TrainOptions(**(SMALL | {"arch": "s", "classes": CLASSES}))
    network, line = first_network(options, start)
    again, _ = first_network(options, start)
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        mine, given = network.eval()(images), load_checkpoint(start).network.eval()(images)
    assert line == "from start.pth, twice as wide"
    assert network.variant.name == "s"
    for one, other in zip(mine, given, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())


def test_the_rate_rises_then_falls_and_time_counts_too() -> None:
    options = TrainOptions(arch="n", classes=("a",), epochs=10, minutes=2, rate=1.0, warmup_steps=4, final_rate=0.1)
    assert [rate(options, step, 0.0) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert rate(options, 100, 0.5) == pytest.approx(0.55)
    assert rate(options, 100, 1.0) == pytest.approx(0.1)
    assert progress(options, 50, 10, 0.0) == pytest.approx(0.5)
    assert progress(options, 50, 10, 90.0) == pytest.approx(0.75)


def yolo_folder(folder: Path, count: int = 6) -> Path:
    rng = np.random.default_rng(1)
    for index in range(count):
        things = random_things(rng, (90, 60))
        write_picture(folder / "images" / f"{index}.png", (90, 60), things)
        lines = [
            f"{CLASSES.index(colour)} {(x1 + x2) / 180} {(y1 + y2) / 120} {(x2 - x1) / 90} {(y2 - y1) / 60}"
            for colour, (x1, y1, x2, y2) in things.items()
        ]
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / f"{index}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text("train: images\nval: images\nnames: [red, green, blue]\n")
    return folder


QUICK = ("--arch", "n", "--init", "none", "--size", "96x64", "--batch", "2", "--epochs", "1", "--threads", "1")


def test_one_command_makes_a_checkpoint_of_a_yolo_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = yolo_folder(tmp_path / "data", 8), tmp_path / "run"
    words = ["model", "train", str(data), "--val", str(data), "--out", str(out), "--json", str(tmp_path / "r.json")]
    assert main([*words, *QUICK]) == 0
    said, err = capsys.readouterr()
    assert "4 steps, 8 pictures" in said
    assert "choosing half" in said
    assert "from random weights" in err
    assert {path.name for path in out.iterdir()} == {"best.pth", "last.pth", "run.csv", "run.svg"}
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["steps"] == 4
    assert report["options"]["sizes"] == [[96, 64]]
    assert load_checkpoint(out / "best.pth").class_names == CLASSES
    assert (out / "best.pth").stat().st_size < 7e6

    assert main(["model", "train", str(data), "--out", str(out), "--resume"]) == 0
    assert "4 steps" in capsys.readouterr().out


def test_a_run_can_take_classes_sources_and_a_second_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = coco_set(tmp_path / "set", 4)
    document = json.loads(data.read_text())
    for index, image in enumerate(document["images"]):
        image["source"] = "yard" if index % 2 else "street"
    data.write_text(json.dumps(document))
    second = yolo_folder(tmp_path / "second")
    words = ["model", "train", str(data), "--out", str(tmp_path / "run"), "--sources", "yard", "--weigh", "yard=2"]
    words += ["--mix", f"{second}=0.25", "--classes", "blue,red", "--balance", "resample", "--map", "green=red"]
    assert main([*words, *QUICK]) == 0
    assert "2 pictures, 1 steps an epoch" in capsys.readouterr().err
    assert load_checkpoint(tmp_path / "run" / "best.pth").class_names == ("blue", "red")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("--arch", ""), "--arch"),
        (("--init", "none.pth"), "--init: no such checkpoint"),
        (("--size", "100x64"), "--size: expected WIDTHxHEIGHT in multiples of 32"),
        (("--size", ","), "--size: expected at least one size"),
        (("--batch", "0"), "--batch: expected"),
        (("--rate", "-1"), "--rate: expected"),
        (("--epochs", "0"), "--epochs: expected"),
        (("--epochs", "inf"), "--epochs: expected"),
        (("--threads", "0"), "--threads: expected"),
        (("--threads", "99999"), "--threads: expected"),
        (("--calm", "2"), "--calm: expected"),
        (("--classes", "red,red"), "--classes: expected names that differ"),
        (("--sources", "moon"), "has no images of 'moon'"),
        (("--mix", "x"), "--mix: expected DATA=SHARE"),
        (("--mix", "x=2"), "--mix: expected DATA=SHARE"),
        (("--weigh", "a=b"), "--weigh: expected SOURCE=NUMBER"),
        (("--weigh", "moon=inf"), "--weigh: expected SOURCE=NUMBER"),
        (("--weigh", "moon=2"), "has no images of 'moon'"),
        (("--teacher", "no.onnx"), "no.onnx: no such file"),
        (("--pseudo", "no.json"), "no.json: no such file"),
        (("--map", "car"), "--map: expected NAME=NAME"),
        (("--map", "rod=red"), "--map: neither the data nor a teacher has a class 'rod'"),
        (("--val", "no.json"), "no.json: no such file or folder"),
        (("--device", "cuda:77"), "--device"),
        (("--classes", "cat"), "no class in common"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, change: tuple[str, str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = coco_set(tmp_path / "set", 2)
    words = ["model", "train", str(data), "--out", str(tmp_path / "run"), *QUICK, *change]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert expected in err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 3


def test_pictures_without_a_box_are_refused_unless_a_teacher_knows_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = yolo_folder(tmp_path / "data", 2)
    for labels in (data / "labels").iterdir():
        labels.write_text("")

    assert main(["model", "train", str(data), "--out", str(tmp_path / "run"), *QUICK]) == 2
    assert "nothing to learn: no box of red, green, blue, and no teacher" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["DeviceBatches", "Student"])
def test_memory_that_is_used_up_before_the_first_step_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object, **__: object) -> None:
        msg = "CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has …"
        raise torch.OutOfMemoryError(msg)

    monkeypatch.setattr(job, where, full)
    monkeypatch.setattr(job, "fits", lambda *_: True)
    options = TrainOptions(arch="n", classes=CLASSES, sizes=((96, 64),), batch=2, epochs=1, threads=1)
    data = open_dataset(coco_set(tmp_path / "set", 2, sizes=((96, 64),)))

    with pytest.raises(UsageError, match=r"^cpu has too little memory: CUDA out of memory\. Tried .* GiB\.$"):
        train(options, Materials(data=data, on_device=True), tmp_path / "out", now_ns=SystemClock().mono_ns)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Materials]:
    """The command ends after each step; here is what each of its runs was made of."""
    seen: list[Materials] = []

    def one_step(options: TrainOptions, materials: Materials, out: Path, **how: Any) -> Any:
        seen.append(materials)
        return train(options, materials, out, most_steps=1, **how)

    monkeypatch.setattr("engines.train.job.train", one_step)
    return seen


def test_a_run_goes_on_with_all_that_it_was_made_of(
    tmp_path: Path, steps: list[Materials], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From another folder, too, and with no word of it."""
    document = json.loads((data := coco_set(tmp_path / "set", 5)).read_text())
    for index, image in enumerate(document["images"]):
        image |= {"source": "yard" if index else "street", "labels": ["red", "green"]}
    data.write_text(json.dumps(document))
    box = {"image_id": document["images"][1]["id"], "category_id": 3, "bbox": [1, 1, 9, 9], "score": 0.9}
    (tmp_path / "pseudo.json").write_text(json.dumps([box]))
    yolo_folder(tmp_path / "second")
    shuffling_teacher(tmp_path / "teacher.onnx", features=True)
    monkeypatch.chdir(tmp_path)
    words = ["--val", str(data.relative_to(tmp_path)), "--sources", "yard", "--weigh", "yard=2", "--mix", "second=0.25"]
    words += ["--pseudo", "pseudo.json", "--teacher", "teacher.onnx", "--map", "person=red,car=green,bus=green"]
    assert main(["model", "train", str(data), "--out", "run", *words, *QUICK]) == 0
    assert "from random weights; 4 pictures" in capsys.readouterr().err

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["model", "train", str(data), "--out", "../run", "--resume"]) == 0
    assert "from ../run/last.pth, step 1; 4 pictures" in capsys.readouterr().err
    first, second = steps
    assert second.ingredients == first.ingredients
    assert [str(one.path) for one in (*second.extra, *second.validation)] == [str(tmp_path / "second"), str(data)]
    assert (second.pseudo, second.teachers) == (tmp_path / "pseudo.json", (tmp_path / "teacher.onnx",))
    assert (second.names, second.weigh) == (first.names, {"yard": 2.0})
    assert load_run(tmp_path / "run" / "last.pth")[2]["step"] == 2


def test_a_checkpoint_stays_the_teacher_of_a_run_that_goes_on(
    tmp_path: Path, steps: list[Materials], capsys: pytest.CaptureFixture[str]
) -> None:
    start, other, out = tmp_path / "start.pth", tmp_path / "other.pth", tmp_path / "run"
    save_weights(start, random_network("n", 2, seed=2), ("cat", "red"), (96, 64))
    save_weights(other, random_network("s", 2, seed=2), ("cat", "red"), (96, 64))
    data = coco_set(tmp_path / "set", 5)
    words = ["model", "train", str(data), "--out", str(out)]
    assert main([*words, "--init", str(start), "--keep", "--batch", "2", "--threads", "1", "--epochs", "4"]) == 0
    assert main([*words, "--resume"]) == 0
    assert [one.teachers for one in steps] == [(start,), (start,)]
    assert load_run(out / "last.pth")[2]["step"] == 2
    capsys.readouterr()

    for more, expected in (
        (["--teacher", str(other)], "expected the teachers that the run began with"),
        (["--mix", f"{data}=0.5"], "--mix: expected 0 sets, as the run began, got 1"),
    ):
        assert main([*words, "--resume", *more]) == 2
        err = capsys.readouterr().err
        assert expected in err
        assert len(err.splitlines()) <= 3


@pytest.mark.parametrize(("name", "hint"), [("last.pth", "--resume goes on with it"), ("best.pth", "another one")])
def test_a_run_that_is_there_already_is_not_written_over(
    tmp_path: Path, name: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = coco_set(tmp_path / "set", 2), tmp_path / "run"
    out.mkdir()
    (out / name).write_bytes(b"hours of work")
    assert main(["model", "train", str(data), "--out", str(out), *QUICK]) == 2
    err = capsys.readouterr().err
    assert f"--out: expected a folder without a run in it, got {out}, which has {name}" in err
    assert hint in err
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_bytes() == b"hours of work"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in the place of a file nor below one: root, too, cannot do that."""
    data, file = coco_set(tmp_path / "set", 2), tmp_path / "file"
    file.write_text("")
    for out in (file, file / "run"):
        assert main(["model", "train", str(data), "--out", str(out), *QUICK]) == 2
        err = capsys.readouterr().err
        assert f"--out: expected a folder that can be written, got {out}: " in err
        assert len(err.splitlines()) <= 3


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = coco_set(tmp_path / "set", 2)
    words = ["model", "train", str(data), "--out", str(tmp_path / "run")]
    for more, expected in (
        ((), "--init: expected"),
        (("--init", "none"), "--arch: expected"),
        (("--init", "none", "--arch", "n"), "--epochs or --minutes: expected"),
        (("--resume",), "no such checkpoint to go on from"),
    ):
        assert main([*words, *more]) == 2
        assert expected in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A limit on the size of files ends a write in its middle, as a full disk does: torch raises RuntimeError."""
    network = random_network("n", 3, seed=2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_001, hard))
    try:
        with pytest.raises(ModelError, match=r"best\.pth: cannot be written: File too large") as caught:
            save_weights(tmp_path / "best.pth", network, CLASSES, (96, 64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in caught.value.message
    assert not list(tmp_path.iterdir())


def test_a_spoilt_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    for content in (b"", b"nonsense", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"is no checkpoint of a run") as caught:
            load_run(path)
        assert "\n" not in caught.value.message
    torch.save({"net": {}}, path)
    with pytest.raises(ModelError, match="is no checkpoint of a run"):
        load_run(path)


def test_grey_pictures_train_too(tmp_path: Path) -> None:
    data = yolo_folder(tmp_path / "data", 2)
    for file in (data / "images").iterdir():
        assert cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    assert main(["model", "train", str(data), "--out", str(tmp_path / "run"), *QUICK]) == 0
