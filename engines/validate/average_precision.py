"""COCO's average precision of what an engine found, by class and by size.

An image counts for a class only if people labelled that class in it; crowds are neither found nor mistakes. Each class
is evaluated by itself over its own images, which is what COCO's own evaluation comes to where all are labelled.
Computed by pycocotools (extra `quantize`). Source: cocodataset.org, Detection Evaluation; sizes are areas of up to
32 x 32, up to 96 x 96 and above.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from engines.datasets import Dataset, Image
from engines.validate.predictions import Found, Predictions
from vedette.errors import DataError

SIZES = ("small", "medium", "large")


class Ap(msgspec.Struct, frozen=True, kw_only=True):
    """Average precision, 0 to 1: mean over IoU 0.50 to 0.95, at 0.50, at 0.75, and the mean for objects by size.

    None where there is no object to be found.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    small: float | None
    medium: float | None
    large: float | None


class ClassAp(msgspec.Struct, frozen=True, kw_only=True):
    """One class: the images in which people labelled it, the objects in them (without crowds), its AP."""

    name: str
    images: int
    objects: int
    ap: Ap


class ApReport(msgspec.Struct, frozen=True, kw_only=True):
    """AP over the classes that have objects (`mean`) and for each class.

    `images` are those that counted for some class; `unreadable` names those that could not be used.
    """

    mean: Ap
    classes: tuple[ClassAp, ...]
    images: int
    unreadable: tuple[str, ...] = ()


def average_precision(predictions: Predictions, dataset: Dataset) -> ApReport:
    """AP of predictions over the images of `dataset`, which they were made of, in its classes.

    Raises DataError if no class has an object to be found.
    """
    if predictions.classes != dataset.classes or len(predictions.found) != len(dataset.images):
        msg = "expected predictions of this data set, in its classes"
        raise ValueError(msg)
    pairs = [
        (image, found)
        for image, found in zip(dataset.images, predictions.found, strict=True)
        if found.problem is None and image.labelled
    ]
    classes = tuple(
        _class_ap(name, [pair for pair in pairs if class_id in pair[0].labelled], class_id)
        for class_id, name in enumerate(dataset.classes)
    )
    if not any(one.objects for one in classes):
        msg = f"{dataset.path}: no image has a labelled object of {', '.join(dataset.classes) or 'any class'}"
        raise DataError(msg, hint="AP needs boxes by people; without labels give a second engine with --against")
    return ApReport(
        mean=_mean([one.ap for one in classes]),
        classes=classes,
        images=len(pairs),
        unreadable=predictions.unreadable,
    )


def _mean(of: Sequence[Ap]) -> Ap:
    """The mean of each figure over the classes that have it."""
    means = {}
    for name in Ap.__struct_fields__:
        values = [value for one in of if (value := getattr(one, name)) is not None]
        means[name] = float(np.mean(values)) if values else None
    return Ap(**means)


def _class_ap(name: str, pairs: Sequence[tuple[Image, Found]], class_id: int) -> ClassAp:
    objects = sum(int(((image.labels.class_ids == class_id) & ~image.labels.crowd).sum()) for image, _ in pairs)
    if not objects:
        nothing = Ap(ap=None, ap50=None, ap75=None, small=None, medium=None, large=None)
        return ClassAp(name=name, images=len(pairs), objects=0, ap=nothing)
    return ClassAp(name=name, images=len(pairs), objects=objects, ap=_evaluate(pairs, class_id))


def _evaluate(pairs: Sequence[tuple[Image, Found]], class_id: int) -> Ap:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        truth, results = COCO(), COCO()
        images = [{"id": index} for index in range(1, len(pairs) + 1)]
        categories = [{"id": 1, "name": "it"}]
        annotations = _truth(pairs, class_id)
        truth.dataset = {"images": images, "categories": categories, "annotations": annotations}
        results.dataset = {"images": images, "categories": categories, "annotations": _results(pairs, class_id)}
        truth.createIndex()
        results.createIndex()
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    # (IoU 0.50 ... 0.95, recall, class, size: all, small, medium, large, most detections: 1, 10, 100)
    precision = evaluation.eval["precision"][:, :, 0, :, 2]
    by_size = [_of(precision[:, :, size]) for size in range(4)]
    return Ap(
        ap=by_size[0],
        ap50=_of(precision[0, :, 0]),
        ap75=_of(precision[5, :, 0]),
        small=by_size[1],
        medium=by_size[2],
        large=by_size[3],
    )


def _of(precision: Any) -> float | None:
    """The mean of what is there; -1 is pycocotools' «nothing to be found»."""
    there = precision[precision > -1]
    return float(there.mean()) if there.size else None


def _truth(pairs: Sequence[tuple[Image, Found]], class_id: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for index, (image, _) in enumerate(pairs, 1):
        labels = image.labels
        for row in np.flatnonzero(labels.class_ids == class_id):
            rows.append(
                _row(len(rows), index, labels.xyxy_px[row].tolist())
                | {"area": float(labels.areas_px[row]), "iscrowd": int(labels.crowd[row])}
            )
    return rows


def _results(pairs: Sequence[tuple[Image, Found]], class_id: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for index, (_, found) in enumerate(pairs, 1):
        every = found.every
        for row in np.flatnonzero(every.class_ids == class_id):
            plain = _row(len(rows), index, every.xyxy_px[row].tolist())
            area = plain["bbox"][2] * plain["bbox"][3]
            rows.append(plain | {"area": area, "iscrowd": 0, "score": float(every.scores[row])})
    return rows


def _row(count: int, index: int, xyxy_px: list[float]) -> dict[str, Any]:
    x1, y1, x2, y2 = xyxy_px
    # Ids from 1 on: pycocotools takes a match with the id 0 for none.
    return {"id": count + 1, "image_id": index, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
