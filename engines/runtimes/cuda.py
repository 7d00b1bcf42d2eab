"""Lanes of a GPU: pinned memory, a stream and two events each, for TensorRT and for torch's CUDA graphs.

CUDA is reached through torch, not through cuda-bindings: the torch runtime needs it anyway, the extra `gpu` brings
both, streams, events and pinned tensors have one owner each there, and its context is the device's primary one, which
TensorRT and pycuda share. A lane's way: levels are copied to the device (a quarter of the bytes of floats), the
network runs, outputs are copied back into pinned memory; all on the lane's own stream, so that the copies of one lane
run beside the network of the other. Nobody waits but `finish`, on an event, without spinning.
Could not be run where it was written (no GPU): see tests/gpu.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from engines.engine import Outputs
from engines.runtimes.description import one_line
from engines.runtimes.lanes import Lane
from engines.types import SizeWH
from vedette.errors import EngineError

LANES = 2
"""A double buffer."""


class Runner(Protocol):
    """A network on one stream of the device; used by one lane. Raises EngineError, RuntimeError."""

    def prepare(self, levels: Tensor, sizes: tuple[int, ...]) -> Mapping[str, Tensor]:
        """Get ready to run on batches of `sizes`; `levels` (n, 3, H, W) uint8 is where they will lie for ever.

        Returns outputs of the largest size, for their shapes and types.
        """
        ...

    def run(self, levels: Tensor, size: int) -> Mapping[str, Tensor]:
        """Enqueue the network on the current stream; does not wait. Outputs have the batch first."""
        ...


def batch_sizes(most: int) -> tuple[int, ...]:
    """The batches that are run: powers of two, and the largest. Others are padded to the next one.

    A picture's numbers may differ in the last bits between these: who wants them always the same submits full batches.
    """
    return (*(1 << bit for bit in range(most.bit_length()) if 1 << bit < most), most)


class CudaLane(Lane):
    __slots__ = ("_back", "_ended", "_levels", "_pinned", "_runner", "_sizes", "_started", "_stream")

    def __init__(self, runner: Runner, size_wh: SizeWH, batch: int, index: int) -> None:
        width, height = size_wh
        self._pinned = torch.zeros((batch, 3, height, width), dtype=torch.uint8, pin_memory=True)
        super().__init__(self._pinned.numpy(), index)
        self._runner = runner
        self._sizes = batch_sizes(batch)
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own
        # blocking: whoever waits sleeps, and takes no core from the decoders
        self._started = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
        self._ended = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
        self._levels = torch.zeros((batch, 3, height, width), dtype=torch.uint8, device="cuda")
        torch.cuda.current_stream().synchronize()  # the zeros are there before another stream reads them
        with torch.cuda.stream(self._stream):
            outputs = runner.prepare(self._levels, self._sizes)
        self._back = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for name, tensor in outputs.items()
        }
        self._stream.synchronize()

    def start(self, count: int) -> None:
        size = next(size for size in self._sizes if size >= count)
        try:
            with torch.cuda.stream(self._stream):
                self._started.record()
                self._levels[:count].copy_(self._pinned[:count], non_blocking=True)
                for name, tensor in self._runner.run(self._levels, size).items():
                    self._back[name][:count].copy_(tensor[:count], non_blocking=True)
                self._ended.record()
        except RuntimeError as error:
            msg = f"the GPU did not start a run: {one_line(error)}"
            raise EngineError(msg) from error

    def finish(self) -> tuple[Outputs, int]:
        try:
            self._ended.synchronize()
            engine_ns = int(self._started.elapsed_time(self._ended) * 1e6)
        except RuntimeError as error:
            msg = f"the GPU failed: {one_line(error)}"
            raise EngineError(msg) from error
        return {name: tensor[: self.count].numpy() for name, tensor in self._back.items()}, engine_ns


def cuda_lanes(runner: Callable[[], Runner], size_wh: SizeWH, batch: int) -> list[Lane]:
    """Two lanes, each with a runner of its own. Raises EngineError if they do not fit into the GPU's memory."""
    try:
        return [CudaLane(runner(), size_wh, batch, index) for index in range(LANES)]
    except torch.cuda.OutOfMemoryError as error:
        msg = f"{torch.cuda.get_device_name()}: not enough memory for {LANES} batches of {batch}: {one_line(error)}"
        raise EngineError(msg, hint="a smaller model or input needs less") from error
