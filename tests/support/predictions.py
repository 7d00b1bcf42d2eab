"""Predictions and data sets made by hand: what an engine is said to have found, without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engines.datasets import Dataset, Image, Labels
from engines.types import Detections
from engines.validate import Predictions
from engines.validate.predictions import REACH, Found

Box = tuple[float, float, float, float]
Row = tuple[Box, float, int]
"""Box, score, class."""


def detections(rows: Sequence[Row]) -> Detections:
    ordered = sorted(rows, key=lambda row: -row[1])
    return Detections(
        xyxy_px=np.array([row[0] for row in ordered], np.float32).reshape(-1, 4),
        scores=np.array([row[1] for row in ordered], np.float32),
        class_ids=np.array([row[2] for row in ordered], np.int32),
    )


def image(
    boxes: Sequence[tuple[Box, int]] = (), *, labelled: Sequence[int] = (0,), crowd: Sequence[bool] | None = None
) -> Image:
    labels = Labels.of([box for box, _ in boxes], [class_id for _, class_id in boxes], crowd=crowd)
    return Image(path=Path("some.jpg"), labels=labels, labelled=frozenset(labelled))


def dataset(*images: Image, classes: tuple[str, ...] = ("person",)) -> Dataset:
    return Dataset(path=Path("set.json"), classes=classes, images=images)


def predictions(of: Dataset, *rows: Sequence[Row], shown_score: float = 0.5, name: str = "made") -> Predictions:
    """One sequence of rows for each image; those of `shown_score` and more are shown."""
    found = tuple(
        Found(
            size_wh=(200, 200),
            every=detections(one),
            shown=detections([row for row in one if row[1] >= shown_score]),
            near=detections([row for row in one if row[1] >= shown_score - REACH]),
        )
        for one in rows
    )
    return Predictions(
        model=name,
        sha256=name * 2,
        runtime=f"{name} engine",
        classes=of.classes,
        images=of.images,
        found=found,
        shown_score=shown_score,
    )
