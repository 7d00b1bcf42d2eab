"""A class that the model that ships does not know, from forty pictures to a verified INT8 engine."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from engines.build import BuildRequest, build
from engines.datasets import open_dataset
from engines.quantize import LEAST_IMAGES, QuantizeOptions
from engines.runtimes import read_model_file
from engines.spec import find_spec
from engines.train.checkpoints import load_run, save_weights
from engines.validate.gate import GateLimits
from engines.yolo_nas import load_checkpoint
from engines.yolo_nas.export import export_onnx
from engines.yolo_nas.origin import open_origin
from engines.yolo_nas.random_weights import random_network
from pipeline.clock import SystemClock
from tests.support.datasets import coco_set
from vedette.cli.main import main

QUICK = ("--batch", "4", "--threads", "1", "--mosaic", "0")


def one_class(path: Path, *, name: str = "red") -> Path:
    """The same pictures, in which only one of the colours has a name."""
    document = json.loads(path.read_text())
    (category,) = (one for one in document["categories"] if one["name"] == name)
    document["categories"] = [category]
    document["annotations"] = [one for one in document["annotations"] if one["category_id"] == category["id"]]
    path.write_text(json.dumps(document))
    return path


def aps(out: Path) -> list[float]:
    """Of all validations of a run, in order."""
    return [float(row["ap"]) for row in csv.DictReader((out / "run.csv").read_text().splitlines()) if row["ap"]]


def test_a_new_class_is_learnt_and_becomes_an_engine_through_the_gate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = one_class(coco_set(tmp_path / "train", 40))
    held_out = one_class(coco_set(tmp_path / "val", 104, seed=2))
    out = tmp_path / "run"
    words = [str(train), "--val", str(held_out), "--init", "vedette-n", "--freeze-backbone", "--size", "96x64"]
    words += [*QUICK, "--epochs", "4", "--rate", "4e-3", "--out", str(out)]

    assert main(["model", "train", *words]) == 0

    assert "from vedette-n.pth; new: red; dropped: person, vehicle, bike" in capsys.readouterr().err
    assert load_checkpoint(out / "best.pth").class_names == ("red",)
    rows = aps(out)
    assert len(rows) == 3  # before, after three passes, at the end
    assert rows[0] < 0.1
    assert max(rows) > 0.4, rows

    origin = open_origin(str(out / "best.pth"))
    request = BuildRequest(
        model=export_onnx(origin.network, origin.spec, out / "red.onnx"),
        name="red",
        calibration=open_dataset(train),
        held_out=open_dataset(held_out),
        out_dir=out,
        # The nearest step, to be quick. In 96x64 pixels a pixel is much of a box: more may be lost than in use.
        options=QuantizeOptions(images=LEAST_IMAGES, rounding="nearest"),
        limits=GateLimits(ap_points=3.0),
    )
    report = build(request, now_ns=SystemClock().mono_ns, begin=lambda _words, _total: lambda: None)

    assert report.passed, [file.gate and file.gate.line() for file in report.files]
    spec = find_spec(read_model_file(out / "red-int8-unsigned.onnx")).spec
    assert (spec.unverified, spec.classes) == (False, ("red",))
    assert spec.gate is not None


def test_a_checkpoint_says_what_is_not_said_and_keeps_its_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, out = tmp_path / "start.pth", tmp_path / "run"
    save_weights(start, random_network("n", 2, seed=2), ("cat", "dog"), (96, 64))
    data = one_class(coco_set(tmp_path / "set", 4))
    words = ["model", "train", str(data), "--val", str(data), "--init", str(start), "--keep", "--out", str(out)]

    assert main([*words, *QUICK, "--epochs", "2", "--evaluate-epochs", "1", "--patience", "1"]) == 0

    err = capsys.readouterr().err
    assert "classes kept: cat, dog; new: red; 4 pictures" in err
    before, after = aps(out)[:2]
    assert ("validations without a better one: 1; the run ends" in err) == (after <= before)
    assert ("step 2: AP" in err) == (after > before)
    state, options, _ = load_run(out / "last.pth")
    assert (options.arch, options.sizes, options.classes) == ("n", ((96, 64),), ("cat", "dog", "red"))
    assert (options.warmup_steps, options.evaluate_epochs, options.patience) == (1, 1, 1)
    assert state["adapters"]  # the checkpoint was its teacher


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--init", "vedette-m"), "did you mean 'vedette-s'?"),
        (("--init", "nobody"), "expected a checkpoint (.pth) or the name of one that ships"),
        (("--init", "none", "--arch", "n", "--epochs", "1", "--keep"), "--keep: expected --init with a checkpoint"),
        (("--init", "vedette-n", "--patience", "0"), "--patience: expected"),
        (("--init", "vedette-n", "--evaluate-epochs", "0"), "--evaluate-epochs: expected"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = coco_set(tmp_path / "set", 2)
    assert main(["model", "train", str(data), "--out", str(tmp_path / "run"), *words]) == 2
    err = capsys.readouterr().err
    assert expected in err
    assert len(err.splitlines()) <= 3
