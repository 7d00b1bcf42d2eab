"""AP of a network in training: the running way of pictures, heads and suppression, with torch in the engine's place.

Choosing models looks at one half of the validation set, by hash of the image's id; the other half says afterwards what
the choice was worth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from engines.datasets import Dataset
from engines.heads import build_head
from engines.picture import PictureWriter, Placement
from engines.spec import InputSpec, ModelSpec
from engines.stills import read_still
from engines.suppression import leave_best
from engines.train.pseudo import image_ids
from engines.types import U8, Detections, SizeWH
from engines.validate import ApReport, Predictions, average_precision
from engines.validate.predictions import LEAST_SCORE, MAX_OBJECTS, Found
from engines.yolo_nas import Form, YoloNas, fuse
from vedette.errors import DataError, StillError

_BATCH = 8


def halves(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """The half to choose by, and the other: whether SHA-256 of an image's id begins with an even byte. In order."""
    even = [hashlib.sha256(name.encode()).digest()[0] % 2 == 0 for name in image_ids(dataset)]
    return tuple(  # type: ignore[return-value] # two of them
        replace(
            dataset, images=tuple(image for image, mine in zip(dataset.images, even, strict=True) if mine is wanted)
        )
        for wanted in (True, False)
    )


def has_objects(dataset: Dataset) -> bool:
    """Whether there is anything to be found, for which AP is defined."""
    return any(
        class_id in image.labelled and not crowd
        for image in dataset.images
        for class_id, crowd in zip(image.labels.class_ids.tolist(), image.labels.crowd.tolist(), strict=True)
    )


class Evaluator:
    """Pictures of a data set as a network of one size takes them, made once and kept."""

    def __init__(self, dataset: Dataset, size_wh: SizeWH) -> None:
        """Raises DataError if no picture can be used, or none has a labelled object."""
        self.dataset = dataset
        self._spec = ModelSpec(
            name="in training", head="yolo_nas", classes=dataset.classes, input=InputSpec(size=size_wh)
        )
        levels = in_levels(self._spec.input)
        writer = PictureWriter(levels)
        self._pictures: U8 = np.empty((len(dataset), 3, size_wh[1], size_wh[0]), np.uint8)
        self._placements: list[Placement | str] = []
        for row, image in enumerate(dataset.images):
            try:
                self._placements.append(writer.write(read_still(image.path), self._pictures, row))
            except StillError as error:
                self._placements.append(error.message)
        if all(isinstance(one, str) for one in self._placements):
            msg = f"{dataset.path}: none of {len(dataset)} images can be used"
            raise DataError(msg)

    @torch.no_grad()
    def ap(self, network: YoloNas, device: torch.device) -> ApReport:
        """AP of a network in any form; it is fused for this and stays as it is."""
        whole = fuse(network, Form.FOLDED).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found: list[Found] = []
        for start in range(0, len(self.dataset), _BATCH):
            levels = torch.from_numpy(self._pictures[start : start + _BATCH]).to(device)
            values = levels.float().div_(255.0).contiguous(memory_format=torch.channels_last)
            boxes, scores = (one.float().cpu().numpy() for one in whole(values))
            placements = self._placements[start : start + _BATCH]
            found += [self._found(boxes, scores, row, placement) for row, placement in enumerate(placements)]
        predictions = Predictions(
            model=self._spec.name,
            sha256="",
            runtime="torch",
            classes=self.dataset.classes,
            images=self.dataset.images,
            found=tuple(found),
            shown_score=self._spec.score,
        )
        return average_precision(predictions, self.dataset)

    def _found(self, boxes: np.ndarray, scores: np.ndarray, row: int, placement: Placement | str) -> Found:  # type: ignore[type-arg]
        nothing = Detections.empty()
        if isinstance(placement, str):
            return Found(size_wh=(0, 0), every=nothing, shown=nothing, near=nothing, problem=placement)
        candidates = build_head(self._spec, labels="all").decode({"boxes": boxes, "scores": scores}, row, LEAST_SCORE)
        every = leave_best(candidates, placement, score=LEAST_SCORE, iou=self._spec.nms_iou, max_objects=MAX_OBJECTS)
        return Found(size_wh=placement.source_wh, every=every, shown=nothing, near=nothing)


def in_levels(spec: InputSpec) -> InputSpec:
    """The same, in levels."""
    import msgspec

    return msgspec.structs.replace(spec, scale=1.0)


def mean_ap(reports: Sequence[ApReport]) -> float:
    """One figure for several data sets: the mean of their mean AP."""
    return float(np.mean([report.mean.ap or 0.0 for report in reports]))
