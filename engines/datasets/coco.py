"""COCO JSON: one file that names images, categories and annotations.

Beside COCO's own fields an image may have `labels`, the names of the classes that people labelled exhaustively in it
(without it: all), and `source`, where it is from. `vedette synth` writes such files.
Source of the format: cocodataset.org, Data format.
"""

from __future__ import annotations

import logging
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from engines.bounded_file import read_bounded
from engines.datasets.dataset import Dataset, Image, Labels, refuse
from vedette.errors import DataError

logger = logging.getLogger(__name__)

_MAX_BYTES = 2 << 30
"""A guess: the annotations of COCO train2017 are 450 MB."""


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: int | None = None
    height: int | None = None
    labels: list[str] | None = None
    source: str = ""


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: list[float]
    iscrowd: int = 0
    area: float | None = None


class _Category(msgspec.Struct):
    id: int
    name: str


class _Document(msgspec.Struct):
    images: list[_Image]
    categories: list[_Category] = []
    annotations: list[_Annotation] | None = None


def read_coco(path: Path, images: Path | None = None) -> Dataset:
    """Read a file of COCO's form; `images` is the folder of its pictures, else it is looked for beside the file.

    Classes are in the order of the categories' ids. A file without annotations gives images without labels.
    Raises DataError naming the places in the file that are wrong, and images that are not there.
    """
    document = _decode(path)
    if not document.images:
        msg = f"{path}: images: expected at least one, got none"
        raise DataError(msg)
    categories = sorted(document.categories, key=lambda category: category.id)
    classes = tuple(category.name for category in categories)
    class_of = {category.id: index for index, category in enumerate(categories)}
    problems = [
        f"categories: expected {what} that differ, got {', '.join(map(repr, again))} more than once"
        for what, again in (
            ("ids", _repeated(category.id for category in categories)),
            ("names", _repeated(classes)),
        )
        if again
    ]
    root = images if images is not None else _find_root(path, document.images)
    by_image = _annotations(document, class_of, problems)
    found = tuple(
        _image(index, image, root, by_image.get(image.id, ()), class_of, classes, document, problems)
        for index, image in enumerate(document.images)
    )
    if again := _repeated(image.id for image in document.images):
        problems.append(f"images: expected ids that differ, got {', '.join(map(str, again[:5]))} more than once")
    if problems:
        raise refuse([f"{path}: {problem}" for problem in problems])
    if missing := [
        f"{path}: images[{i}].file_name: no file {x.path}" for i, x in enumerate(found) if not _is_file(x.path)
    ]:
        hint = "say where the images are: --images FOLDER"
        if images is not None:
            hint = f"--images: the files' names are looked for under {images}, " + (
                "which has others" if images.is_dir() else "and there is no such folder"
            )
        raise refuse(missing, hint=hint)
    return Dataset(path=path, classes=classes, images=found)


def _decode(path: Path) -> _Document:
    try:
        text = read_bounded(path, at_most_bytes=_MAX_BYTES)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise DataError(msg) from error
    try:
        return msgspec.json.decode(text, type=_Document)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        place = where.strip("`").removeprefix("$").removeprefix(".")
        what = what.replace("`", "")
        msg = f"{path}: {place + ': ' if place else ''}{what[:1].lower()}{what[1:]}"
        raise DataError(msg, hint="expected COCO JSON: images, categories, annotations") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{path}: is not JSON: {str(error).rstrip('.')}"
        raise DataError(msg, hint="expected COCO JSON: images, categories, annotations") from error


def _find_root(path: Path, images: Sequence[_Image]) -> Path:
    """The folder in which the first image lies, of those that are usual."""
    split = path.stem.removeprefix("instances_")
    beside, above = path.parent, path.parent.parent
    roots = (
        beside,
        beside / "images",
        beside / split,
        above / split,
        above / "images" / split,
        above / "images",
        above,
    )
    return next((root for root in roots if _is_file(root / images[0].file_name)), beside)


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - of a name that is too long, or behind a closed door, Path's raises


def _annotations(document: _Document, class_of: dict[int, int], problems: list[str]) -> dict[int, list[_Annotation]]:
    """Good annotations by image id; what is wrong goes to `problems`, boxes without area are left out and counted."""
    sizes = {image.id: (image.width, image.height) for image in document.images}
    by_image: dict[int, list[_Annotation]] = defaultdict(list)
    empty = 0
    for index, annotation in enumerate(document.annotations or ()):
        where = f"annotations[{index}]"
        if annotation.image_id not in sizes:
            problems.append(f"{where}.image_id: no image has the id {annotation.image_id}")
        elif annotation.category_id not in class_of:
            known = ", ".join(map(str, list(class_of)[:12])) or "none"
            problems.append(f"{where}.category_id: expected one of categories ({known}), got {annotation.category_id}")
        elif wrong := _wrong_box(annotation.bbox, sizes[annotation.image_id]):
            problems.append(f"{where}.bbox: {wrong}")
        elif min(annotation.bbox[2:]) == 0.0:
            empty += 1  # COCO's own train2017 has such
        else:
            by_image[annotation.image_id].append(annotation)
    if empty:
        logger.warning("%d annotations have boxes without area and are left out", empty)
    return by_image


def _wrong_box(bbox: Sequence[float], size_wh: tuple[int | None, int | None]) -> str | None:
    if len(bbox) != 4 or not all(map(math.isfinite, bbox)) or min(bbox[2:]) < 0.0:
        return f"expected x, y, width, height in pixels, got {[round(value, 2) for value in bbox]}"
    x, y, width, height = bbox
    full_width, full_height = size_wh
    if (
        x + width < 0
        or y + height < 0
        or (full_width is not None and x > full_width)
        or (full_height is not None and y > full_height)
    ):
        return f"expected a box in the picture of {full_width}x{full_height}, got {[round(v, 2) for v in bbox]}"
    return None


def _image(
    index: int,
    image: _Image,
    root: Path,
    annotations: Sequence[_Annotation],
    class_of: dict[int, int],
    classes: tuple[str, ...],
    document: _Document,
    problems: list[str],
) -> Image:
    labelled = list(range(len(classes))) if document.annotations is not None else []
    if image.labels is not None:
        if unknown := [name for name in image.labels if name not in classes]:
            problems.append(f"images[{index}].labels: expected names of categories, got {unknown[0]!r}")
        labelled = [classes.index(name) for name in image.labels if name in classes]
    boxes = [annotation.bbox for annotation in annotations]
    return Image(
        path=root / image.file_name,
        size_wh=(image.width, image.height) if image.width and image.height else None,
        labels=Labels.of(
            [(x, y, x + width, y + height) for x, y, width, height in boxes],
            [class_of[annotation.category_id] for annotation in annotations],
            [box[2] * box[3] if a.area is None else a.area for a, box in zip(annotations, boxes, strict=True)],
            [bool(annotation.iscrowd) for annotation in annotations],
        ),
        labelled=frozenset(labelled),
        part=image.source,
        id=str(image.id),
    )


def _repeated(values: Iterable[object]) -> list[object]:
    seen: set[object] = set()
    again: list[object] = []
    for value in values:
        if value in seen and value not in again:
            again.append(value)
        seen.add(value)
    return again
