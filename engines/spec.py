"""What a model file does not say of itself: how its input is to be filled and what its outputs mean.

A spec is a small YAML beside the model (`model.yaml` beside `model.onnx`) or the same keys in the ONNX metadata under
`vedette`. `load_spec` finds it, or recognises the file by its inputs and outputs where that is unambiguous, and holds
it against the file: sizes, names and hash must agree.
"""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

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
        raise ModelError(msg, hint="check model.path in the configuration") from error
    return digest.hexdigest()


def spec_path(model: Path) -> Path:
    """Where the spec of a model file is looked for: the same name with `.yaml`."""
    return model.with_suffix(".yaml")


def find_spec(file: ModelFile) -> FoundSpec:
    """The spec of a model file: its YAML, its metadata, or what its inputs and outputs say. Raises ModelError."""
    path = Path(file.path)
    beside = spec_path(path)
    if beside.exists():
        spec, origin = _read(beside), str(beside)
    elif "vedette" in file.metadata:
        spec, origin = _parse(file.metadata["vedette"], f"{path} (metadata)"), "the file's metadata"
    else:
        spec, origin = _recognise(file), "recognised by its inputs and outputs"
    if spec.sha256 and spec.sha256 != file.sha256:
        msg = f"{origin}: sha256: expected that of {path.name}, {file.sha256[:12]}…, got {spec.sha256[:12]}…"
        raise ModelError(msg, hint="the spec belongs to another file; remove it or make it anew")
    _check(spec, file, origin)
    return FoundSpec(spec=msgspec.structs.replace(spec, sha256=file.sha256), origin=origin)


def _read(path: Path) -> ModelSpec:
    try:
        text = path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise ModelError(msg) from error
    if len(text) > _MAX_YAML_BYTES:
        msg = f"{path}: expected a small YAML file, got {len(text)} bytes"
        raise ModelError(msg)
    return _parse(text, str(path))


def _parse(text: bytes | str, where: str) -> ModelSpec:
    try:
        plain = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        msg = f"{where}:{place} expected YAML: {getattr(error, 'problem', None) or 'it cannot be read as text'}"
        raise ModelError(msg) from error
    if not isinstance(plain, dict):
        msg = f"{where}: expected keys and values, got {type(plain).__name__}"
        raise ModelError(msg, hint="see `vedette model describe --help`")
    for section, known in ((plain, ModelSpec), (plain.get("input"), InputSpec)):
        names = [field.encode_name for field in msgspec.structs.fields(known)]
        for key in section if isinstance(section, dict) else ():
            if key not in names:
                near = difflib.get_close_matches(str(key), names, 1)
                msg = f"{where}: {key}: unknown key" + (f", did you mean {near[0]!r}?" if near else "")
                raise ModelError(msg)
    try:
        return msgspec.convert(plain, ModelSpec, strict=True)
    except msgspec.ValidationError as error:
        msg = f"{where}: {error}"
        raise ModelError(msg) from error


def _recognise(file: ModelFile) -> ModelSpec:
    """The spec of a file whose inputs and outputs leave no doubt. Raises ModelError naming the keys to add."""
    path = Path(file.path)
    size = _input_size(file)
    outputs = {tensor.name: tensor.shape for tensor in file.outputs}
    shapes = list(outputs.values())
    if size is not None and len(shapes) == 1 and len(shapes[0]) == 3:
        width, height = size
        cells = sum((width // stride) * (height // stride) for stride in (8, 16, 32))
        _, rows, columns = shapes[0]
        # x, y, w, h, objectness and COCO's 80 classes on three grids: YOLOX, whose inputs are raw BGR levels.
        if rows == cells and columns == 5 + len(COCO_CLASSES):
            return ModelSpec(
                name=path.stem,
                head="yolox",
                classes=COCO_CLASSES,
                input=InputSpec(size=size, align="top_left", colour="bgr", scale=1.0),
            )
    said = f"inputs {', '.join(map(str, file.inputs))}; outputs {', '.join(map(str, file.outputs))}"
    msg = f"{path}: its {said} do not tell how to run it"
    hint = f"write {spec_path(path)} with the keys name, head, classes, input: {{size: [width, height]}}"
    if set(outputs) == {"boxes", "scores"}:
        count = outputs["scores"][-1]
        msg = f"{path}: looks like YOLO-NAS (boxes, scores), but the names of its {count} classes are not in it"
        hint = f"write {spec_path(path)} with the keys name, head: yolo_nas, classes, input: {{size: [width, height]}}"
    raise ModelError(msg, hint=hint)


def _input_size(file: ModelFile) -> tuple[int, int] | None:
    if len(file.inputs) != 1 or len(file.inputs[0].shape) != 4:
        return None
    _, channels, height, width = file.inputs[0].shape
    return (width, height) if channels == 3 and width > 0 and height > 0 else None


def _check(spec: ModelSpec, file: ModelFile, origin: str) -> None:
    """Hold the spec against the file. Raises ModelError."""
    if len(file.inputs) != 1 or len(file.inputs[0].shape) != 4 or file.inputs[0].shape[1] not in {3, -1}:
        said = ", ".join(map(str, file.inputs)) or "none"
        msg = f"{file.path}: input: expected one of shape (batch, 3, height, width), got {said}"
        raise ModelError(msg)
    _, _, height, width = file.inputs[0].shape
    want_width, want_height = spec.input.size
    if width not in {-1, want_width} or height not in {-1, want_height}:
        msg = f"{origin}: input.size: expected [{width}, {height}] as in {file.path}, got [{want_width}, {want_height}]"
        raise ModelError(msg)
    if len(set(spec.classes)) != len(spec.classes):
        twice = next(name for name in spec.classes if spec.classes.count(name) > 1)
        msg = f"{origin}: classes: {twice!r} stands there twice"
        raise ModelError(msg)
    if min(spec.input.std) <= 0.0:
        msg = f"{origin}: input.std: expected numbers > 0, got {list(spec.input.std)}"
        raise ModelError(msg)
