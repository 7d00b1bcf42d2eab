"""Differences between two ways of computing the same, gathered by stage: the rows of a parity report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

Stage = Literal["pre-process", "network", "head", "suppression", "boxes", "end to end"]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage made of the same input in two ways: the largest difference in all images, and what is allowed.

    `limit` None: shown for information. `image` is where it was largest, None if there was no difference anywhere.
    """

    stage: Stage
    what: str
    unit: str
    largest: float
    mean: float
    limit: float | None
    image: str | None

    @property
    def good(self) -> bool:
        return self.limit is None or self.largest <= self.limit


@dataclass(slots=True)
class _Row:
    unit: str
    limit: float | None
    largest: float = 0.0
    image: str | None = None
    means: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Count:
    wrong: int = 0
    of: int = 0
    most: int = 0
    image: str | None = None


class Differences:
    """Takes differences image by image; rows come out in the order in which they first went in."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Stage, str], _Row | _Count] = {}

    def add(
        self, stage: Stage, what: str, apart: npt.NDArray[Any], *, unit: str, limit: float | None, image: Path
    ) -> None:
        """`apart` are absolute differences in an array of any shape, also an empty one; NaN counts as infinite."""
        row = self._rows.setdefault((stage, what), _Row(unit=unit, limit=limit))
        assert isinstance(row, _Row)
        if not apart.size:
            return
        largest = float(np.max(np.nan_to_num(apart, nan=np.inf, posinf=np.inf)))
        row.means.append(float(np.mean(apart)))
        if largest > row.largest:
            row.largest, row.image = largest, str(image)

    def count(self, stage: Stage, what: str, wrong: npt.NDArray[np.bool_], *, image: Path) -> None:
        """Which of some boxes are wrong. Over all images, few may be: see `allowed`."""
        row = self._rows.setdefault((stage, what), _Count())
        assert isinstance(row, _Count)
        found = int(wrong.sum())
        row.wrong += found
        row.of += len(wrong)
        if found > row.most:
            row.most, row.image = found, str(image)

    def rows(self, *, allowed: float) -> tuple[Difference, ...]:
        """`allowed` is the part of counted boxes that may be wrong; a single one may be in any case."""
        return tuple(
            _counted(stage, what, row, allowed) if isinstance(row, _Count) else _measured(stage, what, row)
            for (stage, what), row in self._rows.items()
        )


def _measured(stage: Stage, what: str, row: _Row) -> Difference:
    return Difference(
        stage=stage,
        what=what,
        unit=row.unit,
        largest=row.largest,
        mean=float(np.mean(row.means)) if row.means else 0.0,
        limit=row.limit,
        image=row.image,
    )


def _counted(stage: Stage, what: str, row: _Count, allowed: float) -> Difference:
    return Difference(
        stage=stage,
        what=what,
        unit=f"of {row.of}",
        largest=float(row.wrong),
        mean=row.wrong / row.of if row.of else 0.0,
        limit=max(1.0, float(int(allowed * row.of))),
        image=row.image,
    )
