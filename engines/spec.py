"""What a model file does not say of itself: how its input is to be filled and what its outputs mean.

A spec is a small YAML beside the model (`model.yaml` beside `model.onnx`) or the same keys in the ONNX metadata under
`vedette`. `load_spec` finds it, or recognises the file by its inputs and outputs where that is unambiguous, and holds
it against the file: sizes, names and hash must agree.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from engines.spec_yaml import DESCRIBE_HINT, one_line, read_plain
from vedette.errors import ModelError

HeadName = Literal["yolo_nas", "yolox", "nanodet_plus", "yolov8", "end2end"]

COCO_CLASSES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""The 80 classes of COCO in the order in which the models trained on it have them."""

INPUT_TYPES = ("float32", "float16", "uint8")

_MAX_YAML_BYTES = 1 << 20


class InputSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a picture becomes the network's input.

    `size` (width, height); value = (level * scale - mean) / std by channel, in the channel order `colour`, where
    `level` is 0..255. `pad` is a level, too.
    """

    size: tuple[Annotated[int, msgspec.Meta(ge=32, le=8192)], Annotated[int, msgspec.Meta(ge=32, le=8192)]]
    fit: Literal["letterbox", "stretch"] = "letterbox"
    align: Literal["centre", "top_left"] = "centre"
    pad: Annotated[int, msgspec.Meta(ge=0, le=255)] = 114
    colour: Literal["rgb", "bgr"] = "rgb"
    scale: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0 / 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that running a model needs to know beside the file itself.

    `sha256` is of the file that this describes; `gate` the report of the accuracy gate that let an engine pass, None
    for a float original; `unverified` marks an engine that was built around the gate.
    """

    name: str
    head: HeadName
    classes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    input: InputSpec
    score: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.35
    nms_iou: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.65
    sha256: str = ""
    gate: dict[str, Any] | None = None
    unverified: bool = False


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output of a model file; -1 for a side that is free."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{','.join('?' if side < 0 else str(side) for side in self.shape)}]"


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a model file says of itself."""

    path: str
    sha256: str
    bytes: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: dict[str, str]


class FoundSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A spec and where it is from, in words."""

    spec: ModelSpec
    origin: str


def sha256_of(path: Path) -> str:
    """The file's hash, 64 hexadecimal digits. Raises ModelError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise ModelError(msg, hint="check the path and who may read it") from error
    return digest.hexdigest()


def spec_path(model: Path) -> Path:
    """Where the spec of a model file is looked for: the same name with `.yaml`."""
    return model.with_suffix(".yaml")


def read_spec(path: Path) -> ModelSpec:
    """The spec in a YAML file, held against no model. Raises ModelError."""
    return _read(path)


def find_spec(file: ModelFile) -> FoundSpec:
    """The spec of a model file: its YAML, its metadata, or what its inputs and outputs say. Raises ModelError."""
    from engines.recognise import recognise  # it needs this module's types

    path = Path(file.path)
    beside = spec_path(path)
    if beside.exists():
        spec, origin, where = _read(beside), str(beside), str(beside)
    elif "vedette" in file.metadata:
        where = f"{path} (metadata)"
        spec, origin = _parse(file.metadata["vedette"], where), "the file's metadata"
    else:
        spec, origin, where = recognise(file), "recognised by its inputs and outputs", str(path)
    if spec.sha256 and spec.sha256.lower() != file.sha256:
        msg = f"{where}: sha256: expected that of {path.name}, {file.sha256[:12]}…, got {spec.sha256[:12]}…"
        raise ModelError(msg, hint="the spec belongs to another file; remove it or make it anew")
    problems = _disagreements(spec, file)
    if problems:
        raise ModelError([f"{where}: {problem}" for problem in problems])
    return FoundSpec(spec=msgspec.structs.replace(spec, sha256=file.sha256), origin=origin)


def _read(path: Path) -> ModelSpec:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_YAML_BYTES + 1)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise ModelError(msg) from error
    if len(text) > _MAX_YAML_BYTES:
        msg = f"{path}: expected a small YAML file, got more than {_MAX_YAML_BYTES} bytes"
        raise ModelError(msg)
    return _parse(text, str(path))


def _parse(text: bytes | str, where: str) -> ModelSpec:
    """Raises ModelError with everything that is wrong, each with its path."""
    plain = read_plain(text, where)
    problems = _problems(plain, ModelSpec, "")
    if problems:
        raise ModelError([f"{where}: {problem}" for problem in problems], hint=DESCRIBE_HINT)
    return msgspec.convert(plain, ModelSpec)


def _problems(plain: dict[Any, Any], kind: type[msgspec.Struct], prefix: str) -> list[str]:
    """What keeps `plain` from being a `kind`, one line each."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    problems = []
    meant = set()
    for key in plain:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            meant.update(near)
            problems.append(
                f"{prefix}{one_line(str(key))}: unknown key" + (f", did you mean {near[0]!r}?" if near else "")
            )
    for name, field in fields.items():
        if name not in plain:
            if field.required and name not in meant:
                problems.append(f"{prefix}{name}: missing")
        elif isinstance(plain[name], dict) and field.type is InputSpec:
            problems += _problems(plain[name], InputSpec, f"{prefix}{name}.")
        else:
            try:
                msgspec.convert(plain[name], field.type)
            except (msgspec.ValidationError, OverflowError) as error:
                problems.append(_said(str(error), prefix + name))
    return problems


def _said(error: str, path: str) -> str:
    """A validation error in our words: "size[0]: expected int, got str" for "Expected `int`, got `str` - at `$[0]`"."""
    words, _, at = error.partition(" - at ")
    words = words.replace("array", "list").replace("object", "mapping")
    return one_line(f"{path}{at.strip('`').removeprefix('$')}: {words[:1].lower()}{words[1:].replace('`', '')}")


def _disagreements(spec: ModelSpec, file: ModelFile) -> list[str]:
    """Where the spec does not fit the file's input, or cannot be worked with; the outputs are their head's affair."""
    if len(file.inputs) != 1 or len(file.inputs[0].shape) != 4:
        got = ", ".join(map(str, file.inputs)) or "none"
        return [f"input: expected {Path(file.path).name} to have one, (batch, 3, height, width), got {got}"]
    (tensor,) = file.inputs
    batch, channels, height, width = tensor.shape
    problems = []
    if batch not in {1, -1} or channels not in {3, -1}:
        problems.append(f"input: expected {Path(file.path).name} to take (1, 3, height, width), got {tensor}")
    want_width, want_height = spec.input.size
    if width not in {-1, want_width} or height not in {-1, want_height}:
        expected = ", ".join("any" if side < 0 else str(side) for side in (width, height))
        name = Path(file.path).name
        problems.append(f"input.size: expected [{expected}] as in {name}, got [{want_width}, {want_height}]")
    if tensor.dtype not in INPUT_TYPES:
        problems.append(f"input: expected {Path(file.path).name} to take {', '.join(INPUT_TYPES)}, got {tensor}")
    numbers = {"scale": (spec.input.scale,), "mean": spec.input.mean, "std": spec.input.std}
    for key, values in numbers.items():
        if not all(map(math.isfinite, values)) or (key != "mean" and min(values) <= 0.0):
            kind = "finite numbers" if key == "mean" else "finite numbers > 0"
            problems.append(f"input.{key}: expected {kind}, got {', '.join(f'{value:g}' for value in values)}")
    if tensor.dtype == "uint8" and (spec.input.scale, *spec.input.mean, *spec.input.std) != (1, 0, 0, 0, 1, 1, 1):
        problems.append(
            f"input.scale: expected 1, without mean and std, for an input of uint8, got {spec.input.scale:g}"
        )
    for position, name in enumerate(spec.classes):
        first = spec.classes.index(name)
        if not name.strip():
            problems.append(f"classes[{position}]: expected a name, got {name!r}")
        elif first != position:
            problems.append(f"classes[{position}]: expected names that differ, got {name!r}, as classes[{first}]")
    return problems
