"""The seam between Vedette and whatever executes a network.

An `Engine` owns a fixed number of input buffers. The dispatch thread acquires one, fills it and submits it; the finish
thread takes what is completed and releases the buffer once it has read the outputs. Every submitted buffer comes back
exactly once, in order of completion. Implementations live in `engines/runtimes/` and pass one contract test class.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy.typing as npt

from engines.spec import ModelSpec
from vedette.errors import EngineError

if TYPE_CHECKING:
    from engines.cuda.surfaces import Surface
    from engines.picture import Placement

Outputs = Mapping[str, npt.NDArray[Any]]
"""Output name to array, the batch first; views into engine memory, valid until the buffer is released."""


class Place(enum.Enum):
    HOST = "host"
    DEVICE = "device"


class Buffer(Protocol):
    """One input of the engine, owned by the engine; whoever acquired it may write until it is submitted."""

    @property
    def place(self) -> Place: ...

    @property
    def array(self) -> npt.NDArray[Any]:
        """(batch, 3, H, W), float32 or uint8 as the model wants: the engine's own memory, not a copy."""
        ...


@runtime_checkable
class SurfaceBuffer(Protocol):
    """A buffer on a device, whose engine pre-processes by itself what lies there (`place` is DEVICE).

    Each slot is told of, in either way; its `array` is the host's memory, and what is written there is copied over.
    """

    def put(self, index: int, surface: Surface) -> Placement:
        """Slot `index` becomes this picture, which is kept until the buffer comes back. Raises PictureError."""
        ...

    def written(self, index: int, placement: Placement) -> None:
        """Slot `index` was written to the array."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Completion:
    """A buffer that came back: either `outputs` or `error`. `engine_ns` is the time the engine itself took."""

    buffer: Buffer
    count: int
    outputs: Outputs | None
    error: EngineError | None
    engine_ns: int


class Engine(Protocol):
    """Runs one model. Thread-safe: acquire/submit from one thread, completed/release from others."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def description(self) -> str:
        """One line for logs and status: runtime, device, precision, requests, and why it was taken."""
        ...

    @property
    def max_batch(self) -> int:
        """Pictures a buffer takes: what the model allows and what pays on this engine (on a CPU 1)."""
        ...

    def acquire(self) -> Buffer | None:
        """Wait for a free buffer; None once the engine is closing."""
        ...

    def submit(self, buffer: Buffer, count: int) -> None:
        """Start the network on the first `count` pictures of the buffer; does not wait. Raises EngineError."""
        ...

    def completed(self) -> Completion | None:
        """Wait for the next buffer that comes back; None once the engine is closing and nothing is outstanding."""
        ...

    def release(self, buffer: Buffer) -> None:
        """Give the buffer back for reuse, also an acquired one that was never submitted."""
        ...

    def close(self) -> None:
        """Accept no more work and wake all waiters; what was submitted still completes. Idempotent."""
        ...
