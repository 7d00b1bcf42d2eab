"""A data set's pictures decoded once and kept in memory, each with its truth.

Pictures are read as the running pipeline reads them (`read_still`: a JPEG's planes, its matrix and range) and become
RGB at their own size by `PictureWriter`. What differs from running: there the planes are scaled to the input's size
before they become RGB, here RGB is scaled by the augmentation; a level or two (FACTS of the pre-processing: 0.1 to 0.4
on average), far less than the augmentation itself does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from engines.datasets import Dataset, Image
from engines.picture import PictureWriter
from engines.spec import InputSpec
from engines.stills import read_still
from engines.train.pseudo import PseudoBoxes
from engines.train.sample import Sample, Truth
from engines.types import F32, U8, SizeWH
from vedette.errors import DataError, StillError

_LEAST = 32  # what an InputSpec may have


def load_samples(
    dataset: Dataset,
    *,
    longest_px: int,
    pseudo: PseudoBoxes | None = None,
    threads: int = 2,
    progress: Callable[[], None] = lambda: None,
) -> tuple[list[Sample], list[str]]:
    """The pictures, none with a side above `longest_px`, and a line for each that cannot be read.

    Raises DataError if none can.
    """

    def load(row: int) -> Sample | str:
        image = dataset.images[row]
        try:
            rgb, scale_xy = decode(image, longest_px)
        except StillError as error:
            return error.message
        finally:
            progress()
        boxes = None if pseudo is None else pseudo.of(row)
        truth = _truth(image, boxes, len(dataset.classes), scale_xy, (rgb.shape[1], rgb.shape[0]))
        return Sample(rgb=rgb, truth=truth, part=image.part)

    with ThreadPoolExecutor(threads, "decode") as pool:
        found = list(pool.map(load, range(len(dataset.images))))
    samples = [one for one in found if isinstance(one, Sample)]
    problems = [one for one in found if isinstance(one, str)]
    if not samples:
        msg = f"{dataset.path}: none of {len(found)} images can be used; the first: {problems[0] if problems else '-'}"
        raise DataError(msg)
    return samples, problems


def decode(image: Image, longest_px: int) -> tuple[U8, tuple[float, float]]:
    """RGB (H, W, 3), both sides even, and by how much x and y were scaled. Raises StillError."""
    picture = read_still(image.path)
    size_wh = _fitting(picture.size_wh, longest_px)
    # Stretch into a size of nearly the same aspect: the picture alone, without a border.
    spec = InputSpec(size=size_wh, fit="stretch", scale=1.0)
    planes = np.empty((1, 3, size_wh[1], size_wh[0]), np.uint8)
    scale_xy = PictureWriter(spec).write(picture, planes, 0).scale_xy
    return np.ascontiguousarray(planes[0].transpose(1, 2, 0)), scale_xy


def _fitting(size_wh: SizeWH, longest_px: int) -> SizeWH:
    scale = min(1.0, longest_px / max(size_wh))
    width, height = (max(_LEAST, 2 * round(side * scale / 2)) for side in size_wh)
    return width, height


def _truth(image: Image, pseudo: Truth | None, classes: int, scale_xy: tuple[float, float], size_wh: SizeWH) -> Truth:
    labels = image.labels
    scale = np.array([*scale_xy, *scale_xy], np.float32)
    objects = ~labels.crowd
    people = Truth(
        xyxy_px=labels.xyxy_px[objects] * scale,
        class_ids=labels.class_ids[objects].astype(np.int64),
        weights=np.ones(int(objects.sum()), np.float32),
        regions=labels.xyxy_px[labels.crowd] * scale,
        region_weights=_all_but(labels.class_ids[labels.crowd].tolist(), classes),
    )
    missing = [one for one in range(classes) if one not in image.labelled]
    if not missing:
        return _clipped(people, size_wh)
    if pseudo is not None:
        other = replace(pseudo, xyxy_px=pseudo.xyxy_px * scale, regions=pseudo.regions * scale)
        unsaid = np.isin(other.class_ids, missing)
        # A teacher's box on what people have boxed already is the same object.
        unsaid &= ~_same(other, people)
        other = other.objects(unsaid, other.xyxy_px[unsaid])
        # Where people looked for a class, what a teacher is unsure of is no reason to look away.
        weights = other.region_weights.copy()
        weights[:, sorted(image.labelled)] = 1.0
        return _clipped(Truth.joined([people, replace(other, region_weights=weights)]), size_wh)
    everywhere = np.array([[0.0, 0.0, *size_wh]], np.float32)
    unknown = replace(
        people.objects(np.zeros(len(people.class_ids), np.bool_), people.xyxy_px[:0]),
        regions=everywhere,
        region_weights=_all_but([missing], classes),
    )
    return _clipped(Truth.joined([people, unknown]), size_wh)


def _all_but(of: Sequence[int | list[int]], classes: int) -> F32:
    """A row for each of `of`: weight 0 for these classes, 1 for the others."""
    weights = np.ones((len(of), classes), np.float32)
    for row, ids in enumerate(of):
        weights[row, ids] = 0.0
    return weights


def _same(other: Truth, people: Truth) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(N,) which of the teacher's boxes overlap one by people of the same class by half."""
    from engines.validate.agreement import iou_table

    if not len(people.class_ids):
        return np.zeros(len(other.class_ids), np.bool_)
    overlaps = iou_table(other.xyxy_px, people.xyxy_px)
    overlaps[other.class_ids[:, None] != people.class_ids[None]] = 0.0
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = overlaps.max(axis=1) >= 0.5
    return found


def _clipped(truth: Truth, size_wh: SizeWH) -> Truth:
    limits = np.array([*size_wh, *size_wh], np.float32)
    boxes = np.clip(truth.xyxy_px, 0.0, limits)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return truth.objects(kept, boxes[kept])
