"""The host's memory as a device: what `engines/runtimes/device_lanes.py` asks of CUDA, done at once and in order.

The lanes run on it as they do on a GPU, but for what only a GPU can do: nothing overlaps. What is captured is done
again when it is replayed, into the memory of the outputs that it had when it was captured.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from engines.runtimes.graphs import Given, NotCapturedError
from engines.runtimes.torch_network import TorchNetwork, TorchRunner


class HostStream:
    handle = 0

    def __init__(self) -> None:
        self.runs = self.waited_for_decoders = self.captures = self.replays = self.waits = 0
        self.order: list[str] = []
        self.refuses: str | None = None
        self.names: list[str] = []
        self._began_ns = self._ended_ns = 0
        self._marks_ns: list[int] = []

    def here(self) -> AbstractContextManager[object]:
        return nullcontext()

    def named(self, name: str) -> AbstractContextManager[object]:
        self.names.append(name)
        return nullcontext()

    def begin(self) -> None:
        self.order.append("begin")
        self._began_ns = time.monotonic_ns()
        self._marks_ns = []

    def mark(self) -> None:
        self._marks_ns.append(time.monotonic_ns())

    def end(self) -> None:
        self._ended_ns = time.monotonic_ns()
        self.runs += 1

    def capture(self, work: Callable[[], Given]) -> tuple[Callable[[], None], Given]:
        if self.refuses is not None:
            raise NotCapturedError(self.refuses)
        given = work()
        self.captures += 1

        def replay() -> None:
            self.replays += 1
            with torch.inference_mode():
                for name, tensor in work().items():
                    given[name].copy_(tensor)

        return replay, given

    def after_decoder(self) -> None:
        self.waited_for_decoders += 1
        self.order.append("after decoder")

    def wait(self) -> int:
        self.waits += 1
        return self._ended_ns - self._began_ns

    def marked(self) -> tuple[float, ...]:
        points = [0, self._began_ns, *self._marks_ns, self._ended_ns]
        return tuple((second - first) / 1e6 for first, second in itertools.pairwise(points))


class HostDevice:
    torch_device = torch.device("cpu")

    def __init__(self, refuses: str | None = None, gpu: int | None = None) -> None:
        """`refuses`: why it captures nothing. `gpu`: the one that it stands for."""
        self._refuses = refuses
        self.gpu = gpu
        self.streams: list[HostStream] = []

    def stream(self) -> HostStream:
        self.streams.append(HostStream())
        self.streams[-1].refuses = self._refuses
        return self.streams[-1]

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype)


class PlainRunner(TorchRunner):
    """Remembers the sizes of what it ran."""

    def __init__(self, network: TorchNetwork) -> None:
        super().__init__(network)
        self._levels: Tensor | None = None
        self.sizes: list[int] = []

    def prepare(self, levels: Tensor, sizes: tuple[int, ...]) -> Given:
        self._levels = levels
        return super().prepare(levels, sizes)

    def run(self, levels: Tensor, size: int) -> Given:
        assert levels is self._levels, "a graph reads from where it was captured"
        self.sizes.append(size)
        return super().run(levels, size)


class ValuesRunner(PlainRunner):
    """A network that takes values, as TensorRT's do, in half precision or not."""

    def __init__(self, network: TorchNetwork, takes: torch.dtype) -> None:
        super().__init__(network)
        self._takes = takes

    @property
    def takes(self) -> torch.dtype:
        return self._takes

    def run(self, levels: Tensor, size: int) -> Given:
        assert levels is self._levels
        assert levels.dtype == self._takes
        with torch.inference_mode():
            boxes, scores = self._network.network(levels[:size].float())
        return {"boxes": boxes, "scores": scores}
