"""Data sets as people have them: COCO JSON, YOLO folders, or a plain folder of images.

`open_dataset` tells which by what it is given. Nothing is decoded yet; images are read when they are used.
"""

from __future__ import annotations

from pathlib import Path

from engines.datasets.class_map import ClassMap, match_classes, parse_map
from engines.datasets.coco import read_coco
from engines.datasets.dataset import Dataset, Image, Labels
from engines.datasets.folder import read_folder
from engines.datasets.yolo import read_yolo
from vedette.errors import DataError

__all__ = ["ClassMap", "Dataset", "Image", "Labels", "match_classes", "open_dataset", "parse_map"]


def open_dataset(path: Path, *, images: Path | None = None, split: str = "val") -> Dataset:
    """A data set: a COCO JSON file, a `data.yaml` or its folder, `vedette synth`'s folder, or a folder of images.

    `images` is the folder of a JSON file's images, if they are not beside it; `split` the part of a `data.yaml`.
    Raises DataError naming what is wrong and where.
    """
    if not path.exists():
        msg = f"{path}: no such file or folder"
        raise DataError(msg, hint="expected COCO JSON, data.yaml, or a folder of images")
    if path.is_dir():
        if (path / "data.yaml").is_file() or ((path / "images").is_dir() and (path / "labels").is_dir()):
            return read_yolo(path, split)
        if (path / "annotations.json").is_file():
            return read_coco(path / "annotations.json", images)
        return read_folder(path)
    if path.suffix.lower() in {".yaml", ".yml"}:
        return read_yolo(path, split)
    if path.suffix.lower() == ".json":
        return read_coco(path, images)
    msg = f"{path}: expected COCO JSON (.json), data.yaml, or a folder of images"
    raise DataError(msg)
