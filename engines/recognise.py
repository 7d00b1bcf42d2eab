"""The spec of a model file that has none: told by its inputs, outputs and the metadata that its exporter left.

Only where that leaves no doubt; a guess would give wrong boxes in silence. Else the error names the keys to add.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engines.spec import COCO_CLASSES, InputSpec, ModelFile, ModelSpec, spec_path
from engines.types import SizeWH
from vedette.errors import ModelError

_YOLO_STRIDES = (8, 16, 32)
_NANODET_STRIDES = (8, 16, 32, 64)
_NANODET_BINS = 32  # four sides, 8 logits each


def recognise(file: ModelFile) -> ModelSpec:
    """The spec of a file whose inputs and outputs leave no doubt. Raises ModelError naming the keys to add."""
    size = _input_size(file)
    if size is not None and len(file.outputs) == 1:
        spec = _ultralytics(file, size) or _yolox(file, size) or _nanodet_plus(file, size)
        if spec is not None:
            return spec
    raise _unknown(file, size)


def _yolox(file: ModelFile, size: SizeWH) -> ModelSpec | None:
    """x, y, w, h, objectness and COCO's 80 classes on three grids, under the names that YOLOX's exporter gives.

    YOLOv6 has the same shape with decoded boxes, but calls its output `outputs`.
    """
    (output,) = file.outputs
    if (file.inputs[0].name, output.name) != ("images", "output"):
        return None
    if output.shape[1:] != (_cells(size, _YOLO_STRIDES), 5 + len(COCO_CLASSES)):
        return None
    fill = InputSpec(size=size, align="top_left", colour="bgr", scale=1.0)
    return ModelSpec(name=Path(file.path).stem, head="yolox", classes=COCO_CLASSES, input=fill)


def _nanodet_plus(file: ModelFile, size: SizeWH) -> ModelSpec | None:
    """COCO's 80 classes and four distributions of 8 bins on four grids: nothing else has that."""
    if file.outputs[0].shape[1:] != (_cells(size, _NANODET_STRIDES), len(COCO_CLASSES) + _NANODET_BINS):
        return None
    # Mean and deviation of ImageNet in levels, as in all of the family's recipes.
    fill = InputSpec(
        size=size,
        fit="stretch",
        colour="bgr",
        scale=1.0,
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
    )
    return ModelSpec(name=Path(file.path).stem, head="nanodet_plus", classes=COCO_CLASSES, input=fill, nms_iou=0.6)


def _ultralytics(file: ModelFile, size: SizeWH) -> ModelSpec | None:
    """Ultralytics' exporter writes task and class names into the metadata; inputs are RGB / 255, letterboxed."""
    classes = _names(file.metadata.get("names", ""))
    if classes is None or file.metadata.get("task") != "detect":
        return None
    _, *shape = file.outputs[0].shape
    fill = InputSpec(size=size)
    if shape == [4 + len(classes), _cells(size, _YOLO_STRIDES)]:
        return ModelSpec(name=Path(file.path).stem, head="yolov8", classes=classes, input=fill)
    if len(shape) == 2 and shape[1] == 6:
        return ModelSpec(name=Path(file.path).stem, head="end2end", classes=classes, input=fill)
    return None


def _names(text: str) -> tuple[str, ...] | None:
    """Class names out of "{0: 'person', 1: 'car'}", if they are what they should be."""
    try:
        names = ast.literal_eval(text)
        table = msgspec.convert(names, dict[int, str])
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # whatever stands there
        return None
    if not table or sorted(table) != list(range(len(table))) or len(set(table.values())) != len(table):
        return None
    return tuple(table[index] for index in range(len(table)))


def _unknown(file: ModelFile, size: SizeWH | None) -> ModelError:
    """What is known of the file, and which keys its spec must have."""
    path = Path(file.path)
    said = f"inputs {_listed(file.inputs)}; outputs {_listed(file.outputs)}"
    shapes = {tensor.name: tensor.shape for tensor in file.outputs}
    family, head, count = "", "", 0
    if set(shapes) == {"boxes", "scores"} and len(shapes["scores"]) == 3:
        family, head, count = "YOLO-NAS", "yolo_nas", shapes["scores"][2]
    elif size is not None and len(shapes) == 1:
        (shape,) = shapes.values()
        if len(shape) == 3 and shape[1] > 4 and shape[2] == _cells(size, _YOLO_STRIDES):
            family, head, count = "YOLOv8 or kin", "yolov8", shape[1] - 4
        elif len(shape) == 3 and shape[2] == 6:
            family, head = "an end-to-end network", "end2end"
    keys = f"name, head{': ' + head if head else ''}, classes, input: {{size: {_said_size(size)}}}"
    hint = f"write {spec_path(path)} with the keys {keys}; `vedette model describe --help` shows a whole one"
    if family:
        what = f"the names of its {count} classes are" if count > 0 else "the names of its classes are"
        return ModelError(f"{path}: looks like {family} ({said}), but {what} not in it", hint=hint)
    return ModelError(f"{path}: cannot tell how to run it by its {said}", hint=hint)


def _said_size(size: SizeWH | None) -> str:
    return "[width, height]" if size is None else f"[{size[0]}, {size[1]}]"


def _listed(tensors: Sequence[object]) -> str:
    return ", ".join(map(str, tensors)) or "none"


def _input_size(file: ModelFile) -> SizeWH | None:
    if len(file.inputs) != 1 or len(file.inputs[0].shape) != 4:
        return None
    _, channels, height, width = file.inputs[0].shape
    return (width, height) if channels == 3 and width >= 32 and height >= 32 else None


def _cells(size_wh: SizeWH, strides: Sequence[int]) -> int:
    width, height = size_wh
    return sum(-(-width // stride) * -(-height // stride) for stride in strides)
