"""The host's memory as a GPU that is measured: the real kernels, compiled for the host; made-up samples and traces."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch

from engines.runtimes.surface_lanes import LaneKernels
from pipeline.bench.gpu.figures import GpuFacts, Utilization
from pipeline.bench.gpu.instruments import Tracing, Watch, Work
from pipeline.bench.gpu.trace import Trace
from tests.engines.cuda.host import HostKernels
from vedette.errors import EngineError


@dataclass
class HostInstruments:
    """`pipeline.bench.gpu.instruments.Instruments`; `traced` None: traces are not to be had."""

    traced: Trace | None = None
    driver_tells: bool = True
    l2_mb: float = 0.0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    preprocess: HostKernels = field(default_factory=lambda: HostKernels("host_preprocess"))

    @property
    def facts(self) -> GpuFacts:
        return GpuFacts(name="the host's memory", capability="sm_00", memory_mb=1, l2_mb=self.l2_mb)

    def here(self) -> AbstractContextManager[object]:
        return nullcontext()

    def kernels(self) -> LaneKernels:
        return LaneKernels(preprocess=self.preprocess, nms=HostKernels("host_nms"))

    def times_ms(self, work: Work, repeats: int) -> list[float]:
        found = []
        for _ in range(repeats):
            began_ns = time.monotonic_ns()
            work(0)
            found.append(max(1, time.monotonic_ns() - began_ns) / 1e6)
        return found

    def watch(self) -> Watch:
        return _Watch(self.driver_tells)

    def trace(self) -> Tracing:
        if self.traced is None:
            msg = "nobody looks here"
            raise EngineError(msg)
        return _Tracing(self.traced)


class _Watch:
    def __init__(self, tells: bool) -> None:
        self._tells = tells
        self._looks = 0

    def look(self) -> None:
        self._looks += 1

    def seen(self) -> Utilization | None:
        return Utilization(gpu=0.9, decoder=0.5, samples=self._looks) if self._tells and self._looks else None


@dataclass
class _Tracing:
    trace: Trace

    def end(self) -> Trace:
        return self.trace
