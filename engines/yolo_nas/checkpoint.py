"""Loads checkpoints of YOLO-NAS, as super-gradients and Vedette's trainer write them, safely.

`torch.load(weights_only=True)` first; what that refuses is read by `inert_pickle`, which runs nothing either. Of the
weights in a file the averaged ones are taken (`ema_net`), else `net`, else the file is a state dict itself. Variant and
number of classes show in the shapes. A file that does not fit is refused in one line that says where it differs.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engines.spec import InputSpec
from engines.yolo_nas.blocks import Form
from engines.yolo_nas.inert_pickle import StoredTensor, check_archive, read_inert, read_tensors, shown
from engines.yolo_nas.network import YoloNas
from engines.yolo_nas.recipe import Recipe, read_recipe
from engines.yolo_nas.variants import VARIANTS, VariantName
from vedette.errors import ModelError

Shape = tuple[int, ...]

_PLACES = ("ema_net", "net", "average_model", "state_dict", "model_state_dict", "model")
_CLASSES_KEY = "heads.head1.cls_pred.weight"
# What torch.load raises for files that are not its own, or not of weights alone; it says so in many ways.
_REFUSALS = (
    pickle.UnpicklingError, ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError,
    MemoryError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
_UNUSED = ".rbr_reparam."
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # with which torch's files before 1.6 begin
_HINT = (
    "Vedette loads checkpoints of YOLO-NAS as super-gradients and its own trainer write them; others: export to ONNX"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A network in training form and eval mode, float32, on the CPU, and what its file says of its use.

    `input`, `score`, `nms_iou`, `class_names`: None where the file does not say. `notes`: what of the file's own words
    could not be kept.
    """

    network: YoloNas
    variant: VariantName
    class_names: tuple[str, ...] | None
    input: InputSpec | None
    score: float | None = None
    nms_iou: float | None = None
    notes: tuple[str, ...] = ()


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint. Raises ModelError in one line for a file that is none, does not fit or has broken weights."""
    content = _read(path)
    weights = _without_prefix(_weights(content, path))
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    classes = _class_count(shapes)
    network = _fitting(shapes, classes, path)
    tensors = read_tensors({key: value for key, value in weights.items() if isinstance(value, StoredTensor)})
    tensors |= {key: value.detach() for key, value in weights.items() if isinstance(value, Tensor)}
    state = {key: _value(key, tensor, path) for key, tensor in tensors.items()}
    # The targets of the fusion carry no information, and files that are to be small lack them.
    unused = {key: torch.zeros(value.shape) for key, value in network.state_dict().items() if key not in state}
    trainable = {key for key, value in network.named_parameters() if value.requires_grad}
    network.load_state_dict(state | unused, strict=True, assign=True)
    for key, value in network.named_parameters():
        value.requires_grad_(key in trainable)
    recipe = read_recipe(content, classes) if _is_nested(content) else Recipe()
    return Checkpoint(
        network=network.eval(),
        variant=network.variant.name,
        class_names=recipe.class_names,
        input=recipe.input,
        score=recipe.score,
        nms_iou=recipe.nms_iou,
        notes=recipe.notes,
    )


def _read(path: Path) -> Mapping[object, object]:
    """What the file holds, at the top. Raises ModelError."""
    if not path.is_file():
        msg = f"{path}: no such checkpoint"
        raise ModelError(msg, hint="give a .pth, or yolo-nas-s for random weights")
    check_archive(path)
    content: object
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that are not torch's own; what they are worth shows below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _REFUSALS:
        content = read_inert(path)
    if content == _LEGACY_MAGIC:
        msg = f"{path}: was written by a torch before 1.6 and holds more than weights"
        raise ModelError(msg, hint="load and save it with a newer torch, where you trust it")
    if not isinstance(content, Mapping):
        kind = {int: "a number", list: "a list", Tensor: "one tensor"}.get(type(content), "something else")
        msg = f"{path}: expected a mapping with the weights of a YOLO-NAS, got {kind}"
        raise ModelError(msg, hint=_HINT)
    return content


def _is_nested(content: Mapping[object, object]) -> bool:
    return any(isinstance(content.get(place), Mapping) for place in _PLACES)


def _weights(content: Mapping[object, object], path: Path) -> dict[str, Tensor | StoredTensor]:
    """The state dict in a checkpoint."""
    for place in _PLACES:
        found = content.get(place)
        if isinstance(found, Mapping) and (weights := _tensors(found)):
            return weights
    weights = _tensors(content)
    if not weights:
        names = ", ".join(str(key) for key in list(content)[:6]) or "nothing"
        msg = f"{path}: holds no weights: expected ema_net, net or tensors by name, got {shown(names)}"
        raise ModelError(msg, hint=_HINT)
    return weights


def _tensors(mapping: Mapping[object, object]) -> dict[str, Tensor | StoredTensor]:
    return {
        key: value
        for key, value in mapping.items()
        if isinstance(key, str) and isinstance(value, Tensor | StoredTensor)
    }


def _without_prefix(weights: dict[str, Tensor | StoredTensor]) -> dict[str, Tensor | StoredTensor]:
    """Without what wrappers put before every name: `module.` of data parallelism and averaging, `_orig_mod.`, …"""
    first = next((key for key in weights if "backbone." in key), "")
    prefix = first[: first.find("backbone.")]
    if not prefix:
        return weights
    kept = {key: value for key, value in weights.items() if key != "n_averaged"}  # of torch's AveragedModel
    if not all(key.startswith(prefix) for key in kept):
        return weights
    return {key.removeprefix(prefix): value for key, value in kept.items()}


def _class_count(shapes: Mapping[str, Shape]) -> int:
    shape = shapes.get(_CLASSES_KEY, ())
    return shape[0] if len(shape) == 4 and shape[0] > 0 else 1


@cache
def _expected(variant: VariantName, classes: int, form: Form) -> dict[str, Shape]:
    return {key: tuple(value.shape) for key, value in _blank(variant, classes, form).state_dict().items()}


def _blank(variant: VariantName, classes: int, form: Form = Form.TRAINING) -> YoloNas:
    with torch.device("meta"):  # names and shapes alone
        return YoloNas(VARIANTS[variant], classes, form)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """How the shapes in a file differ from those of a network."""

    variant: VariantName
    missing: list[str]
    unexpected: list[str]
    wrong: list[str]

    @property
    def faults(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.wrong)


def _fit(shapes: Mapping[str, Shape], variant: VariantName, classes: int, form: Form = Form.TRAINING) -> _Fit:
    expected = _expected(variant, classes, form)
    missing = [key for key in expected if key not in shapes]
    if set(missing) == {key for key in expected if _UNUSED in key} and form is Form.TRAINING:
        missing = []
    return _Fit(
        variant=variant,
        missing=missing,
        unexpected=[key for key in shapes if key not in expected],
        wrong=[key for key, shape in expected.items() if key in shapes and shapes[key] != shape],
    )


def _fitting(shapes: Mapping[str, Shape], classes: int, path: Path) -> YoloNas:
    """The network, without weights as yet, that has exactly these. Raises ModelError."""
    fits = []
    for variant in VARIANTS:
        fits.append(_fit(shapes, variant, classes))
        if not fits[-1].faults:
            return _blank(variant, classes)
    nearest = min(fits, key=lambda fit: fit.faults)
    for form in (Form.PARTIAL, Form.FULL, Form.FOLDED):
        if not _fit(shapes, nearest.variant, classes, form).faults:
            msg = f"{path}: holds a YOLO-NAS {nearest.variant.upper()} that is fused already, expected one as trained"
            raise ModelError(msg, hint="give the checkpoint of the trainer")
    msg = f"{path}: {_difference(nearest, shapes, classes)}"
    raise ModelError(msg, hint=_HINT)


def _difference(fit: _Fit, shapes: Mapping[str, Shape], classes: int) -> str:
    expected = _expected(fit.variant, classes, Form.TRAINING)
    if len(fit.unexpected) == len(shapes):
        names = shown(", ".join(fit.unexpected[:3]))
        return f"expected the weights of a YOLO-NAS, got those of another network: {len(shapes)} tensors, {names}, …"
    parts = []
    for what, keys in (("missing", fit.missing), ("unexpected", fit.unexpected)):
        if keys:
            parts.append(f"{len(keys)} {what} ({shown(', '.join(keys[:2]))}{', …' if len(keys) > 2 else ''})")
    if fit.wrong:
        key = fit.wrong[0]
        said = f"{key}: expected {list(expected[key])}, got {list(shapes[key])}"
        parts.append(f"{len(fit.wrong)} of another shape ({said}{', …' if len(fit.wrong) > 1 else ''})")
    noun = "class" if classes == 1 else "classes"
    return f"is no YOLO-NAS; beside the nearest, {fit.variant.upper()} with {classes} {noun}: {', '.join(parts)}"


def _value(key: str, tensor: Tensor, path: Path) -> Tensor:
    """A tensor as the network wants it: float32 (counters: int64), finite."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        msg = f"{path}: {key}: expected a plain tensor, got a sparse or quantized one"
        raise ModelError(msg, hint=_HINT)
    if key.endswith(".num_batches_tracked"):
        return tensor.to(torch.int64)
    if not tensor.is_floating_point():
        msg = f"{path}: {key}: expected floating point numbers, got {str(tensor.dtype).removeprefix('torch.')}"
        raise ModelError(msg, hint=_HINT)
    tensor = tensor.to(torch.float32).contiguous()
    finite = np.isfinite(tensor.numpy())  # numpy, since torch wakes all its threads for each of a thousand tensors
    if not finite.all():
        bad = tensor.numel() - int(finite.sum())
        msg = f"{path}: {key}: expected finite weights, got {bad} of {tensor.numel()} NaN or infinite"
        raise ModelError(msg, hint="the training has diverged; take an earlier checkpoint")
    return tensor
