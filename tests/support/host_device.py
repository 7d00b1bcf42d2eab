"""The host's memory as a device: what `engines/runtimes/device_lanes.py` asks of CUDA, done at once and in order.

The lanes run on it as they do on a GPU, but for what only a GPU can do: nothing overlaps, nothing is captured.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from engines.runtimes.torch_network import TorchNetwork


class HostStream:
    handle = 0

    def __init__(self) -> None:
        self.runs = self.waited_for_decoders = 0
        self.names: list[str] = []
        self._began_ns = self._ended_ns = 0
        self._marks_ns: list[int] = []

    def here(self) -> AbstractContextManager[object]:
        return nullcontext()

    def named(self, name: str) -> AbstractContextManager[object]:
        self.names.append(name)
        return nullcontext()

    def begin(self) -> None:
        self._began_ns = time.monotonic_ns()
        self._marks_ns = []

    def mark(self) -> None:
        self._marks_ns.append(time.monotonic_ns())

    def end(self) -> None:
        self._ended_ns = time.monotonic_ns()
        self.runs += 1

    def after_decoder(self) -> None:
        self.waited_for_decoders += 1

    def wait(self) -> int:
        return self._ended_ns - self._began_ns

    def marked(self) -> tuple[float, ...]:
        points = [0, self._began_ns, *self._marks_ns, self._ended_ns]
        return tuple((second - first) / 1e6 for first, second in itertools.pairwise(points))


class HostDevice:
    torch_device = torch.device("cpu")

    def __init__(self) -> None:
        self.streams: list[HostStream] = []

    def stream(self) -> HostStream:
        self.streams.append(HostStream())
        return self.streams[-1]

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype)


class PlainRunner:
    """`GraphRunner` without graphs: the same network on the same memory, each operation started by Python."""

    def __init__(self, network: TorchNetwork) -> None:
        self._network = network
        self._levels: Tensor | None = None
        self.sizes: list[int] = []

    takes = torch.uint8

    def prepare(self, levels: Tensor, sizes: tuple[int, ...]) -> Mapping[str, Tensor]:
        self._levels = levels
        return self.run(levels, max(sizes))

    def run(self, levels: Tensor, size: int) -> Mapping[str, Tensor]:
        assert levels is self._levels, "a graph reads from where it was captured"
        self.sizes.append(size)
        with torch.inference_mode():
            outputs: dict[str, Tensor] = self._network(levels[:size])
        return outputs


class ValuesRunner(PlainRunner):
    """A network that takes values, as TensorRT's do, in half precision or not."""

    def __init__(self, network: TorchNetwork, takes: torch.dtype) -> None:
        super().__init__(network)
        self.takes = takes

    def run(self, levels: Tensor, size: int) -> Mapping[str, Tensor]:
        assert levels is self._levels
        assert levels.dtype == self.takes
        with torch.inference_mode():
            boxes, scores = self._network.network(levels[:size].float())
        return {"boxes": boxes, "scores": scores}
