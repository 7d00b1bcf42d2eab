"""A training run from the first picture to the last report, top to bottom.

`prepare` opens everything and refuses what is wrong before hours are spent; `train` runs the loop. Called by `vedette
model train`. The clock is the caller's.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from engines.datasets import Dataset
from engines.train.batches import Batches, BatchMaker
from engines.train.checkpoints import load_run, save_run, save_weights
from engines.train.device_batches import DeviceBatches, fits
from engines.train.evaluate import Evaluator, halves, has_objects, mean_ap
from engines.train.geometry import CALM, GeometryOptions
from engines.train.ingredients import Ingredients
from engines.train.looks import AppearanceOptions
from engines.train.loss import LossOptions
from engines.train.materials import Materials, Teachers, check_names, in_classes, open_teachers
from engines.train.options import TrainOptions
from engines.train.pictures import load_samples
from engines.train.planner import BatchOptions
from engines.train.pseudo import read_pseudo
from engines.train.record import Row, write_csv, write_plot
from engines.train.sample import Sample
from engines.train.schedule import progress, rate
from engines.train.start import first_network
from engines.train.student import StepReport, Student
from engines.train.teachers import LevelsTeacher
from engines.train.weighing import balanced, class_weights
from engines.validate import ApReport
from engines.yolo_nas import YoloNas
from vedette.errors import DataError, ModelError, UsageError

_LOG_EVERY = 20  # steps between rows of the table


class HalfReport(msgspec.Struct, frozen=True, kw_only=True):
    """AP of the best weights on one validation set: the half that they were chosen by, and the other."""

    data: str
    choosing: ApReport | None
    other: ApReport | None


class TrainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run. `best_step` None: nothing was validated, and `best.pth` holds the last average."""

    out: str
    start: str
    steps: int
    seconds: float
    images: int
    best_step: int | None
    best_ap: float | None
    halves: tuple[HalfReport, ...]
    unreadable: tuple[str, ...]
    options: TrainOptions


@dataclass(slots=True)
class _Where:
    """How far a run is; all of it is in `last.pth`."""

    step: int = 0
    seconds: float = 0.0
    best_ap: float = -1.0
    best_step: int = -1
    evaluated_s: float = 0.0
    evaluated_step: int = 0
    no_better: int = 0
    rows: list[Row] = field(default_factory=list)


Say = Callable[[str], None]


def train(
    options: TrainOptions,
    materials: Materials,
    out: Path,
    *,
    now_ns: Callable[[], int],
    resume: bool = False,
    most_steps: int | None = None,
    moved: Callable[[float], None] = lambda _share: None,
    say: Say = lambda _line: None,
) -> TrainReport:
    """Train, and leave `best.pth`, `last.pth`, `run.csv` and `run.svg` in `out`.

    `most_steps` ends the run early, to be resumed; `moved` is told how much is done, `say` gets lines for people.
    Raises DataError, ModelError, UsageError, DivergedError.
    """
    _make_folder(out, resume=resume)
    device = torch.device(materials.device)
    if device.type == "cpu":
        torch.set_num_threads(options.threads)
    else:
        torch.backends.cudnn.benchmark = True  # a few sizes, each of them thousands of times
    saved = load_run(out / "last.pth") if resume else None
    if saved is not None:
        options = saved[1]
        if len(materials.extra) != len(options.mixed):
            msg = f"--mix: expected {len(options.mixed)} sets, as the run began, got {len(materials.extra)}"
            raise UsageError(msg)
    with _memory_said(materials.device):
        teachers = open_teachers(options, materials)
        check_names(materials, teachers)
        samples, batches, problems = _batches(options, materials, teachers.host, say)
        network, start = first_network(options, materials.init if saved is None else None)
        student = _student(options, network, samples, device, teachers)
        if saved is not None:
            start = f"from {out / 'last.pth'}, step {saved[2]['step']}"
            _go_on(student, saved[0], out)
    say(f"{start}; {len(samples)} pictures, {batches.steps_per_epoch} steps an epoch")
    where = _Where() if saved is None else msgspec.convert(saved[2], _Where)
    validation = [in_classes(one, options.classes, materials.names) for one in materials.validation]
    for one in validation:
        if not has_objects(halves(one)[0]):
            say(f"{one.path}: the half to choose by has no labelled object; nothing is chosen by it")
    if not validation:
        say("nothing to choose by (--val): best.pth will hold the last weights")
    evaluators = [Evaluator(half, options.sizes[0]) for half, _ in map(halves, validation) if has_objects(half)]

    loop = _Loop(options, student, batches, evaluators, where, out, now_ns, say, materials.ingredients)
    with _memory_said(materials.device):
        if evaluators and materials.init is not None and where.step == 0:
            loop.begin()
        loop.run(most_steps, moved)
        return _report(options, validation, out, start, where, problems, device)


@contextmanager
def _memory_said(device: str) -> Iterator[None]:
    """Memory of the device that is used up within is one line. Raises UsageError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        msg = f"{device} has too little memory: {str(error).splitlines()[0][:200]}"
        raise UsageError(msg, hint="lower --batch or --size") from error


def _make_folder(out: Path, *, resume: bool) -> None:
    """The folder of a run. Another run that is in it cost hours: only --resume may write there."""
    if not resume:
        for name in ("last.pth", "best.pth"):
            if (out / name).exists():
                more = "--resume goes on with it; else give another --out" if name == "last.pth" else "give another one"
                msg = f"--out: expected a folder without a run in it, got {out}, which has {name}"
                raise UsageError(msg, hint=more)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"--out: expected a folder that can be written, got {out}: {error.strerror}"
        raise UsageError(msg) from error
    if not os.access(out, os.W_OK | os.X_OK):
        msg = f"--out: expected a folder that can be written, got {out}"
        raise UsageError(msg)


def _batches(
    options: TrainOptions, materials: Materials, teachers: Sequence[LevelsTeacher], say: Say
) -> tuple[list[Sample], BatchMaker, list[str]]:
    """Pictures in memory, and what makes batches of them."""
    longest = max(max(size) for size in options.sizes)
    data = in_classes(materials.data, options.classes, materials.names)
    pseudo = None if materials.pseudo is None else read_pseudo(materials.pseudo, data)
    samples, problems = load_samples(data, longest_px=longest, pseudo=pseudo, threads=options.threads)
    extra: list[list[Sample]] = []
    for one in materials.extra:
        other = in_classes(one, options.classes, materials.names)
        further, more = load_samples(other, longest_px=longest, threads=options.threads)
        extra.append(further)
        problems += more
    for problem in problems[:5]:
        say(f"not used: {problem}")
    if not materials.teachers and not any(len(one.truth.class_ids) for some in (samples, *extra) for one in some):
        msg = f"{materials.data.path}: nothing to learn: no box of {', '.join(options.classes)}, and no teacher"
        raise DataError(msg, hint="label pictures, or give --teacher or --pseudo")
    weights = balanced(samples, len(options.classes)) if options.balance == "resample" else [1.0] * len(samples)
    weights = [value * materials.weigh.get(one.part, 1.0) for value, one in zip(weights, samples, strict=True)]
    how = BatchOptions(
        batch=options.batch,
        sizes=options.sizes,
        seed=options.seed,
        classes=len(options.classes),
        geometry=GeometryOptions(mosaic=options.mosaic) if options.augment else CALM,
        appearance=AppearanceOptions(),
        mixed=options.mixed,
    )
    device = torch.device(materials.device)
    # Teachers on the host look at batches where they are made.
    if materials.uses_device and not teachers:
        if fits([one for some in (samples, *extra) for one in some], device):
            return samples, DeviceBatches(samples, weights, how, device, extra=extra), problems
        say("the pictures do not fit on the device: batches are made on the host")
    return samples, Batches(samples, weights, how, extra=extra, teachers=teachers), problems


def _student(
    options: TrainOptions, network: YoloNas, samples: Sequence[Sample], device: torch.device, teachers: Teachers
) -> Student:
    weights = class_weights(samples, len(options.classes)) if options.balance == "weights" else ()
    return Student(
        network,
        options,
        device=device,
        loss=LossOptions(classification=options.classification, box=options.box, class_weights=weights),
        teachers=teachers.device,
        host_features=[teacher.widths for teacher in teachers.host],
    )


def _go_on(student: Student, state: dict[str, Any], out: Path) -> None:
    try:
        student.load(state)
    except (RuntimeError, ValueError) as error:
        # Adapters belong to the teachers that show features: others have other shapes, and the optimizer other groups.
        msg = f"{out / 'last.pth'}: expected the teachers that the run began with, got others"
        raise ModelError(msg, hint="--resume without --teacher and --keep takes those") from error


class _Loop:
    def __init__(
        self,
        options: TrainOptions,
        student: Student,
        batches: BatchMaker,
        evaluators: Sequence[Evaluator],
        where: _Where,
        out: Path,
        now_ns: Callable[[], int],
        say: Say,
        ingredients: Ingredients | None,
    ) -> None:
        self._ingredients = ingredients
        self._options = options
        self._student = student
        self._batches = batches
        self._evaluators = evaluators
        self._where = where
        self._out = out
        self._now_ns = now_ns
        self._say = say
        self._began_ns = now_ns()
        self._before_s = where.seconds
        self._logged = (where.step, where.seconds)

    def begin(self) -> None:
        """Validate what is started from: that is what the run has to better."""
        self._keep((), 0.0)

    def run(self, most_steps: int | None, moved: Callable[[float], None]) -> None:
        where, options = self._where, self._options
        stop = None if most_steps is None else where.step + most_steps
        stream = self._batches.stream(where.step, self._calm, threads=options.threads)
        since: list[StepReport] = []
        try:
            while (done := self._progress(where.step)) < 1.0 and where.step != stop and not self._given_up():
                moved(done)
                since.append(self._student.step(next(stream), where.step, rate(options, where.step, done)))
                where.step += 1
                self._tick()
                if where.step % _LOG_EVERY == 0:
                    self._log(since, done)
                    since.clear()
                if self._validation_is_due():
                    self._keep(since, done)
                    since.clear()
        except KeyboardInterrupt:
            self._save()
            raise
        finally:
            stream.close()
        if since or where.evaluated_step != where.step or not self._evaluators:
            self._keep(since, self._progress(where.step))
        moved(min(1.0, self._progress(where.step)))

    def _tick(self) -> None:
        self._where.seconds = self._before_s + (self._now_ns() - self._began_ns) / 1e9

    def _validation_is_due(self) -> bool:
        where, options = self._where, self._options
        if options.evaluate_epochs is None:
            return where.seconds - where.evaluated_s >= 60 * options.evaluate_minutes
        between = math.ceil(options.evaluate_epochs * self._batches.steps_per_epoch)
        return where.step - where.evaluated_step >= between

    def _given_up(self) -> bool:
        patience = self._options.patience
        if patience is None or self._where.no_better < patience:
            return False
        self._say(f"validations without a better one: {patience}; the run ends")
        return True

    def _progress(self, step: int) -> float:
        return progress(self._options, step, self._batches.steps_per_epoch, self._where.seconds)

    def _calm(self, step: int) -> bool:
        return self._progress(step) >= 1.0 - self._options.calm or not self._options.augment

    def _log(self, since: Sequence[StepReport], done: float, report: Sequence[ApReport] = ()) -> None:
        where, options = self._where, self._options
        step, seconds = self._logged
        fresh = where.step - step
        names = ("total", "classes", "boxes", "bins", "distill", "features", "positives", "gradient")
        means = [float(np.mean([getattr(one, name) for one in since])) if since else None for name in names]
        speed = fresh * options.batch / (where.seconds - seconds) if fresh and where.seconds > seconds else None
        ap = mean_ap(report) if report else None
        ap50 = float(np.mean([one.mean.ap50 or 0.0 for one in report])) if report else None
        where.rows.append(
            [
                float(where.step),
                where.step / self._batches.steps_per_epoch,
                where.seconds,
                rate(options, where.step, done),
                speed,
                *means,
                ap,
                ap50,
            ]
        )
        self._logged = (where.step, where.seconds)
        write_csv(self._out / "run.csv", where.rows)

    def _keep(self, since: Sequence[StepReport], done: float) -> None:
        """Validate, keep the best, and write where the run is."""
        where, options = self._where, self._options
        average = self._student.average.network
        reports = [one.ap(average, self._student.device) for one in self._evaluators]
        self._tick()
        self._log(since, done, reports)
        where.evaluated_s, where.evaluated_step = where.seconds, where.step
        ap = mean_ap(reports) if reports else float(where.step)
        where.no_better = 0 if ap > where.best_ap or not reports else where.no_better + 1
        if ap >= where.best_ap or not reports:
            where.best_ap, where.best_step = ap, where.step
            save_weights(self._out / "best.pth", average, options.classes, options.sizes[0])
        if reports:
            loss = where.rows[-1][5]
            shown = "" if loss is None else f", loss {loss:.3f}"
            self._say(f"step {where.step}: AP {100 * ap:.1f} (best {100 * where.best_ap:.1f}){shown}")
        self._save()
        write_plot(
            self._out / "run.svg", where.rows, f"YOLO-NAS {options.arch.upper()}, {len(options.classes)} classes"
        )

    def _save(self) -> None:
        where = self._where
        values = {
            "step": where.step,
            "seconds": where.seconds,
            "best_ap": where.best_ap,
            "best_step": where.best_step,
            "evaluated_s": where.evaluated_s,
            "evaluated_step": where.evaluated_step,
            "no_better": where.no_better,
            "rows": where.rows,
        }
        save_run(self._out / "last.pth", self._student.state(), self._options, values, self._ingredients)


def _report(
    options: TrainOptions,
    validation: Sequence[Dataset],
    out: Path,
    start: str,
    where: _Where,
    problems: Sequence[str],
    device: torch.device,
) -> TrainReport:
    from engines.yolo_nas import load_checkpoint

    best = load_checkpoint(out / "best.pth").network
    reports = []
    for dataset in validation:
        parts = [
            Evaluator(half, options.sizes[0]).ap(best, device) if has_objects(half) else None
            for half in halves(dataset)
        ]
        reports.append(HalfReport(data=str(dataset.path), choosing=parts[0], other=parts[1]))
    validated = any(report.choosing is not None for report in reports)
    return TrainReport(
        out=str(out),
        start=start,
        steps=where.step,
        seconds=where.seconds,
        images=where.step * options.batch,
        best_step=where.best_step if validated else None,
        best_ap=where.best_ap if validated else None,
        halves=tuple(reports),
        unreadable=tuple(problems),
        options=options,
    )
