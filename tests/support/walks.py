"""Walkers as a detector would report them: known paths, sampled at any rate, with noise and misses of a fixed seed."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engines.types import Detections

SIZE_WH = (1280, 720)


@dataclass(frozen=True, kw_only=True)
class Walker:
    """Someone who walks in a straight line at `speed_px` a second, `height_px` tall, from `start_s` to `end_s`."""

    from_xy: tuple[float, float]
    speed_px: tuple[float, float]
    height_px: float
    start_s: float = 0.0
    end_s: float = math.inf

    def box(self, time_s: float) -> tuple[float, float, float, float] | None:
        if not self.start_s <= time_s <= self.end_s:
            return None
        since = time_s - self.start_s
        x = self.from_xy[0] + since * self.speed_px[0]
        y = self.from_xy[1] + since * self.speed_px[1]
        # The stride makes the box wider and narrower, as with real walkers.
        width = self.height_px * (0.36 + 0.06 * math.sin(2.0 * math.pi * 1.8 * time_s))
        return (x - width / 2.0, y - self.height_px, x + width / 2.0, y)


CROSSING = (
    Walker(from_xy=(60.0, 500.0), speed_px=(110.0, 4.0), height_px=170.0),
    Walker(from_xy=(1220.0, 560.0), speed_px=(-120.0, -3.0), height_px=180.0),
    Walker(from_xy=(640.0, 300.0), speed_px=(15.0, 12.0), height_px=110.0),
    Walker(from_xy=(200.0, 690.0), speed_px=(150.0, -22.0), height_px=220.0, start_s=2.0, end_s=8.5),
)
"""Two who cross each other in the middle, one who stands about, one who comes and leaves."""


def frame_times(duration_s: float, fps: float, *, keep: float = 1.0, seed: int = 0) -> list[float]:
    """When the frames are; `keep` of them, chosen at random, the first always."""
    dice = random.Random(seed)
    times = [i / fps for i in range(int(duration_s * fps) + 1)]
    return [t for i, t in enumerate(times) if i == 0 or keep >= 1.0 or dice.random() < keep]


def sightings(
    walkers: Sequence[Walker], times: Sequence[float], *, jitter: float = 0.025, miss: float = 0.06, seed: int = 0
) -> Iterator[tuple[float, Detections, list[int]]]:
    """For each time what a detector sees: (time, detections by score, whose box each is)."""
    dice = random.Random(seed)
    for time_s in times:
        rows: list[tuple[float, list[float], int]] = []
        for who, walker in enumerate(walkers):
            box = walker.box(time_s)
            if box is None or dice.random() < miss:
                continue
            sd = jitter * walker.height_px
            noisy = [min(max(edge + dice.gauss(0.0, sd), 0.0), SIZE_WH[i % 2]) for i, edge in enumerate(box)]
            if noisy[2] > noisy[0] and noisy[3] > noisy[1]:
                rows.append((round(dice.uniform(0.4, 0.9), 3), noisy, who))
        rows.sort(key=lambda row: -row[0])
        yield time_s, detections([row[1] for row in rows], [row[0] for row in rows]), [row[2] for row in rows]


def detections(
    boxes: Sequence[Sequence[float]], scores: Sequence[float] | None = None, class_ids: Sequence[int] | None = None
) -> Detections:
    """Detections of plain lists; score 0.8 and class 0 unless told."""
    count = len(boxes)
    return Detections(
        xyxy_px=np.array(boxes, np.float32).reshape(count, 4),
        scores=np.array([0.8] * count if scores is None else scores, np.float32),
        class_ids=np.array([0] * count if class_ids is None else class_ids, np.int32),
    )
