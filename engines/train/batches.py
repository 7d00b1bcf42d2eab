"""Batches made of their plans by worker threads on the host, ahead of the training.

OpenCV, numpy's copies and the teachers release the interpreter's lock, so threads do. `device_batches` takes the place
of this where pictures live on a GPU; the run knows `Batch` and `BatchMaker` alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from engines.train.ahead import in_order
from engines.train.appearance import changed
from engines.train.planner import BatchOptions, PicturePlan, Planner
from engines.train.sample import Sample
from engines.train.targets import Targets, collate
from engines.train.teachers import LevelsTeacher, Taught
from engines.train.warp import warped
from engines.types import U8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """`levels` (n, 3, H, W) uint8 RGB on any device; what is in them; what teachers on the host say of them."""

    levels: Tensor
    targets: Targets
    taught: tuple[Taught, ...]

    def parts(self, count: int) -> tuple[Batch, ...]:
        """Cut into `count`, alike but for one picture; fewer if there are fewer pictures."""
        n = len(self.levels)
        if min(count, n) == 1:
            return (self,)
        edges = [n * index // min(count, n) for index in range(min(count, n) + 1)]
        rows = [slice(low, high) for low, high in itertools.pairwise(edges)]
        return tuple(
            Batch(
                levels=self.levels[one],
                targets=self.targets.part(one),
                taught=tuple(teacher.part(one) for teacher in self.taught),
            )
            for one in rows
        )


class BatchMaker(Protocol):
    """What a run takes its batches from."""

    @property
    def steps_per_epoch(self) -> int: ...

    def stream(self, start: int, calm: Callable[[int], bool], *, threads: int) -> Generator[Batch]:
        """Batches from `start` on, without end. Close it when done."""
        ...


class Batches:
    def __init__(
        self,
        samples: Sequence[Sample],
        weights: Sequence[float],
        options: BatchOptions,
        *,
        extra: Sequence[Sequence[Sample]] = (),
        teachers: Sequence[LevelsTeacher] = (),
    ) -> None:
        """`weights`, `extra`: see `Planner`. `teachers` look at each batch when it is made."""
        self.planner = plan_of(samples, weights, options, extra)
        self._pictures = [sample.rgb for one in (samples, *extra) for sample in one]
        self._teachers = teachers

    @property
    def steps_per_epoch(self) -> int:
        return self.planner.steps_per_epoch

    def make(self, step: int, *, calm: bool) -> Batch:
        """Batch number `step`; `calm`: pictures as running gives them, but for a mirror."""
        plan = self.planner.plan(step, calm=calm)
        levels = np.stack([self._picture(one) for one in plan.pictures])
        return Batch(
            levels=torch.from_numpy(np.ascontiguousarray(levels.transpose(0, 3, 1, 2))),
            targets=collate(plan.truths, self.planner.options.classes),
            taught=tuple(teacher.look(levels) for teacher in self._teachers),
        )

    def _picture(self, plan: PicturePlan) -> U8:
        return changed(warped(plan.layout, [self._pictures[row] for row in plan.rows]), plan.looks)

    def stream(self, start: int, calm: Callable[[int], bool], *, threads: int, ahead: int = 4) -> Generator[Batch]:
        """As `BatchMaker` says; `ahead` of them are made or being made."""
        with ThreadPoolExecutor(threads, "batches") as pool:
            yield from in_order(lambda step: pool.submit(self.make, step, calm=calm(step)), start, max(ahead, threads))


def plan_of(
    samples: Sequence[Sample],
    weights: Sequence[float],
    options: BatchOptions,
    extra: Sequence[Sequence[Sample]],
) -> Planner:
    """The planner over what is known of these pictures."""
    known = [[sample.known for sample in one] for one in (samples, *extra)]
    return Planner(known[0], weights, options, extra=known[1:])
