"""A teacher's boxes for classes that people did not label: a COCO results list, as `COCO.loadRes` takes it.

A box of at least `take` counts as an object, as much as its score says; one below that, but listed, may or may not be
one: there background costs nothing. Elsewhere background of such a class counts `trust`, since the teacher looked.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from engines.bounded_file import read_bounded
from engines.datasets import Dataset
from engines.train.sample import Truth
from vedette.errors import DataError

_MAX_BYTES = 2 << 30
"""A guess, as of the annotations that it stands beside."""
TAKE = 0.4
"""Least score for an object. ../detection's README: precision 0.85 to 0.93 there."""
TRUST = 0.5
"""What the teacher's silence counts (a guess: it misses a third of the objects at its lowest scores)."""


class _Result(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


class _Category(msgspec.Struct):
    id: int
    name: str


class _Document(msgspec.Struct):
    categories: list[_Category] = []


def image_ids(dataset: Dataset) -> list[str]:
    """What names each image for good: its id in a COCO file, else its file's path in the data set."""
    root = dataset.path if dataset.path.is_dir() else dataset.path.parent
    return [image.id or _place(image.path, root) for image in dataset.images]


def _place(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PseudoBoxes:
    """A teacher's boxes by image, in the pixels of the data set's pictures and in its classes."""

    rows: tuple[Truth, ...]

    def of(self, row: int) -> Truth:
        return self.rows[row]


def read_pseudo(path: Path, dataset: Dataset, *, take: float = TAKE, trust: float = TRUST) -> PseudoBoxes:
    """Read a results list for the images of a COCO file. Raises DataError."""
    ids = [image.id for image in dataset.images]
    if not all(ids):
        msg = f"{path}: pseudo-labels go by COCO's image ids, and {dataset.path} is no COCO JSON"
        raise DataError(msg)
    try:
        results = msgspec.json.decode(read_bounded(path, at_most_bytes=_MAX_BYTES), type=list[_Result])
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise DataError(msg) from error
    except msgspec.DecodeError as error:
        msg = f"{path}: expected a COCO results list (image_id, category_id, bbox, score): {error}"
        raise DataError(msg) from error
    document = msgspec.json.decode(dataset.path.read_bytes(), type=_Document)
    class_of = {
        category.id: dataset.classes.index(category.name)
        for category in document.categories
        if category.name in dataset.classes
    }
    by_image: dict[str, list[_Result]] = defaultdict(list)
    for result in results:
        if result.category_id in class_of:
            by_image[str(result.image_id)].append(result)
    if not any(one in by_image for one in ids):
        msg = f"{path}: has no box for an image of {dataset.path}"
        raise DataError(msg, hint="the ids must be those of the data set, and so must the categories")
    classes = len(dataset.classes)
    rows = tuple(_row(by_image.get(one, []), class_of, classes, take, trust) for one in ids)
    return PseudoBoxes(rows=rows)


_FAR = 1e6  # beyond every picture


def _row(results: list[_Result], class_of: dict[int, int], classes: int, take: float, trust: float) -> Truth:
    boxes = np.array([result.bbox for result in results], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    ids = np.array([class_of[result.category_id] for result in results], np.int64)
    scores = np.array([result.score for result in results], np.float32)
    sure = scores >= take
    weights = np.ones((int((~sure).sum()), classes), np.float32)
    weights[np.arange(len(weights)), ids[~sure]] = 0.0
    return Truth(
        xyxy_px=boxes[sure],
        class_ids=ids[sure],
        weights=scores[sure],
        regions=np.concatenate([boxes[~sure], np.array([[0.0, 0.0, _FAR, _FAR]], np.float32)]),
        region_weights=np.concatenate([weights, np.full((1, classes), trust, np.float32)]),
    )
