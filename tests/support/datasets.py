"""Small data sets that tests write: painted pictures in COCO's and in YOLO's form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.models import CLASSES, Box, painted

Things = Mapping[str, Box]


def write_picture(path: Path, size_wh: tuple[int, int], things: Things) -> Path:
    """A PNG with a rectangle of each colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.ascontiguousarray(painted(size_wh, things)[..., ::-1]))
    return path


def random_things(rng: np.random.Generator, size_wh: tuple[int, int]) -> dict[str, Box]:
    """One rectangle of each colour, side by side, so that none covers another."""
    width, height = size_wh
    third = width // 3
    things: dict[str, Box] = {}
    for index, colour in enumerate(CLASSES):
        left = index * third + int(rng.integers(1, third // 4))
        right = (index + 1) * third - int(rng.integers(1, third // 4))
        top, bottom = int(rng.integers(1, height // 3)), int(rng.integers(2 * height // 3, height - 1))
        things[colour] = (left, top, right, bottom)
    return things


def coco_document(
    pictures: Sequence[tuple[str, tuple[int, int], Things]], classes: Sequence[str] = CLASSES
) -> dict[str, Any]:
    """COCO JSON of (file name, size, things): what tests then change."""
    images, annotations = [], []
    for name, (width, height), things in pictures:
        images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
        for colour, (left, top, right, bottom) in things.items():
            box = [left, top, right - left, bottom - top]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": classes.index(colour) + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(classes)]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco_set(folder: Path, count: int, *, seed: int = 1, sizes: Sequence[tuple[int, int]] = ((120, 90),)) -> Path:
    """`count` painted pictures with a box for every thing in them. Returns the JSON file."""
    rng = np.random.default_rng(seed)
    pictures = []
    for index in range(count):
        size_wh = sizes[index % len(sizes)]
        things = random_things(rng, size_wh)
        write_picture(folder / "images" / f"{index:03d}.png", size_wh, things)
        pictures.append((f"{index:03d}.png", size_wh, things))
    return write_json(folder / "set.json", coco_document(pictures))


def write_json(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path
