"""Teachers: other networks that say, for every anchor of the student, what they see there.

ONNX files are run by `host_teacher` (OpenVINO on the CPU) or `onnx_teacher` (torch on the student's device); here is a
checkpoint of YOLO-NAS, in torch on the student's device, which shows its features too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from engines.spec import COCO_CLASSES
from engines.train.class_table import ClassTable, DeviceClassTable
from engines.types import U8
from engines.yolo_nas import Form, YoloNas, fuse, load_checkpoint
from vedette.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taught:
    """What a teacher says of n pictures, in the student's classes and at its anchors.

    `scores` (n, A, C) float32; `known` (C,) float32, 1 for classes that the teacher knows; `boxes` (n, A, 4) float32,
    input pixels. `features`: maps (n, K, h, w) at strides 8, 16, 32; empty if the teacher shows none.
    """

    scores: Tensor
    known: Tensor
    boxes: Tensor
    features: tuple[Tensor, ...] = ()

    def to(self, device: torch.device) -> Taught:
        return Taught(
            scores=self.scores.to(device),
            known=self.known.to(device),
            boxes=self.boxes.to(device),
            features=tuple(one.to(device) for one in self.features),
        )

    def part(self, rows: slice) -> Taught:
        """Of some of the pictures."""
        return Taught(
            scores=self.scores[rows],
            known=self.known,
            boxes=self.boxes[rows],
            features=tuple(one[rows] for one in self.features),
        )


class LevelsTeacher(Protocol):
    """A teacher on the host; looks at levels, in any number of threads at once."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Its own."""
        ...

    @property
    def widths(self) -> tuple[int, ...]:
        """Of its features; none if it shows none."""
        ...

    def look(self, levels: U8) -> Taught:
        """`levels` (n, H, W, 3) uint8 RGB."""
        ...


class TorchTeacher(Protocol):
    """A teacher that runs on the student's device; any number of threads may look at once."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Its own."""
        ...

    @property
    def widths(self) -> tuple[int, ...]:
        """Of its features; none if it shows none."""
        ...

    def look(self, images: Tensor) -> Taught:
        """`images` (n, 3, H, W) float, RGB / 255."""
        ...


class DeviceTeacher:
    """A checkpoint of YOLO-NAS, fused, on the student's device; features are the maps that go to its heads."""

    def __init__(
        self,
        path: Path,
        classes: tuple[str, ...],
        names: Mapping[str, str],
        device: torch.device,
        *,
        own: Sequence[str] = (),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`own`: the teacher's class names, if its file has none (else COCO's); `dtype`: of the convolutions.

        Raises ModelError, DataError.
        """
        found = load_checkpoint(path)
        given = tuple(own) or found.class_names or COCO_CLASSES
        if len(given) != found.network.classes:
            msg = f"{path}: expected the names of its {found.network.classes} classes, got {len(given)}"
            raise ModelError(msg, hint="write class_names into the checkpoint")
        self.classes = given
        self._table = DeviceClassTable(ClassTable(given, classes, names), device)
        self._dtype = dtype
        whole = fuse(found.network, Form.FOLDED).requires_grad_(False).eval().to(device)
        # torch's stubs know no `memory_format` beside a device
        self._network: YoloNas = whole.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.widths = found.network.variant.neck_out[1:]
        """Of its features."""

    @torch.no_grad()
    def look(self, images: Tensor) -> Taught:
        """`images` (n, 3, H, W) float, RGB / 255."""
        with torch.autocast(images.device.type, self._dtype, enabled=self._dtype != torch.float32):
            neck = self._network.neck(self._network.backbone(images))
            maps = self._network.heads(neck)
        raw = self._network.gathered(maps)
        scores = self._table.highest(raw.cls_logits.sigmoid())
        features = (neck.neck2.float(), neck.neck3.float(), neck.neck4.float())
        return Taught(scores=scores, known=self._table.known, boxes=raw.boxes(), features=features)
