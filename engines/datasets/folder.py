"""A plain folder of images, without labels: enough for calibration, and for comparing two engines."""

from __future__ import annotations

from pathlib import Path

from engines.datasets.dataset import Dataset, Image
from engines.stills import SUFFIXES
from vedette.errors import DataError


def read_folder(path: Path) -> Dataset:
    """Every image file under `path`, in the order of their names. Raises DataError if there is none."""
    images = tuple(Image(path=file) for file in image_files(path))
    if not images:
        msg = f"{path}: expected images in this folder or below it ({', '.join(SUFFIXES)}), found none"
        raise DataError(msg)
    return Dataset(path=path, classes=(), images=images)


def image_files(folder: Path) -> list[Path]:
    """The image files under a folder, sorted; hidden ones are left out."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    )
