"""YOLO's form: a text file of boxes for each image, `labels/` beside `images/`, names and folders in `data.yaml`.

A line is: class, centre x and y, width and height, in parts of the picture; or class and the corners of an outline,
whose bounding box is taken. An image without a text file has no objects, as the family's own trainers take it.
Source of the form: Ultralytics' documentation, Object Detection Datasets.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.bounded_file import read_bounded
from engines.datasets.dataset import Dataset, Image, Labels, refuse
from engines.datasets.folder import image_files
from engines.spec_yaml import one_line, read_plain
from engines.stills import still_size
from vedette.errors import DataError, ModelError, StillError

_SLACK = 0.01
"""How far a box may reach beyond the picture, in parts of it: rounding, and sloppy tools."""


_MAX_BYTES = 1 << 20
"""Of `data.yaml` and lists of classes; a guess, as for a configuration."""
_MAX_LABEL_BYTES, _MAX_LIST_BYTES = 1 << 24, 1 << 28
"""A hundred thousand boxes in a picture, a million pictures in a list; guesses, too."""


def read_yolo(path: Path, split: str = "val") -> Dataset:
    """Read `data.yaml` (of which `split` says the part), or a folder with `images` and `labels` in it.

    Raises DataError naming file and line.
    """
    if path.is_dir() and not (path / "data.yaml").is_file():
        classes, folders = _class_file(path), [path / "images"]
    else:
        classes, folders = _data_yaml(path / "data.yaml" if path.is_dir() else path, split)
    files = [file for folder in folders for file in _listed(folder)]
    if not files:
        msg = f"{path}: expected images in {', '.join(map(str, folders))}, found none"
        raise DataError(msg)
    problems: list[str] = []
    images = tuple(_image(file, classes, problems) for file in files)
    if problems:
        raise refuse(problems)
    return Dataset(path=path, classes=classes, images=images)


def _data_yaml(path: Path, split: str) -> tuple[tuple[str, ...], list[Path]]:
    """Class names, and the folders (or lists) of images."""
    try:
        plain = read_plain(read_bounded(path, at_most_bytes=_MAX_BYTES), str(path))
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise DataError(msg) from error
    except ModelError as error:
        raise DataError(error.problems, hint=f"expected the keys names and {split}") from error
    names = _names(path, plain.get("names"))
    given = plain.get(split)
    entries = [given] if isinstance(given, str) else given
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, str) for entry in entries):
        there = ", ".join(key for key in ("train", "val", "test") if key in plain) or "none"
        msg = f"{path}: {split}: expected a folder of images, got {_shown(given)}"
        raise DataError(msg, hint=f"the file has: {there}")
    base = plain.get("path")
    root = path.parent / base if isinstance(base, str) else path.parent
    return names, [_resolved(root, path.parent, entry) for entry in entries]


def _resolved(root: Path, beside: Path, entry: str) -> Path:
    """Where a folder of `data.yaml` is. Roboflow writes `../valid/images` and means the folder beside the file."""
    tried = [root / entry, beside / entry, beside / entry.removeprefix("../")]
    return next((folder for folder in tried if folder.exists()), tried[0])


def _shown(value: object) -> str:
    """Its beginning: aliases make much of little, and hexadecimal digits a number that cannot be written."""
    try:
        return one_line(reprlib.repr(value))
    except ValueError:
        return "something that is too large to be shown"


def _names(path: Path, names: Any) -> tuple[str, ...]:
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        msg = f"{path}: names: expected the names of the classes, from 0 on, got {_shown(names)}"
        raise DataError(msg)
    if len(set(names)) != len(names):
        msg = f"{path}: names: expected names that differ, got {_shown(names)}"
        raise DataError(msg)
    return tuple(names)


def _class_file(path: Path) -> tuple[str, ...]:
    for file in (path / "classes.txt", path / "labels" / "classes.txt"):
        if file.is_file():
            lines = _lines_of(file, _MAX_BYTES)
            return _names(file, [line.strip() for line in lines if line.strip()])
    msg = f"{path}: expected the names of the classes in data.yaml or classes.txt, found neither"
    raise DataError(msg)


def _listed(folder: Path) -> list[Path]:
    """The images of a folder, or those that a text file names, a path a line."""
    if folder.is_dir():
        return image_files(folder)
    if folder.suffix == ".txt" and folder.is_file():
        lines = _lines_of(folder, _MAX_LIST_BYTES)
        return [folder.parent / line.strip() for line in lines if line.strip()]
    msg = f"{folder}: expected a folder of images, or a text file that lists them; there is none"
    raise DataError(msg)


def _lines_of(path: Path, at_most_bytes: int) -> list[str]:
    try:
        return read_bounded(path, at_most_bytes=at_most_bytes).decode(errors="replace").splitlines()
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise DataError(msg) from error


def _image(file: Path, classes: tuple[str, ...], problems: list[str]) -> Image:
    try:
        size_wh = still_size(file)
    except StillError as error:
        problems.append(error.message)
        return Image(path=file)
    boxes: list[tuple[float, float, float, float]] = []
    class_ids: list[int] = []
    label = _label_file(file)
    if label.is_file():
        for number, line in enumerate(_lines_of(label, _MAX_LABEL_BYTES), 1):
            if not line.strip():
                continue
            found = _line(line, len(classes))
            if isinstance(found, str):
                problems.append(f"{label}:{number}: {found}")
                continue
            class_id, (x1, y1, x2, y2) = found
            class_ids.append(class_id)
            boxes.append((x1 * size_wh[0], y1 * size_wh[1], x2 * size_wh[0], y2 * size_wh[1]))
    return Image(
        path=file, size_wh=size_wh, labels=Labels.of(boxes, class_ids), labelled=frozenset(range(len(classes)))
    )


def _label_file(image: Path) -> Path:
    """`labels` in the place of the last `images` of the path, and the ending .txt."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _line(line: str, classes: int) -> tuple[int, tuple[float, float, float, float]] | str:
    """Class and corners in parts of the picture, or what is wrong with the line."""
    words = line.split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return f"expected numbers, got {line.strip()[:60]!r}"
    if len(numbers) != 5 and (len(numbers) < 7 or len(numbers) % 2 == 0):
        return f"expected a class and 4 numbers (or the corners of an outline), got {len(numbers)} numbers"
    if not numbers[0].is_integer() or not 0 <= numbers[0] < classes:
        return f"expected a class from 0 to {classes - 1}, got {words[0]}"
    corners = _corners(numbers[1:])
    if not all(map(math.isfinite, corners)) or min(corners) < -_SLACK or max(corners) > 1.0 + _SLACK:
        return f"expected numbers from 0 to 1, parts of the picture, got {' '.join(words[1:5])}"
    x1, y1, x2, y2 = corners
    if x2 <= x1 or y2 <= y1:
        return f"expected a box with an area, got {' '.join(words[1:5])}"
    return int(numbers[0]), corners


def _corners(values: Sequence[float]) -> tuple[float, float, float, float]:
    if len(values) == 4:
        x, y, width, height = values
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    xs, ys = values[0::2], values[1::2]
    return (min(xs), min(ys), max(xs), max(ys))
