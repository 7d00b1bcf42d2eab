"""What an ONNX file says of itself as a teacher: how its input is filled, at any size, and what its outputs mean.

Shared by the teachers that run it: `host_teacher` in OpenVINO, `onnx_teacher` in torch on the student's device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from engines.recognise import recognise
from engines.runtimes.model_file import read_model_file
from engines.spec import ModelSpec, Tensor, find_spec, spec_path
from engines.types import SizeWH
from engines.yolo_nas.variants import STRIDES
from vedette.errors import ModelError

_ANY_SIDE = 416
"""At which a file of free size is looked at first."""

T = TypeVar("T")

_BAKED_STRIDES = (4, 8, 16, 32, 64)


class TeacherFile:
    """An ONNX detector with one input. Raises ModelError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._said = read_model_file(path)
        if len(self._said.inputs) != 1 or len(self._said.inputs[0].shape) != 4:
            msg = f"{path}: expected one input, (batch, 3, height, width), to learn from it"
            raise ModelError(msg)

    @property
    def size_wh(self) -> SizeWH:
        """Its own size, or one to begin with if it takes any."""
        _, _, height, width = self._said.inputs[0].shape
        return (width if width > 0 else _ANY_SIDE, height if height > 0 else _ANY_SIDE)

    def spec(self, size_wh: SizeWH, outputs: Iterable[tuple[str, Sequence[int]]]) -> ModelSpec:
        """The file's own spec, or the one told by `outputs`, names and shapes at this size. Raises ModelError."""
        own = self._said
        if spec_path(self.path).exists() or "vedette" in own.metadata:
            said = find_spec(own).spec
            return msgspec.structs.replace(said, input=msgspec.structs.replace(said.input, size=size_wh))
        (given,) = own.inputs
        here = (msgspec.structs.replace(given, shape=(1, 3, size_wh[1], size_wh[0])),)
        of_anchors = tuple(
            Tensor(name=name, shape=(1, *shape[1:]), dtype="float32") for name, shape in outputs if len(shape) == 3
        )
        return recognise(msgspec.structs.replace(own, inputs=here, outputs=of_anchors))

    def check_anchors(self, count: int, size_wh: SizeWH) -> None:
        """Raise ModelError unless it looks at as many anchors as the student."""
        width, height = size_wh
        anchors = sum((width // stride) * (height // stride) for stride in STRIDES)
        if count != anchors:
            msg = f"{self.path}: expected {anchors} anchors at {width}x{height} (strides 8, 16, 32), got {count}"
            raise ModelError(msg, hint="a teacher must look at every anchor; others can make pseudo-labels")

    def fixed_size(self, size_wh: SizeWH) -> ModelError:
        """What to raise if it does not run at this size."""
        msg = f"{self.path}: cannot be run at {size_wh[0]}x{size_wh[1]}: its own size is fixed"
        return ModelError(msg, hint="export it with a free size, or train at its size")


def new_sides(sides: Sequence[int], old_wh: SizeWH, new_wh: SizeWH) -> list[int]:
    """The shape that a Reshape has in it, of maps (…, height, width) of a network of another size; others as it is."""
    for stride in _BAKED_STRIDES:
        if len(sides) > 3 and list(sides[-2:]) == [-(-old_wh[1] // stride), -(-old_wh[0] // stride)]:
            return [*sides[:-2], -(-new_wh[1] // stride), -(-new_wh[0] // stride)]
    return list(sides)


def feature_maps(values: Iterable[T], shapes: Iterable[Sequence[int]], size_wh: SizeWH) -> tuple[T, ...]:
    """Of `values` with `shapes` those that are maps at our strides, one each, if it has all three; else none."""
    maps: dict[tuple[int, ...], T] = {}
    for value, shape in zip(values, shapes, strict=True):
        if len(shape) == 4:
            maps.setdefault(tuple(shape[2:]), value)
    wanted = [(size_wh[1] // stride, size_wh[0] // stride) for stride in STRIDES]
    return tuple(maps[shape] for shape in wanted) if all(shape in maps for shape in wanted) else ()
