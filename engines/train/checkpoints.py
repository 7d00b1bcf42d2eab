"""Files of a run: `last.pth`, from which it goes on exactly; `best.pth`, the weights that are worth keeping.

Both hold plain containers and tensors only, load with `weights_only=True`, and are read by `load_checkpoint`: the
averaged weights. A file appears whole or not at all.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import msgspec
import torch

from engines.train.ingredients import Ingredients
from engines.train.options import TrainOptions
from engines.types import SizeWH
from engines.yolo_nas import YoloNas
from vedette.errors import ModelError
from vedette.whole_file import whole_file

_FORMAT = 1
# What torch.load raises for files that are not its own, and what looking into others does.
_REFUSALS = (
    pickle.UnpicklingError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


def save_run(
    path: Path,
    state: dict[str, Any],
    options: TrainOptions,
    progress: dict[str, Any],
    ingredients: Ingredients | None = None,
) -> None:
    """`state` is the student's; `progress` where the run is, plain values; `ingredients` None: the caller's matter."""
    content = {
        "vedette_train": _FORMAT,
        "options": msgspec.to_builtins(options),
        "ingredients": msgspec.to_builtins(ingredients),
        "progress": progress,
        "processing_params": processing(options.classes, options.sizes[0]),
        "class_names": list(options.classes),
        **state,
    }
    _write(path, content)


def load_run(path: Path) -> tuple[dict[str, Any], TrainOptions, dict[str, Any]]:
    """What `save_run` was given, but the ingredients. Raises ModelError."""
    content, options, progress, _ = _load(path)
    keys = ("net", "ema_net", "adapters", "optimizer", "scaler")
    return {key: content[key] for key in keys}, options, progress


def load_ingredients(path: Path) -> Ingredients | None:
    """What a run is made of; None where its caller opened the materials. Raises ModelError."""
    return _load(path)[3]


def _load(path: Path) -> tuple[dict[str, Any], TrainOptions, dict[str, Any], Ingredients | None]:
    if not path.is_file():
        msg = f"{path}: no such checkpoint to go on from"
        raise ModelError(msg, hint="without --resume the run begins anew")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        kind = content["vedette_train"]
        options = msgspec.convert(content["options"], TrainOptions)
        progress: dict[str, Any] = content["progress"]
        # Older runs have none.
        ingredients = msgspec.convert(content.get("ingredients"), Ingredients | None)
    except _REFUSALS as error:
        why = (str(error) or type(error).__name__).splitlines()[0][:150]
        msg = f"{path}: is no checkpoint of a run: {why}"
        raise ModelError(msg, hint="--resume takes OUT/last.pth as this program wrote it") from error
    if kind != _FORMAT:
        msg = f"{path}: expected a run of format {_FORMAT}, got {kind!r}"
        raise ModelError(msg, hint="it is of another version of Vedette")
    return content, options, progress, ingredients


def save_weights(path: Path, network: YoloNas, classes: tuple[str, ...], size_wh: SizeWH, *, half: bool = True) -> None:
    """A network in training form for keeping: without the unused targets of the fusion, floats as float16."""
    weights = {
        key: value.detach().cpu().half() if half and value.is_floating_point() else value.detach().cpu().clone()
        for key, value in network.state_dict().items()
        if ".rbr_reparam." not in key
    }
    names = list(classes)
    _write(path, {"net": weights, "class_names": names, "processing_params": processing(classes, size_wh)})


def processing(classes: tuple[str, ...], size_wh: SizeWH) -> dict[str, Any]:
    """How pictures are fed, in super-gradients' words, which `recipe` reads."""
    shape = [size_wh[1], size_wh[0]]
    steps = [
        {"DetectionLongestMaxSizeRescale": {"output_shape": shape}},
        {"DetectionCenterPadding": {"output_shape": shape, "pad_value": 114}},
        {"StandardizeImage": {"max_value": 255.0}},
        {"ImagePermute": {"permutation": [2, 0, 1]}},
    ]
    return {"class_names": list(classes), "image_processor": {"ComposeProcessing": {"processings": steps}}}


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        with whole_file(path) as part, part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        # On a full disk torch's writer of archives fails once more as it closes: a RuntimeError about positions.
        cause = error if isinstance(error, OSError) else error.__context__
        said = cause.strerror if isinstance(cause, OSError) else None
        why = said or str(error).partition("\n")[0][:150]
        msg = f"{path}: cannot be written: {why}"
        raise ModelError(msg, hint="is there room on the disk?") from error
