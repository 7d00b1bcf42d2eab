"""A GPU to be measured: torch's events, graphs and profiler, and the driver's own samples (NVML).

CUPTI, by which torch's profiler sees all that the process has the GPU do, comes with torch.
Could not be run where it was written (no GPU): see tests/gpu.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from engines.cuda.compilers import find_compiler
from engines.cuda.loader import load_kernels
from engines.cuda.suppression import FLAGS
from engines.runtimes.gpus import Gpu
from engines.runtimes.surface_lanes import LaneKernels
from pipeline.bench.gpu.figures import GpuFacts
from pipeline.bench.gpu.instruments import Tracing, Watch, Work
from pipeline.bench.gpu.nvml import Nvml, NvmlWatch
from pipeline.bench.gpu.trace import Trace, read_trace
from vedette.errors import EngineError

WARM_UP = 3


class CudaInstruments:
    """`instruments.Instruments` of one GPU."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._nvml = Nvml.of(gpu)
        self.device = torch.device("cuda", gpu.index)
        properties = torch.cuda.get_device_properties(gpu.index)
        self.facts = GpuFacts(
            name=gpu.name,
            capability=gpu.sm,
            memory_mb=gpu.memory_bytes >> 20,
            l2_mb=round(properties.L2_cache_size / 2**20, 1),
            index=gpu.index,
            driver=self._nvml.driver if self._nvml else None,
            cuda=torch.version.cuda,
        )

    def here(self) -> AbstractContextManager[object]:
        return torch.cuda.device(self._gpu.index)

    def kernels(self) -> LaneKernels:
        compiler = find_compiler()
        return LaneKernels(
            preprocess=load_kernels("preprocess", self._gpu.capability, compiler=compiler),
            nms=load_kernels("nms", self._gpu.capability, flags=FLAGS, compiler=compiler),
        )

    def times_ms(self, work: Work, repeats: int) -> list[float]:
        """As a CUDA graph: what takes microseconds would else be measured by the time that Python takes to begin it."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own
        graph = torch.cuda.CUDAGraph()
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()  # what is worked on may have been made on another stream
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                work(stream.cuda_stream)
            stream.synchronize()
            with torch.cuda.graph(graph, stream=stream):
                work(stream.cuda_stream)
            graph.replay()
            for began, ended in events:
                began.record(stream)
                graph.replay()
                ended.record(stream)
        stream.synchronize()
        return [float(began.elapsed_time(ended)) for began, ended in events]

    def watch(self) -> Watch:
        return NvmlWatch(self._nvml)

    def trace(self) -> Tracing:
        return _ProfilerTrace()


class _ProfilerTrace:
    def __init__(self) -> None:
        from torch.profiler import ProfilerActivity, profile, supported_activities

        if ProfilerActivity.CUDA not in supported_activities():  # type: ignore[no-untyped-call]  # torch's own
            msg = f"torch {torch.__version__} has no profiler for GPUs (CUPTI)"
            raise EngineError(msg)
        self._profiler = profile(activities=[ProfilerActivity.CUDA])
        _told(self._profiler.start)

    def end(self) -> Trace:
        """Raises EngineError for a trace in which the GPU has done nothing: then nobody has looked."""
        torch.cuda.synchronize()
        _told(self._profiler.stop)
        with tempfile.TemporaryDirectory(prefix="vedette-trace-") as folder:
            path = Path(folder) / "trace.json"
            _told(lambda: self._profiler.export_chrome_trace(str(path)))
            trace = read_trace(path)
        if not trace.operations:
            msg = "torch's profiler has seen nothing on the GPU: CUPTI may not look here"
            raise EngineError(msg)
        return trace


def _told(call: Callable[[], object]) -> None:
    """The profiler's own errors, as ours. Raises EngineError."""
    try:
        call()
    except RuntimeError as error:
        msg = f"torch's profiler failed: {error}"
        raise EngineError(msg) from error
