"""NVIDIA's GPUs as `device_lanes.py` and `placement.py` need them: streams, events, pinned memory, how much is free.

CUDA is reached through torch, not through cuda-bindings: the torch runtime needs it anyway, the extra `gpu` brings
both, streams, events and pinned tensors have one owner each there, and its context is the device's primary one, which
TensorRT and pycuda share. Whoever waits for an event sleeps: no core is taken from the decoders.
Could not be run where it was written (no GPU): see tests/gpu.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engines.cuda.compilers import Compiler, find_compiler
from engines.cuda.loader import load_kernels
from engines.cuda.suppression import FLAGS
from engines.options import ModelOptions
from engines.runtimes.description import one_line
from engines.runtimes.device_lanes import Device, DeviceLane, Runner
from engines.runtimes.gpus import Gpu
from engines.runtimes.graphs import Given, NotCapturedError
from engines.runtimes.lanes import Lane
from engines.runtimes.placement import GpuFullError, GpuMemory, Network
from engines.spec import ModelSpec
from engines.suppression import rules_of
from vedette.errors import EngineError, GpuError

if TYPE_CHECKING:
    from engines.runtimes.surface_lanes import LaneKernels

# How CUDA, cuDNN and cuBLAS say that memory is used up where torch has no exception of its own for it.
_FULL = ("out of memory", "ALLOC_FAILED", "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED")
# And what torch says when cuDNN could run none of its plans, whether each ran out of memory or none was there.
_NO_PLAN = "unable to find an engine to execute this computation"


class CudaStream:
    def __init__(self) -> None:
        """On the current device."""
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own
        self._began = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
        self._ended = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
        self._decoded = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's own
        self._pool = torch.cuda.graph_pool_handle()  # of all graphs that are captured here
        self._first = _first_moment(self._stream.device)
        self._marks: list[torch.cuda.Event] = []  # made when the first run is measured, and kept
        self._marked = 0

    @property
    def handle(self) -> int:
        return int(self._stream.cuda_stream)

    @contextmanager
    def here(self) -> Iterator[None]:
        # Within its device: torch, leaving a stream, goes back to the one before, and if that is of another GPU, makes
        # that GPU current, for which CUDA 12 takes some hundred megabytes there. Leaving a device does not.
        with torch.cuda.device(self._stream.device), torch.cuda.stream(self._stream):
            yield

    def named(self, name: str) -> AbstractContextManager[object]:
        """An NVTX range, which Nsight Systems shows above the kernels that were launched in it."""
        given: AbstractContextManager[object] = torch.cuda.nvtx.range(name)
        return given

    def begin(self) -> None:
        self._began.record(self._stream)
        self._marked = 0

    def mark(self) -> None:
        if self._marked == len(self._marks):
            self._marks.append(torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
        self._marks[self._marked].record(self._stream)
        self._marked += 1

    def end(self) -> None:
        self._ended.record(self._stream)

    def capture(self, work: Callable[[], Given]) -> tuple[Callable[[], None], Given]:
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may go on: they have streams of their own.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                given = work()
        except (RuntimeError, EngineError) as error:
            # The end of a capture that has failed fails, too: what came first is the reason.
            first = _first_of(error)
            if _says_full(first):
                raise first from None
            raise NotCapturedError(one_line(first)) from error
        return graph.replay, given

    def after_decoder(self) -> None:
        self._decoded.record(torch.cuda.default_stream(self._stream.device))
        self._stream.wait_event(self._decoded)

    def wait(self) -> int:
        self._ended.synchronize()
        return int(self._began.elapsed_time(self._ended) * 1e6)

    def marked(self) -> tuple[float, ...]:
        points = [self._first, self._began, *self._marks[: self._marked], self._ended]
        return tuple(first.elapsed_time(second) for first, second in itertools.pairwise(points))


@functools.cache
def _first_moment(device: torch.device) -> torch.cuda.Event:
    """An event of the device that all its streams count from: when the first of them was made."""
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    with torch.cuda.device(device):
        event.record()
    event.synchronize()
    return event


class CudaDevice:
    """One GPU; used where it is torch's current device."""

    def __init__(self, gpu: Gpu) -> None:
        self.torch_device = torch.device("cuda", gpu.index)
        self.gpu = gpu.index

    def stream(self) -> CudaStream:
        return CudaStream()

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, pin_memory=True)


Load = Callable[[Gpu], Callable[[], Runner]]
"""Loads a network on the current device, which is the GPU given; what it returns makes a runner for one lane."""


MakeLane = Callable[[Device, Gpu, Runner, int], Lane]
"""A lane with that index, on the current device."""


def lane_maker(spec: ModelSpec, options: ModelOptions, batch: int, *, one_size: bool = False) -> MakeLane:
    """Lanes that take pictures from where the configuration has them decoded; `one_size`: see `DeviceLane`.

    Raises ModelError for a network that the kernels do not serve, MissingExtraError without a compiler for them.
    """
    if options.gpu.decode == "cpu":
        return lambda device, _, runner, index: DeviceLane(
            device, runner, spec.input.size, batch, index, one_size=one_size
        )
    from engines.runtimes.surface_lanes import SurfaceLane, check_head

    check_head(spec)
    rules = rules_of(spec, options)
    compiler = find_compiler()
    kernels = functools.cache(functools.partial(_kernels, compiler))
    return lambda device, gpu, runner, index: SurfaceLane(
        device, runner, spec, rules, kernels(gpu), batch, index, one_size=one_size
    )


def _kernels(compiler: Compiler, gpu: Gpu) -> LaneKernels:
    """On the current device, which is that GPU."""
    from engines.runtimes.surface_lanes import LaneKernels

    return LaneKernels(
        preprocess=load_kernels("preprocess", gpu.capability, compiler=compiler),
        nms=load_kernels("nms", gpu.capability, flags=FLAGS, compiler=compiler),
    )


def decoding_said(options: ModelOptions) -> str:
    """What an engine's description adds for pictures that stay on the GPU."""
    return ", pictures stay on the GPU" if options.gpu.decode == "gpu" else ""


class CudaRuntime:
    """`placement.GpuRuntime`: `load` brings the network, `lane` makes its lanes."""

    def __init__(self, load: Load, lane: MakeLane) -> None:
        self._load = load
        self._lane = lane

    def memory(self, gpu: Gpu) -> GpuMemory:
        try:
            free, total = torch.cuda.mem_get_info(gpu.index)
        except RuntimeError as error:
            raise EngineError(one_line(error)) from error
        return GpuMemory(free=free, total=total)

    def limit(self, gpu: Gpu, most_bytes: int) -> None:
        share = min(1.0, most_bytes / self.memory(gpu).total)
        torch.cuda.set_per_process_memory_fraction(share, gpu.index)

    def load(self, gpu: Gpu) -> Network:
        with taking(gpu), torch.cuda.device(gpu.index):
            return _CudaNetwork(self._load(gpu), gpu, self._lane)


class _CudaNetwork:
    def __init__(self, runner: Callable[[], Runner], gpu: Gpu, lane: MakeLane) -> None:
        self._runner = runner
        self._gpu = gpu
        self._lane = lane

    def context(self, index: int) -> Lane:
        with taking(self._gpu), torch.cuda.device(self._gpu.index):
            return self._lane(CudaDevice(self._gpu), self._gpu, self._runner(), index)


def _first_of(error: BaseException) -> BaseException:
    """What was raised before all that came of it."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _says_full(error: BaseException) -> bool:
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(said in str(error) for said in (*_FULL, _NO_PLAN))


@contextmanager
def taking(gpu: Gpu) -> Iterator[None]:
    """What CUDA refuses within, in our words. Raises GpuFullError, GpuError."""
    try:
        yield
    except RuntimeError as error:
        if _NO_PLAN in str(error):
            msg = f"{one_line(error)}: too little memory, or model.precision is one that this GPU does not compute in"
            raise GpuFullError(msg) from error
        if _says_full(error):
            raise GpuFullError(one_line(error)) from error
        msg = f"{gpu} failed at the start: {one_line(error)}"
        raise GpuError(msg) from error
