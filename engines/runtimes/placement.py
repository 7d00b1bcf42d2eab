"""Where a network is placed: on which GPUs, how often on each, and whether it fits there.

In:  `model.gpu` of the configuration, the GPUs that the driver has, and a `GpuRuntime`, which loads and measures.
Out: the lanes of all GPUs, of which an engine is made. Everything is taken at the start: a network that does not fit
is one line that says what to lower, and no crash under load.
Called by the runtimes that know GPUs (`torch.py`, `tensorrt.py`) and, for the GPUs alone, by `choice.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engines.options import GpuOptions
from engines.runtimes.gpus import Gpu, why_no_gpu
from engines.runtimes.lanes import Lane
from vedette.errors import EngineError, GpuError

MB = 1 << 20
"""As nvidia-smi counts."""


class GpuFullError(EngineError):
    """What was asked for is more than the GPU has left, or than this process may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    """Of one GPU at this moment, in bytes."""

    free: int
    total: int


class Network(Protocol):
    """A network in one GPU's memory."""

    def context(self, index: int) -> Lane:
        """What one run needs beside the network; `index` is the lane's. Raises GpuFullError, EngineError."""
        ...


class GpuRuntime(Protocol):
    """What placement asks of CUDA (`cuda.py`); the tests script it."""

    def memory(self, gpu: Gpu) -> GpuMemory:
        """Start to use the GPU, if that was not done yet. Raises EngineError."""
        ...

    def limit(self, gpu: Gpu, most_bytes: int) -> None:
        """Let this process take no more than that of it, as far as the runtime can see to it."""
        ...

    def load(self, gpu: Gpu) -> Network:
        """The network into the GPU's memory. Raises GpuFullError, EngineError."""
        ...


def chosen_gpus(options: GpuOptions, gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Those of `gpus` that the configuration names; the first, if it names none and there is one.

    Raises GpuError for one that is not there.
    """
    if options.devices is None:
        return tuple(gpus[:1])
    problems = []
    for number in options.devices:
        if number >= len(gpus):
            there = f"from 0 to {len(gpus) - 1}: {', '.join(map(str, gpus))}" if gpus else f"here, but {why_no_gpu()}"
            problems.append(f"model.gpu.devices: expected a GPU {there}, got {number}")
    if problems:
        raise GpuError("; ".join(problems))
    return tuple(gpus[number] for number in options.devices)


def said_of(gpus: Sequence[Gpu]) -> str:
    """The GPUs in a description: "NVIDIA H100", or "NVIDIA H100 (GPUs 0, 1)"."""
    if len(gpus) == 1 and gpus[0].index == 0:
        return gpus[0].name
    names = dict.fromkeys(gpu.name for gpu in gpus)
    numbers = {name: [str(gpu.index) for gpu in gpus if gpu.name == name] for name in names}
    return " and ".join(f"{name} (GPU{'s' * (len(own) > 1)} {', '.join(own)})" for name, own in numbers.items())


def place_lanes(options: GpuOptions, gpus: Sequence[Gpu], runtime: GpuRuntime, *, batch: int) -> list[Lane]:
    """`engines` networks on each GPU with `contexts` lanes each, for `batch` pictures a run.

    The lanes' order goes round the GPUs, so that the first frames are spread over them. Raises GpuError for what does
    not fit, with what to lower; EngineError for a network that the runtime does not take.
    """
    each = options.engines * options.contexts
    by_gpu = [
        _Filling(options, gpu, runtime, batch).lanes([turn * len(gpus) + place for turn in range(each)])
        for place, gpu in enumerate(gpus)
    ]
    return [lane for turn in zip(*by_gpu, strict=True) for lane in turn]


class _Filling:
    """One GPU while it is filled."""

    def __init__(self, options: GpuOptions, gpu: Gpu, runtime: GpuRuntime, batch: int) -> None:
        self._options = options
        self._gpu = gpu
        self._runtime = runtime
        self._batch = batch
        self._limit = None if options.memory_mb is None else options.memory_mb * MB
        self._before = self._memory()
        self._contexts = 0
        if self._limit is not None:
            if self._limit > self._before.free:
                free = f"{_mb(self._before.free)} that {gpu} has free of {_mb(self._before.total)}"
                msg = f"model.gpu.memory_mb: expected at most the {free}, got {options.memory_mb}; lower it"
                raise GpuError(msg)
            runtime.limit(gpu, self._limit)

    def lanes(self, indices: Sequence[int]) -> list[Lane]:
        lanes = []
        for index in indices:
            try:
                if self._contexts % self._options.contexts == 0:
                    network = self._runtime.load(self._gpu)
                lanes.append(network.context(index))
            except GpuFullError as error:
                raise GpuError(self._does_not_fit(error.message)) from error
            self._contexts += 1
            self._hold_limit()
        return lanes

    def _memory(self) -> GpuMemory:
        try:
            return self._runtime.memory(self._gpu)
        except EngineError as error:
            msg = f"{self._gpu} cannot be used: {error.message}"
            raise GpuError(msg) from error

    def _hold_limit(self) -> None:
        """What the runtime cannot see to (TensorRT's memory, CUDA's own) is measured."""
        if self._limit is None:
            return
        taken = self._before.free - self._memory().free
        if taken > self._limit:
            self._contexts -= 1
            why = f"it takes {_mb(taken)}, and model.gpu.memory_mb allows {_mb(self._limit)}"
            raise GpuError(self._does_not_fit(why))

    def _does_not_fit(self, why: str) -> str:
        options, fitted = self._options, self._contexts
        what = f"context {fitted % options.contexts + 1} of {options.contexts}"
        if options.engines > 1:
            what += f" of engine {fitted // options.contexts + 1} of {options.engines}"
        pictures = f"{self._batch} pictures" if self._batch > 1 else "one picture"
        memory = f"{_mb(self._before.free)} of {_mb(self._before.total)} were free at the start"
        return f"{self._gpu}: {what}, for {pictures} a run, does not fit ({why}; {memory}); {self._advice()}"

    def _advice(self) -> str:
        options, fitted = self._options, self._contexts
        ways = []
        if options.engines > 1:
            ways.append(f"model.gpu.engines ({options.engines})")
        if options.contexts > 1:
            ways.append(f"model.gpu.contexts ({options.contexts})")
        if self._batch > 1:
            ways.append(f"batch.max ({self._batch})")
        if not fitted:
            ways.append("the model's size")
        advice = f"lower {' or '.join(ways)}"
        return advice if self._limit is None else f"{advice}, or raise model.gpu.memory_mb"


def _mb(size: int) -> str:
    return f"{size // MB} MB"
