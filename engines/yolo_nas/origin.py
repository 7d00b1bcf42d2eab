"""What a model is made of: a checkpoint with what it says of its use, or random weights by name.

Gives the network and the spec; called by the commands that make models.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engines.spec import COCO_CLASSES, InputSpec, ModelSpec
from engines.types import SizeWH
from engines.yolo_nas.checkpoint import load_checkpoint
from engines.yolo_nas.network import YoloNas
from engines.yolo_nas.random_weights import random_network
from engines.yolo_nas.variants import VARIANTS, VariantName
from vedette.errors import ModelError, UsageError

RANDOM: dict[str, VariantName] = {f"yolo-nas-{name}": name for name in VARIANTS}
"""Names of networks with random weights, for speed alone."""

_RANDOM_SIZE = (640, 640)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Origin:
    """A network with the spec of what is made of it. `notes`: what its owner should know, in words."""

    network: YoloNas
    spec: ModelSpec
    notes: tuple[str, ...]


def open_origin(
    model: str, *, size_wh: SizeWH | None = None, classes: tuple[str, ...] | None = None, name: str | None = None
) -> Origin:
    """The network of a checkpoint, or of a name like `yolo-nas-s`.

    `size_wh` and `classes` go before what the checkpoint says; `name` is that of the model, else the checkpoint's.
    Raises ModelError for a checkpoint that cannot be loaded, UsageError where it does not say what is needed.
    """
    if size_wh is not None and any(side % 32 or not 32 <= side <= 8192 for side in size_wh):
        msg = f"--size: expected multiples of 32, 32 to 8192, got {size_wh[0]}x{size_wh[1]}"
        raise UsageError(msg)
    if model in RANDOM:
        return _random(model, size_wh, classes)
    path = Path(model)
    if not path.is_file() and (near := difflib.get_close_matches(model, RANDOM, 1)):
        msg = f"{model}: no such checkpoint"
        raise ModelError(msg, hint=f"did you mean {near[0]}? That has random weights, for speed alone")
    if path.suffix == ".onnx":
        msg = f"{path}: is an ONNX file already, expected a checkpoint (.pth)"
        raise ModelError(msg, hint="it can be quantized, validated and run as it is")
    checkpoint = load_checkpoint(path)
    notes = list(checkpoint.notes)
    names = classes or checkpoint.class_names or _guessed(checkpoint.network.classes, path, notes)
    _check_count(names, checkpoint.network.classes)
    given = checkpoint.input
    size = size_wh or (given.size if given else None)
    if size is None:
        msg = f"--size: {path} does not say for which size it was made, expected one"
        raise UsageError(msg, hint="--size 640x384 (width x height) suits most cameras")
    spec = ModelSpec(
        name=name or path.stem,
        head="yolo_nas",
        classes=names,
        input=InputSpec(size=size) if given is None else msgspec.structs.replace(given, size=size),
    )
    if checkpoint.score is not None:
        spec = msgspec.structs.replace(spec, score=checkpoint.score)
    if checkpoint.nms_iou is not None:
        spec = msgspec.structs.replace(spec, nms_iou=checkpoint.nms_iou)
    return Origin(network=checkpoint.network, spec=spec, notes=tuple(notes))


def _random(model: str, size_wh: SizeWH | None, classes: tuple[str, ...] | None) -> Origin:
    names = classes or COCO_CLASSES
    spec = ModelSpec(
        name=f"{model}-random", head="yolo_nas", classes=names, input=InputSpec(size=size_wh or _RANDOM_SIZE)
    )
    network = random_network(RANDOM[model], len(names))
    return Origin(network=network, spec=spec, notes=("its weights are random: for speed alone, it finds nothing",))


def _guessed(count: int, path: Path, notes: list[str]) -> tuple[str, ...]:
    if count == len(COCO_CLASSES):
        notes.append("it does not name its 80 classes: they are taken for those of COCO")
        return COCO_CLASSES
    msg = f"--classes: {path} does not name its {count} classes, expected their names"
    raise UsageError(msg, hint="--classes person,car,… in the order in which it was trained")


def _check_count(names: tuple[str, ...], count: int) -> None:
    if len(names) != count:
        msg = f"--classes: expected {count} names, as many as the network has classes, got {len(names)}"
        raise UsageError(msg)
    if len(set(names)) != len(names) or not all(name.strip() for name in names):
        msg = f"--classes: expected names that differ, got {','.join(names)}"
        raise UsageError(msg)
