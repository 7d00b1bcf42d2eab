"""A network on a lane's stream as CUDA graphs: captured once for each size of batch, replayed with one call.

Whatever runs the network (torch, a TensorRT context): its runner is called as it would be for each batch, and what it
begins is recorded. Each lane captures its own: graphs that run at the same time may not share memory. Within a lane
they do: they run one after the other, and what they give is copied out before the next one starts. All that a graph
reads and writes lies where it lay for as long as the lane lives, so none is ever captured anew. What cannot be captured
runs as it is, and is told.
Source: torch's documentation of CUDA graphs; TensorRT's of «enqueueV3», which wants a run before a capture.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from vedette.errors import EngineError

if TYPE_CHECKING:
    from engines.runtimes.device_lanes import Runner, Stream
    from engines.runtimes.lanes import Lane

logger = logging.getLogger(__name__)

Given = Mapping[str, Tensor]
"""The outputs by name, the batch first, on the device."""

WARM_UP = 3
"""Runs before a capture, in which cuDNN chooses its algorithms and TensorRT does what it puts off to a first run."""


class NotCapturedError(EngineError):
    """A device does not record what it was asked to; it can do it all the same."""


class Graphs:
    """`runner` on `stream`, reading from `levels`. `why_not` says what kept it from being captured."""

    def __init__(self, runner: Runner, stream: Stream, levels: Tensor) -> None:
        self._runner = runner
        self._stream = stream
        self._levels = levels
        self._captured: dict[int, tuple[Callable[[], None], Given]] = {}
        self.why_not: str | None = None

    def capture(self, sizes: Sequence[int]) -> Given:
        """Get ready for batches of `sizes`, within the stream's `here`; returns outputs of the largest.

        Raises EngineError, RuntimeError.
        """
        outputs = self._runner.prepare(self._levels, tuple(sizes))
        for size in sorted(sizes, reverse=True):  # the largest first: the others then fit into its memory
            run = functools.partial(self._runner.run, self._levels, size)
            for _ in range(WARM_UP):
                run()
            try:
                replay, given = self._stream.capture(run)
            except NotCapturedError as error:
                self.why_not = self.why_not or error.message
                continue
            replay()  # what a first replay does beside is done before there is work
            self._captured[size] = replay, given
        return outputs

    def run(self, size: int) -> Given:
        """Begin the network on the first `size` of the levels; does not wait."""
        captured = self._captured.get(size)
        if captured is None:
            return self._runner.run(self._levels, size)
        replay, given = captured
        replay()
        return given


def graphs_said(lanes: Sequence[Lane]) -> str:
    """What an engine's description says of how its lanes begin a run; what could not be captured is logged, once."""
    why = next((lane.uncaptured for lane in lanes if lane.uncaptured), None)
    if why is None:
        return "CUDA graphs"
    logger.warning("no CUDA graphs, so that each run takes the CPU longer to start: %s", why)
    return "no CUDA graphs"
