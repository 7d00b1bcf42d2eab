"""`vedette model train DATA --arch n --classes …`: a checkpoint out of labelled pictures, teachers and time."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.json_file import check_writable, write_json
from vedette.cli.model.train_options import (
    CALM,
    EPOCHS,
    EVALUATE_EPOCHS,
    checkpoint_of,
    ingredients_of,
    options_of,
)
from vedette.cli.printable import printable
from vedette.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines.datasets import Dataset
    from engines.train import Materials, TrainReport
    from engines.train.ingredients import Ingredients

_EPILOG = """\
DATA and VAL are COCO JSON, a data.yaml, or a folder in YOLO's form. A COCO image may name in `labels` the classes that
people labelled in it: the others cost nothing there, unless --pseudo or a teacher knows of them. Crowds cost nothing.

OUT gets best.pth (averaged weights, float16), last.pth (go on with --resume), run.csv and run.svg. The best is chosen
by AP on one half of VAL, by hash of the image's id; both halves are reported at the end.

A teacher is an ONNX detector (YOLOX, NanoDet-Plus, YOLO-NAS, YOLOv8) or a checkpoint of YOLO-NAS; its classes are
renamed with --map, as those of the data. On a GPU pictures, augmentation and teachers are there, too.

--init also takes the name of a model that ships. Of a checkpoint come, where nothing else is said, --arch, --size, and
a short run that is validated often. Classes that it shares with DATA keep their weights; --keep keeps all of its own,
with the checkpoint as the teacher that still knows them: label nothing but what is new.

examples:
  vedette model train data.yaml --val data.yaml --init vedette-n --out run
  vedette model train buses.json --val more_buses.json --init vedette-n --keep --out run
  vedette model train train.json --val val.json --arch n --init none --minutes 600 --size 640x384,416x256 --out run \\
    --pseudo pseudo.json --teacher yolox_nano.onnx --teacher nanodet_plus_m.onnx \\
    --map car=vehicle,bus=vehicle,truck=vehicle,bicycle=bike,motorcycle=bike
  vedette model train train.json --out run --resume
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "train",
        help="train or fine-tune a detector",
        description="Train a YOLO-NAS, from random weights or from a checkpoint.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="what to learn from")
    add("--images", type=Path, metavar="FOLDER", help="where the pictures of a COCO JSON file are")
    add("--split", metavar="NAME", help="which part of a data.yaml (train)")
    add("--sources", metavar="A,B,…", help="only images whose `source` is one of these")
    add("--weigh", metavar="SOURCE=N,…", help="draw images of a source N times as often")
    add(
        "--mix",
        metavar="DATA=SHARE",
        action="append",
        default=[],
        help="draw this share of the pictures from a further set: scenes/=0.2; repeatable",
    )
    add("--val", type=Path, action="append", default=[], metavar="VAL", help="what to choose by; repeatable")
    add("--arch", choices=("n", "s", "m", "l"), help="the size of the network (as the checkpoint's, or s from an n)")
    add("--classes", metavar="A,B,…", help="what it shall know (the classes of DATA)")
    add("--init", metavar="CHECKPOINT", help="weights to start from (a file, vedette-n, vedette-s), or none")
    add("--keep", action="store_true", help="know the checkpoint's classes, too, and learn them from it")
    add("--out", type=Path, required=True, metavar="DIR", help="where the run is kept")
    add(
        "--resume",
        action="store_true",
        help="go on with OUT/last.pth as it was started: options, teachers, sets",
    )
    add("--freeze-backbone", action="store_true", help="learn neck and heads only: for few pictures")
    add("--teacher", type=Path, action="append", default=[], metavar="FILE", help="learn from it; repeatable")
    add("--map", default="", metavar="A=B,…", help="take class A of the data or a teacher for class B")
    add("--pseudo", type=Path, metavar="JSON", help="boxes with scores for classes without labels (COCO results)")
    add("--distill", type=float, metavar="W", help="what the teachers count beside the labels (1)")
    add("--size", metavar="WxH,…", help="input sizes; the first is that of validation (the checkpoint's, 640x384)")
    add("--batch", type=int, metavar="N", help="pictures in a step (16)")
    add("--epochs", type=float, metavar="N", help=f"end after so many passes (with a checkpoint {EPOCHS})")
    add("--minutes", type=float, metavar="N", help="end after so much time")
    add("--rate", type=float, metavar="R", help="highest learning rate (0.001)")
    add("--optimizer", choices=("adamw", "sgd"), help="(adamw)")
    add("--weight-decay", type=float, metavar="W", help="(0.02)")
    add("--warmup", type=int, metavar="STEPS", help="steps of rising rate (200, at most a tenth of --epochs)")
    add("--ema", type=float, metavar="D", help="decay of the averaged weights (0.9995)")
    add("--precision", choices=("bf16", "fp16", "fp32"), help="of the forward pass (bf16)")
    add(
        "--calm",
        type=float,
        metavar="SHARE",
        help=f"last share of the run without augmentation (0.1; with neither --epochs nor --minutes {CALM})",
    )
    add("--mosaic", type=float, metavar="P", help="how often four pictures are one (0.5)")
    add("--no-augment", action="store_true", help="pictures as they are, and mirrored")
    add("--classification", choices=("varifocal", "quality"), help="loss of the classes (varifocal)")
    add("--box", choices=("giou", "ciou"), help="loss of the boxes (giou)")
    add("--balance", choices=("none", "weights", "resample"), help="what to do for rare classes (none)")
    add("--evaluate-minutes", type=float, metavar="N", help="how often to validate (5)")
    add("--evaluate-epochs", type=float, metavar="N", help=f"the same by passes ({EVALUATE_EPOCHS} with few pictures)")
    add("--patience", type=int, metavar="N", help="end after N validations in a row that were no better")
    add("--seed", type=int, metavar="N", help="(0)")
    add(
        "--threads",
        type=int,
        metavar="N",
        help="that learn, and as many that make batches; on a GPU at most 4 plan them (the cores at hand)",
    )
    add("--device", default="auto", metavar="D", help="cpu, cuda or auto (%(default)s)")
    add("--json", type=Path, metavar="OUT", help="write the report to this file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0; raises UsageError, DataError, ModelError."""
    check_writable(arguments.json)
    # Threads of torch must not spin while those that make batches want the cores. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from engines.train import train
    from pipeline.clock import SystemClock

    start = checkpoint_of(arguments)
    ingredients = ingredients_of(arguments, start)
    dataset = _dataset(arguments.data, ingredients)
    materials = _materials(arguments, ingredients, dataset, start)
    options = options_of(arguments, dataset, start)
    with _bar() as (moved, say):
        report = train(
            options,
            materials,
            arguments.out,
            now_ns=SystemClock().mono_ns,
            resume=arguments.resume,
            moved=moved,
            say=say,
        )
    print("\n".join(map(printable, _lines(report))))
    if arguments.json is not None:
        write_json(arguments.json, report)
    return 0


def _dataset(data: Path, ingredients: Ingredients) -> Dataset:
    from engines.datasets import open_dataset

    images = None if ingredients.images is None else Path(ingredients.images)
    dataset = open_dataset(data, images=images, split=ingredients.split)
    parts = {image.part for image in dataset.images}
    wanted = ingredients.sources
    for option, names in (("--sources", wanted or ()), ("--weigh", ingredients.weigh)):
        for name in names:
            if name not in parts:
                has = ", ".join(sorted(part for part in parts if part)) or "none named"
                msg = f"{option}: {data} has no images of {name!r}"
                raise UsageError(msg, hint=f"it has: {has}")
    return dataset if wanted is None else dataset.chosen(lambda image: image.part in wanted)


def _materials(
    arguments: argparse.Namespace, ingredients: Ingredients, dataset: Dataset, start: Path | None
) -> Materials:
    import torch

    from engines.datasets import open_dataset
    from engines.train import Materials

    pseudo = None if ingredients.pseudo is None else Path(ingredients.pseudo)
    teachers = tuple(map(Path, ingredients.teachers))
    for file in (pseudo, *teachers):
        if file is not None and not file.is_file():
            msg = f"{file}: no such file"
            raise UsageError(msg)
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device != "cpu" and not torch.cuda.is_available():
        msg = f"--device: expected cpu on this machine, got {device!r}: torch sees no GPU"
        raise UsageError(msg)
    return Materials(
        data=dataset,
        extra=tuple(open_dataset(Path(path), split=ingredients.split) for path in ingredients.mixed),
        validation=tuple(open_dataset(Path(path), split="val") for path in ingredients.validation),
        pseudo=pseudo,
        teachers=teachers,
        names=ingredients.names,
        weigh=ingredients.weigh,
        ingredients=ingredients.absolute(),
        init=None if arguments.resume else start,
        device=device,
    )


@contextmanager
def _bar() -> Iterator[tuple[Callable[[float], None], Callable[[str], None]]]:
    """What moves the bar to a share, and what says a line above it; both on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("training"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stderr.isatty(), transient=True, console=console) as bar:
        task = bar.add_task("training", total=1.0)
        yield (
            lambda share: bar.update(task, completed=share),
            lambda line: console.print(printable(line), markup=False),
        )


def _lines(report: TrainReport) -> list[str]:
    lines = [f"{report.steps} steps, {report.images} pictures, {report.seconds / 60:.1f} minutes, {report.start}"]
    for one in report.halves:
        for name, half in (("choosing half", one.choosing), ("other half", one.other)):
            if half is None:
                continue
            lines.append(f"{one.data}, {name}, {half.images} images:")
            for each in half.classes:
                if each.ap.ap is not None and each.ap.ap50 is not None:
                    lines.append(f"  {each.name:<12} AP {100 * each.ap.ap:5.1f}  AP50 {100 * each.ap.ap50:5.1f}")
    lines.append(
        f"best weights: {report.out}/best.pth; an engine of them: vedette model build {report.out}/best.pth --data …"
    )
    return lines
