"""What a run is made of, opened: data in the run's classes, and teachers where they run fastest."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from engines.datasets import Dataset, match_classes
from engines.train.ingredients import Ingredients
from engines.train.options import TYPES, TrainOptions
from engines.train.teachers import DeviceTeacher, LevelsTeacher, TorchTeacher
from vedette.errors import DataError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """What a run is made of; data sets are open already.

    `names` renames classes of data and teachers; `weigh`: how often pictures of a part are drawn, 1 if unsaid.
    `on_device`: whether pictures live and batches are made on `device`, and teachers in ONNX run there in torch, not in
    OpenVINO on the host; None: on a GPU. `ingredients`: what to keep in `last.pth` of where all this is from.
    """

    data: Dataset
    extra: tuple[Dataset, ...] = ()
    validation: tuple[Dataset, ...] = ()
    pseudo: Path | None = None
    teachers: tuple[Path, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    weigh: Mapping[str, float] = field(default_factory=dict)
    init: Path | None = None
    device: str = "cpu"
    on_device: bool | None = None
    ingredients: Ingredients | None = None

    @property
    def uses_device(self) -> bool:
        return torch.device(self.device).type != "cpu" if self.on_device is None else self.on_device


@dataclass(frozen=True, slots=True, kw_only=True)
class Teachers:
    """Those that look at batches where they are made, and those that look at them beside the student."""

    host: tuple[LevelsTeacher, ...]
    device: tuple[TorchTeacher, ...]


def open_teachers(options: TrainOptions, materials: Materials) -> Teachers:
    """Raises ModelError, DataError."""
    device = torch.device(materials.device)
    host: list[LevelsTeacher] = []
    beside: list[TorchTeacher] = []
    for path in materials.teachers:
        if path.suffix != ".onnx":
            # On a CPU as ever; on a GPU float32 would take longer than the student.
            dtype = torch.float32 if device.type == "cpu" else TYPES[options.precision]
            beside.append(DeviceTeacher(path, options.classes, materials.names, device, dtype=dtype))
        elif materials.uses_device:
            from engines.train.onnx_teacher import OnnxTeacher

            dtype = TYPES[options.precision]
            beside.append(OnnxTeacher(path, options.classes, materials.names, device, dtype=dtype))
        else:
            from engines.train.host_teacher import HostTeacher  # OpenVINO, which a GPU machine need not have

            host.append(HostTeacher(path, options.classes, materials.names, threads=options.threads))
    return Teachers(host=tuple(host), device=tuple(beside))


def in_classes(dataset: Dataset, classes: tuple[str, ...], names: Mapping[str, str]) -> Dataset:
    """The data set in exactly these classes, in this order; one that it does not know is labelled nowhere."""
    if not dataset.classes:
        if any(len(image.labels) for image in dataset.images):
            msg = f"{dataset.path}: has boxes but no classes"
            raise DataError(msg)
        return replace(dataset, classes=classes)
    known = {name: target for name, target in names.items() if name in dataset.classes}
    mapped = match_classes(classes, dataset.classes, known)
    found = mapped.apply(dataset)
    order = np.array([classes.index(name) for name in found.classes], np.int32)
    images = tuple(
        replace(
            image,
            labels=replace(image.labels, class_ids=order[image.labels.class_ids]),
            labelled=frozenset(int(order[one]) for one in image.labelled),
        )
        for image in found.images
    )
    return replace(found, classes=classes, images=images)


def check_names(materials: Materials, teachers: Teachers) -> None:
    """Raise UsageError for a class to be renamed that nobody has."""
    sets: Sequence[Dataset] = [materials.data, *materials.extra, *materials.validation]
    spoken = [one.classes for one in sets]
    spoken += [*(one.classes for one in teachers.host), *(one.classes for one in teachers.device)]
    known = {name for classes in spoken for name in classes}
    for name in materials.names:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), 1)
            msg = f"--map: neither the data nor a teacher has a class {name!r}"
            raise UsageError(msg, hint=f"did you mean {near[0]!r}?" if near else None)
