"""An engine over a few lanes: a lane is one buffer with all that runs it (a CPU's turn, or a stream of a GPU).

What torch on a CPU, torch on a GPU and TensorRT have in common: whose buffer it is, who waits, who gets it back. A
lane starts its network (`start`, does not wait) and later gives what came of it (`finish`, waits); lanes are finished
in the order of their starting. On a GPU two lanes on two streams are a double buffer: one is copied while the other
runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from engines.engine import Buffer, Completion, Outputs
from engines.runtimes.pool import BufferPool, HostBuffer
from engines.runtimes.stage_times import Recorder
from engines.spec import ModelSpec
from vedette.errors import EngineError


class Lane(HostBuffer):
    """One input buffer and what runs it."""

    __slots__ = ("count", "uncaptured")

    count: int
    uncaptured: str | None
    """Why its runs could not be captured as CUDA graphs, of a lane on a GPU."""

    def __init__(self, array: npt.NDArray[Any], index: int) -> None:
        super().__init__(array, index)
        self.uncaptured = None

    def start(self, count: int) -> None:
        """Start the network on the first `count` pictures; does not wait. Raises EngineError."""
        raise NotImplementedError

    def finish(self) -> tuple[Outputs, int]:
        """Wait for the outputs, and the nanoseconds that the network itself took. Raises EngineError."""
        raise NotImplementedError

    def record(self, recorder: Recorder | None) -> None:
        """Have stages measured, where a lane has any."""


class LaneEngine:
    """`engines.engine.Engine` over lanes that are alike. Thread-safe."""

    def __init__(self, lanes: Sequence[Lane], spec: ModelSpec, description: str) -> None:
        self._lanes = list(lanes)
        self._spec = spec
        self._description = description
        self._pool = BufferPool(self._lanes)

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def description(self) -> str:
        return self._description

    @property
    def lanes(self) -> Sequence[Lane]:
        """For measurements: whoever starts one by itself must see to it that nobody submits to it meanwhile."""
        return self._lanes

    @property
    def max_batch(self) -> int:
        return int(self._lanes[0].array.shape[0])

    def acquire(self) -> Buffer | None:
        return self._pool.acquire()

    def submit(self, buffer: Buffer, count: int) -> None:
        lane = self._own(buffer)
        if not 1 <= count <= self.max_batch:
            most = f"1 to {self.max_batch} pictures" if self.max_batch > 1 else "1 picture"
            msg = f"expected {most} a run, got {count}"
            raise EngineError(msg)
        self._pool.submitted(lane)
        lane.count = count
        try:
            lane.start(count)
        except EngineError:
            self._pool.refused(lane)
            raise
        self._pool.started(lane)

    def completed(self) -> Completion | None:
        lane = self._pool.next()
        if lane is None:
            return None
        outputs: Outputs | None = None
        error: EngineError | None = None
        engine_ns = 0
        try:
            outputs, engine_ns = lane.finish()
        except EngineError as failure:
            error = failure
        count = lane.count
        self._pool.completed(lane)
        return Completion(buffer=lane, count=count, outputs=outputs, error=error, engine_ns=engine_ns)

    def release(self, buffer: Buffer) -> None:
        self._pool.release(self._own(buffer))

    def close(self) -> None:
        self._pool.close()

    def record(self, recorder: Recorder | None) -> None:
        """Have what each batch takes on its device told to `recorder` from now on; None: no longer.

        For measurements, on lanes of a device (`device_lanes.py`); those of a CPU have no stages and tell nothing.
        """
        for lane in self._lanes:
            lane.record(recorder)

    def _own(self, buffer: Buffer) -> Lane:
        for lane in self._lanes:
            if lane is buffer:
                return lane
        msg = "this buffer belongs to another engine"
        raise EngineError(msg)
