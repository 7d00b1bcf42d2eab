"""What measuring asks of a GPU, as protocols; `on_cuda.py` has the real ones, the tests those of the host."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import torch

from engines.runtimes.surface_lanes import LaneKernels
from pipeline.bench.gpu.figures import GpuFacts, Utilization
from pipeline.bench.gpu.trace import Trace

Work = Callable[[int], None]
"""Begins something on the stream with that handle, and on torch's current one, which is the same; does not wait."""


class Watch(Protocol):
    """Looks at the driver's samples now and then."""

    def look(self) -> None: ...

    def seen(self) -> Utilization | None:
        """Of all looks; None where the driver does not tell."""
        ...


class Tracing(Protocol):
    """A trace that was begun."""

    def end(self) -> Trace: ...


class Instruments(Protocol):
    """One device to be measured."""

    @property
    def device(self) -> torch.device: ...

    @property
    def facts(self) -> GpuFacts: ...

    def here(self) -> AbstractContextManager[object]:
        """Within, the device is the calling thread's."""
        ...

    def kernels(self) -> LaneKernels: ...

    def times_ms(self, work: Work, repeats: int) -> list[float]:
        """By the device's clock, `repeats` times: what `work` begins, back to back, without the host between."""
        ...

    def watch(self) -> Watch: ...

    def trace(self) -> Tracing:
        """Begin to note all that the device does for this process. Raises EngineError where that is not to be had."""
        ...
