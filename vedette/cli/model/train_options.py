"""What `vedette model train` was told, as the trainer's options; what was left unsaid comes of the checkpoint."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.errors import UsageError

if TYPE_CHECKING:
    from engines.datasets import Dataset
    from engines.train import TrainOptions
    from engines.train.ingredients import Ingredients

EPOCHS, CALM = 20, 0.3
"""Of a run that starts from a checkpoint, where nothing is said: it knows how to see, and needs to learn what it sees
as running shows it (docs/results/fine-tuning.md).
"""
EVALUATE_EPOCHS, FEW_PICTURES = 3, 1000
"""How often such a run is validated on so few pictures; with more of them, by the minute."""
MOST_WEIGHT = 1e6


def checkpoint_of(arguments: argparse.Namespace) -> Path | None:
    """The file that --init means, None for random weights. Raises UsageError, ModelError."""
    from engines.weights import find_checkpoint

    if arguments.init is None and not arguments.resume:
        msg = "--init: expected a checkpoint to start from, or none"
        raise UsageError(msg)
    if arguments.init in {None, "none"}:
        if arguments.keep:
            msg = "--keep: expected --init with a checkpoint whose classes are to be kept"
            raise UsageError(msg)
        return None
    path = find_checkpoint(arguments.init)
    if not path.is_file():
        msg = f"--init: no such checkpoint: {path}"
        raise UsageError(msg, hint="give a .pth, a model that ships (vedette-n), or none for random weights")
    return path


def ingredients_of(arguments: argparse.Namespace, start: Path | None) -> Ingredients:
    """What the run is made of: as the command line says, and of a run that goes on what was said at its start.

    A teacher with --keep is the checkpoint, since it alone knows its classes in these pictures.
    Raises UsageError, ModelError.
    """
    import msgspec

    from engines.datasets import parse_map
    from engines.train.ingredients import Ingredients

    kept = None
    if arguments.resume:
        from engines.train.checkpoints import load_ingredients

        kept = load_ingredients(arguments.out / "last.pth")
    teachers: list[Path] = [*arguments.teacher, *([start] if arguments.keep and start is not None else [])]
    said: dict[str, Any] = {
        "split": arguments.split,
        "images": _text(arguments.images),
        "sources": None if arguments.sources is None else tuple(words(arguments.sources)),
        "mixed": tuple(str(path) for path, _ in parse_mixed(arguments.mix)) or None,
        "validation": tuple(map(str, arguments.val)) or None,
        "pseudo": _text(arguments.pseudo),
        "teachers": tuple(map(str, teachers)) or None,
        "names": parse_map(arguments.map) if arguments.map else None,
        "weigh": parse_weigh(arguments.weigh) or None,
    }
    given = {name: value for name, value in said.items() if value is not None}
    return msgspec.structs.replace(kept or Ingredients(), **given)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def parse_mixed(texts: Sequence[str]) -> list[tuple[Path, float]]:
    """Files and shares of --mix. Raises UsageError."""
    found = []
    for text in texts:
        path, _, share = text.rpartition("=")
        try:
            value = float(share)
        except ValueError:
            value = -1.0
        if not path or not 0.0 < value < 1.0:
            msg = f"--mix: expected DATA=SHARE with a share between 0 and 1, got {text!r}"
            raise UsageError(msg)
        found.append((Path(path), value))
    whole = sum(share for _, share in found)
    if whole >= 1.0:
        msg = f"--mix: expected shares of less than 1 together, got {whole:g}"
        raise UsageError(msg)
    return found


def parse_weigh(text: str | None) -> dict[str, float]:
    """Sources and factors of --weigh. Raises UsageError."""
    pairs = {}
    for word in words(text or ""):
        name, _, factor = word.partition("=")
        try:
            pairs[name] = float(factor)
        except ValueError:
            pairs[name] = -1.0
        if not 0.0 < pairs[name] <= MOST_WEIGHT:
            msg = f"--weigh: expected SOURCE=NUMBER with a number > 0 and at most {MOST_WEIGHT:g}, got {word!r}"
            raise UsageError(msg)
    return pairs


def options_of(arguments: argparse.Namespace, dataset: Dataset, start: Path | None) -> TrainOptions:
    """Raises UsageError, ModelError. A run that goes on has options of its own; these are not looked at then."""
    import msgspec

    from engines.train import TrainOptions

    unsaid: dict[str, Any] = {"arch": "n"}
    known: tuple[str, ...] = ()
    if not arguments.resume:
        if start is not None:
            unsaid, known = _of_checkpoint(arguments, start, len(dataset))
        elif arguments.arch is None:
            msg = "--arch: expected n, s, m or l"
            raise UsageError(msg)
        elif arguments.epochs is None and arguments.minutes is None:
            msg = "--epochs or --minutes: expected when to end"
            raise UsageError(msg)
    classes = words(arguments.classes) if arguments.classes else list(dataset.classes)
    if not classes or len(set(classes)) != len(classes):
        msg = f"--classes: expected names that differ, got {', '.join(classes) or 'none'}"
        raise UsageError(msg)
    if arguments.keep:
        classes = [*known, *(name for name in classes if name not in known)]
    given: dict[str, Any] = {
        "arch": arguments.arch,
        "classes": classes,
        "sizes": _sizes(arguments.size) if arguments.size else None,
        "augment": not arguments.no_augment,
        "freeze_backbone": arguments.freeze_backbone,
        "warmup_steps": arguments.warmup,
        "threads": len(os.sched_getaffinity(0)) if arguments.threads is None else arguments.threads,
        "mixed": [share for _, share in parse_mixed(arguments.mix)],
    }
    same = (
        "batch", "epochs", "minutes", "rate", "optimizer", "weight_decay", "ema", "precision", "calm", "mosaic",
        "classification", "box", "balance", "distill", "evaluate_minutes", "evaluate_epochs", "patience", "seed",
    )  # fmt: skip
    given |= {name: getattr(arguments, name) for name in same}
    said = {name: value for name, value in given.items() if value is not None}
    try:
        options = msgspec.convert(unsaid | said, TrainOptions)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`").replace("_", "-").replace("warmup-steps", "warmup")
        msg = f"--{name}: {what[:1].lower()}{what[1:].replace('`', '')}"
        got = getattr(arguments, name.replace("-", "_"), None)
        raise UsageError(msg if got is None else f"{msg}, got {got}") from error
    return options if arguments.warmup is not None else _with_short_warmup(options, len(dataset))


def _of_checkpoint(arguments: argparse.Namespace, start: Path, pictures: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What a run from a checkpoint is where nothing is said, and the classes that the checkpoint knows."""
    from engines.yolo_nas import load_checkpoint

    found = load_checkpoint(start)
    unsaid: dict[str, Any] = {"arch": found.variant}
    if found.input is not None:
        unsaid["sizes"] = [found.input.size]
    if arguments.epochs is None and arguments.minutes is None:
        unsaid |= {"epochs": EPOCHS, "calm": CALM}
    if arguments.evaluate_minutes is None and arguments.minutes is None and pictures <= FEW_PICTURES:
        unsaid["evaluate_epochs"] = EVALUATE_EPOCHS
    if arguments.keep and found.class_names is None:
        msg = f"--keep: {start} does not say what its classes are called"
        raise UsageError(msg, hint="write class_names into the checkpoint")
    return unsaid, found.class_names or ()


def _with_short_warmup(options: TrainOptions, pictures: int) -> TrainOptions:
    """Two hundred steps of rising rate would be most of a short run."""
    import msgspec

    if options.epochs is None:
        return options
    steps = int(options.epochs * math.ceil(pictures / options.batch))
    return msgspec.structs.replace(options, warmup_steps=min(options.warmup_steps, max(1, steps // 10)))


def _sizes(text: str) -> list[tuple[int, int]]:
    sizes = []
    for word in words(text):
        width, _, height = word.partition("x")
        if not (
            width.isdecimal()
            and height.isdecimal()
            and all(32 <= int(s) <= 4096 and int(s) % 32 == 0 for s in (width, height))
        ):
            msg = f"--size: expected WIDTHxHEIGHT in multiples of 32, as 640x384, got {word!r}"
            raise UsageError(msg)
        sizes.append((int(width), int(height)))
    if not sizes:
        msg = f"--size: expected at least one size, got {text!r}"
        raise UsageError(msg)
    return sizes


def words(text: str) -> list[str]:
    """What commas part, without blanks and empty words."""
    return [word.strip() for word in text.split(",") if word.strip()]
