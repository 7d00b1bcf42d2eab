"""Batches made of their plans on the device, where the data set lives: what `batches` does, for a GPU.

Processes on the host plan ahead; the pictures are made when they are asked for, by the thread that trains, in a few
hundred operations on the whole batch. Nothing of a picture crosses the bus.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import torch

from engines.train.ahead import planned_ahead
from engines.train.batches import Batch, plan_of
from engines.train.device_looks import change
from engines.train.device_warp import DevicePictures
from engines.train.planner import BatchOptions, BatchPlan
from engines.train.sample import Sample
from engines.train.targets import collate

_MOST = 0.5
"""Share of a GPU's free memory that pictures may take; the rest is for the training (a guess)."""

_MOST_PLANNERS = 4
"""A batch of 128 takes one of them some 60 ms (one core of an EPYC); on a GPU a step of N takes longer (a guess)."""


def fits(samples: Sequence[Sample], device: torch.device) -> bool:
    """Whether there is room for these pictures on the device."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return DevicePictures.bytes_of([sample.rgb for sample in samples]) < _MOST * free


class DeviceBatches:
    def __init__(
        self,
        samples: Sequence[Sample],
        weights: Sequence[float],
        options: BatchOptions,
        device: torch.device,
        *,
        extra: Sequence[Sequence[Sample]] = (),
    ) -> None:
        """As `Batches`; the samples' own pictures are not needed any more afterwards."""
        self.planner = plan_of(samples, weights, options, extra)
        self._pictures = DevicePictures([sample.rgb for one in (samples, *extra) for sample in one], device)
        self._device = device

    @property
    def steps_per_epoch(self) -> int:
        return self.planner.steps_per_epoch

    def make(self, step: int, *, calm: bool) -> Batch:
        """Batch number `step`, on the device; `calm`: pictures as running gives them, but for a mirror."""
        return self._made(self.planner.plan(step, calm=calm))

    @torch.no_grad()
    def _made(self, plan: BatchPlan) -> Batch:
        levels = change(self._pictures.warped(plan.pictures, plan.size_wh), [one.looks for one in plan.pictures])
        return Batch(
            levels=levels.to(torch.uint8),
            targets=collate(plan.truths, self.planner.options.classes).to(self._device),
            taught=(),
        )

    def stream(self, start: int, calm: Callable[[int], bool], *, threads: int, ahead: int = 8) -> Generator[Batch]:
        """As `BatchMaker` says; `ahead` are planned or being planned."""
        plans = planned_ahead(self.planner, start, calm, processes=min(threads, _MOST_PLANNERS), ahead=ahead)
        try:
            for plan in plans:
                yield self._made(plan)
        finally:
            plans.close()
