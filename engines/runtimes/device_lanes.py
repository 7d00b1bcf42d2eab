"""Lanes of a device: pinned memory and a stream of its own each, for TensorRT and for torch's CUDA graphs.

A lane's way: levels are copied to the device (a quarter of the bytes of floats), the network runs, outputs are copied
back into pinned memory; all on the lane's own stream, so that the copies of one lane run beside the network of the
other. Nobody waits but `finish`. What a device has to offer is a protocol: `cuda.py` is the real one; the tests run
the same lanes on a device that is the host's memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from engines.engine import Outputs
from engines.runtimes.description import one_line
from engines.runtimes.graphs import Given, Graphs
from engines.runtimes.lanes import Lane
from engines.runtimes.stage_times import BatchTimes, Recorder
from engines.types import SizeWH
from vedette.errors import EngineError


class Stream(Protocol):
    """Work on a device, in order, begun without waiting. One run at a time is between `begin` and `wait`."""

    @property
    def handle(self) -> int:
        """What kernels are launched on."""
        ...

    def here(self) -> AbstractContextManager[object]:
        """What torch is asked within is done on this stream, and on its device."""
        ...

    def named(self, name: str) -> AbstractContextManager[object]:
        """What is begun within carries that name in a profiler."""
        ...

    def begin(self) -> None:
        """A run begins: its time counts from when the device gets here."""
        ...

    def mark(self) -> None:
        """The next stage of the run begins: only for measurements, see `marked`."""
        ...

    def end(self) -> None: ...

    def capture(self, work: Callable[[], Given]) -> tuple[Callable[[], None], Given]:
        """Record what `work` begins here, instead of doing it: what begins it all at once, and where its outputs lie.

        Raises NotCapturedError for what the device does not record; RuntimeError where memory is used up.
        """
        ...

    def after_decoder(self) -> None:
        """What comes next waits for what decoders have begun, on the device's default stream."""
        ...

    def wait(self) -> int:
        """Wait until the device has come to `end`; the nanoseconds since `begin`. Raises RuntimeError."""
        ...

    def marked(self) -> tuple[float, ...]:
        """Of a run that was waited for, in milliseconds: when it began, and how long each stage between marks took.

        Beginnings are counted from a moment that all streams of a device share.
        """
        ...


class Device(Protocol):
    """A device as lanes need it."""

    @property
    def torch_device(self) -> torch.device: ...

    @property
    def gpu(self) -> int | None:
        """Its number, if it is a GPU."""
        ...

    def stream(self) -> Stream: ...

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Zeros in the host's memory from and to which the device copies by itself."""
        ...


class Runner(Protocol):
    """A network on one stream of the device; used by one lane. Raises EngineError, RuntimeError."""

    @property
    def takes(self) -> torch.dtype:
        """The type of the network's own input: uint8 for levels, else that of the values which it makes of them."""
        ...

    def prepare(self, levels: Tensor, sizes: tuple[int, ...]) -> Given:
        """Get ready to run on batches of `sizes`; `levels` (n, 3, H, W) uint8 is where they will lie for ever.

        Of the type that it `takes`, they are the network's values, and what is written there is its input.

        Returns outputs of the largest size, for their shapes and types.
        """
        ...

    def run(self, levels: Tensor, size: int) -> Given:
        """Enqueue the network on the current stream; does not wait. Outputs have the batch first.

        For each size always the same operations on the same memory, so that they can be captured (`graphs.py`).
        """
        ...


def batch_sizes(most: int) -> tuple[int, ...]:
    """The batches that are run: powers of two, and the largest. Others are padded to the next one.

    A picture's numbers may differ in the last bits between these: who wants them always the same has lanes of one size.
    """
    return (*(1 << bit for bit in range(most.bit_length()) if 1 << bit < most), most)


class DeviceLane(Lane):
    """One lane; everything it needs is taken when it is made. Raises RuntimeError, EngineError."""

    __slots__ = (
        "_back", "_bytes", "_device", "_graphs", "_levels", "_names", "_pinned", "_recorded", "_recorder",
        "_runner", "_size", "_sizes", "_stream",
    )  # fmt: skip

    def __init__(
        self, device: Device, runner: Runner, size_wh: SizeWH, batch: int, index: int, *, one_size: bool = False
    ) -> None:
        """`one_size`: every run is padded to the full batch, so that a picture's numbers do not depend on how many
        happened to wait beside it.
        """
        width, height = size_wh
        self._pinned = device.pinned((batch, 3, height, width), torch.uint8)
        super().__init__(self._pinned.numpy(), index)
        self._device = device
        self._runner = runner
        self._sizes = (batch,) if one_size else batch_sizes(batch)
        self._names = {size: f"vedette: network, batch {size}" for size in self._sizes}
        self._stream = device.stream()
        self._recorder: Recorder | None = None
        self._recorded: Recorder | None = None
        with self._stream.here():
            kind = self._input_type()
            self._levels = torch.zeros((batch, 3, height, width), dtype=kind, device=device.torch_device)
            self._graphs = Graphs(runner, self._stream, self._levels)
            self._prepare(self._graphs.capture(self._sizes))
            self.uncaptured = self._graphs.why_not
            self._stream.begin()
            self._stream.end()
        self._stream.wait()

    def record(self, recorder: Recorder | None) -> None:
        """Have the stages of what is started from now on measured, and told; None: no longer."""
        self._recorder = recorder

    def start(self, count: int) -> None:
        self._size = next(size for size in self._sizes if size >= count)
        self._recorded = self._recorder
        stream = self._stream
        try:
            with stream.here():
                self._await()  # before the run begins: waiting for decoders is no work of the engine's
                stream.begin()
                with stream.named("vedette: input"):
                    copied = self._fill(count)
                self._mark()
                with stream.named("vedette: pre-processing"):
                    self._preprocess()
                self._mark()
                with stream.named(self._names[self._size]):
                    outputs = self._graphs.run(self._size)
                self._mark()
                with stream.named("vedette: output"):
                    self._bytes = copied, self._fetch(outputs, count)
                stream.end()
        except RuntimeError as error:
            self._abandon()
            msg = f"the GPU did not start a run: {one_line(error)}"
            raise EngineError(msg) from error
        except EngineError:
            self._abandon()
            raise

    def finish(self) -> tuple[Outputs, int]:
        try:
            engine_ns = self._stream.wait()
            if self._recorded is not None:
                self._recorded(self._times())
        except RuntimeError as error:
            msg = f"the GPU failed: {one_line(error)}"
            raise EngineError(msg) from error
        return self._given(), engine_ns

    def start_network(self) -> None:
        """The network alone, a full batch of what lies in its input: for measurements. Raises RuntimeError."""
        with self._stream.here():
            self._stream.begin()
            self._graphs.run(self._sizes[-1])
            self._stream.end()

    def network_ns(self) -> int:
        """Wait for what `start_network` began; the nanoseconds that it took. Raises RuntimeError."""
        return self._stream.wait()

    def _mark(self) -> None:
        if self._recorded is not None:
            self._stream.mark()

    def _times(self) -> BatchTimes:
        began, into, prepared, network, output = self._stream.marked()
        return BatchTimes(
            lane=self.index,
            device=str(self._device.torch_device),
            count=self.count,
            size=self._size,
            began_ms=began,
            input_ms=into,
            preprocess_ms=prepared,
            network_ms=network,
            output_ms=output,
            to_device_bytes=self._bytes[0],
            to_host_bytes=self._bytes[1],
        )

    def _abandon(self) -> None:
        """A run failed half-way: wait for what was begun of it, which reads from the buffer that is handed back."""
        with contextlib.suppress(RuntimeError):  # a device that fails has said so already
            with self._stream.here():
                self._stream.end()
            self._stream.wait()

    # What a lane does before and after the network, on its stream; and what it then has for whoever waits.

    def _input_type(self) -> torch.dtype:
        return torch.uint8

    def _prepare(self, outputs: Given) -> None:
        """Take what `_fetch` needs; `outputs` are those of the largest batch."""
        self._back = {name: self._device.pinned(tuple(given.shape), given.dtype) for name, given in outputs.items()}

    def _await(self) -> None:
        """Have the stream wait for whoever writes what the run reads."""

    def _fill(self, count: int) -> int:
        """Copy what the device has to have; how many bytes."""
        self._levels[:count].copy_(self._pinned[:count], non_blocking=True)
        return self._pinned[:count].nbytes

    def _preprocess(self) -> None:
        """Make the network's input of what is there."""

    def _fetch(self, outputs: Given, count: int) -> int:
        """Copy what the host is to have; how many bytes."""
        for name, tensor in outputs.items():
            self._back[name][:count].copy_(tensor[:count], non_blocking=True)
        return sum(back[:count].nbytes for back in self._back.values())

    def _given(self) -> Outputs:
        return {name: tensor[: self.count].numpy() for name, tensor in self._back.items()}
