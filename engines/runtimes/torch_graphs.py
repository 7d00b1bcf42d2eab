"""A torch network on a GPU as CUDA graphs: captured once for each batch size, replayed without any Python between.

Each lane captures its own: graphs that run at the same time may not share memory. Within a lane they do: they replay
one after the other on its stream, and what they give is copied out before the next one starts.
Could not be run where it was written (no GPU): see tests/gpu.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engines.runtimes.torch_network import TorchNetwork

WARM_UP = 3
"""Runs before a capture, in which cuDNN chooses its algorithms (torch's documentation of CUDA graphs)."""


class GraphRunner:
    """One lane's graphs over `network`. Used on one stream only."""

    def __init__(self, network: TorchNetwork) -> None:
        self._network = network
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]] = {}

    @property
    def takes(self) -> torch.dtype:
        """Levels: what makes values of them is in the graph."""
        return torch.uint8

    def prepare(self, levels: Tensor, sizes: tuple[int, ...]) -> Mapping[str, Tensor]:
        """Capture for each batch size, on the current stream, reading from `levels`; the outputs of the largest."""
        pool = torch.cuda.graph_pool_handle()
        stream = torch.cuda.current_stream()
        for size in sorted(sizes, reverse=True):  # the largest first: the others then fit into its memory
            with torch.inference_mode():
                for _ in range(WARM_UP):
                    self._network(levels[:size])
                stream.synchronize()
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool, stream=stream):
                    outputs = self._network(levels[:size])
                self._graphs[size] = (graph, outputs)
        return self._graphs[max(sizes)][1]

    def run(self, levels: Tensor, size: int) -> Mapping[str, Tensor]:
        """Enqueue the network on the first `size` of the levels given to `prepare`."""
        del levels  # the graph knows where they are
        graph, outputs = self._graphs[size]
        graph.replay()
        return outputs
