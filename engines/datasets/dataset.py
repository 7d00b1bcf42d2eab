"""What a data set is, whatever form its files have: pictures, and what people say is in them.

Made by the readers beside this file (`coco`, `yolo`, `folder`); used by calibration, validation and training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.types import F32, I32, SizeWH
from vedette.errors import DataError

F64 = npt.NDArray[np.float64]

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labels:
    """The boxes of one picture.

    `xyxy_px` (N, 4) float32, pixels of the picture; `class_ids` (N,) int32; `areas_px` (N,) float64, that of the
    object where the data set says it (COCO: of its outline), else of its box; `crowd` (N,) bool: neither an object to
    be found nor background.
    """

    xyxy_px: F32
    class_ids: I32
    areas_px: F64
    crowd: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.class_ids)

    @classmethod
    def none(cls) -> Labels:
        return cls.of([], [])

    @classmethod
    def of(
        cls,
        xyxy_px: Sequence[Sequence[float]],
        class_ids: Sequence[int],
        areas_px: Sequence[float] | None = None,
        crowd: Sequence[bool] | None = None,
    ) -> Labels:
        """Labels from plain lists; areas default to those of the boxes, crowd to none."""
        boxes = np.array(xyxy_px, np.float32).reshape(-1, 4)
        sides: F64 = np.array(xyxy_px, np.float64).reshape(-1, 4)
        areas: F64 = np.prod(sides[:, 2:] - sides[:, :2], axis=1)
        return cls(
            xyxy_px=boxes,
            class_ids=np.array(class_ids, np.int32),
            areas_px=areas if areas_px is None else np.array(areas_px, np.float64),
            crowd=np.zeros(len(boxes), np.bool_) if crowd is None else np.array(crowd, np.bool_),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Image:
    """One picture of a data set.

    `labelled` are the classes of which *every* object in it has a box: a class that is not in it may be in view
    without one. `size_wh` is None where the data set does not say it. `part` names where it is from, "" if unsaid.
    `id` is what the data set itself calls it, "" where it has nothing but the file's name.
    """

    path: Path
    size_wh: SizeWH | None = None
    labels: Labels = field(default_factory=Labels.none)
    labelled: frozenset[int] = frozenset()
    part: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Pictures in a fixed order. `path` is what was opened; `classes` is empty for pictures without labels."""

    path: Path
    classes: tuple[str, ...]
    images: tuple[Image, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def is_labelled(self) -> bool:
        """Whether anything in it can be counted."""
        return any(image.labelled for image in self.images)

    def chosen(self, wanted: Callable[[Image], bool]) -> Dataset:
        """The data set with some of its images."""
        return replace(self, images=tuple(image for image in self.images if wanted(image)))

    def spread(self, count: int) -> Dataset:
        """`count` of its images, evenly spread over the whole; all of them if there are no more."""
        if count >= len(self.images):
            return self
        step = len(self.images) / count
        return replace(self, images=tuple(self.images[int(index * step)] for index in range(count)))


def refuse(problems: Sequence[str], *, hint: str | None = None) -> DataError:
    """An error of the first few problems and the number of the others."""
    shown = list(problems[:_SHOWN])
    if len(problems) > _SHOWN:
        shown[-1] += f" (and {len(problems) - _SHOWN} more like these)"
    return DataError(shown, hint=hint)
