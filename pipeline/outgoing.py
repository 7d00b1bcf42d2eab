"""The seam between the finish thread and the sinks: what is handed over, and the promise of whoever takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from stages.types import StreamId
from vedette.messages import EventMessage, FrameMessage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutgoingFrame:
    """A frame's message, built and encoded once for all sinks.

    `encoded` is the JSON of `message`. `lossless` frames (of a file) are never dropped by a full queue: credits bound
    their number. `settled(sink_name, delivered)` must be called exactly once by every sink, when it is done with the
    frame, be it delivered or dropped: it returns the credit and closes the frame's time line. It never blocks.
    """

    stream: StreamId
    message: FrameMessage
    encoded: bytes
    lossless: bool
    settled: Callable[[str, bool], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutgoingEvent:
    """An event without its `producer` and `n`: each sink gives those."""

    stream: StreamId
    message: EventMessage


Outgoing = OutgoingFrame | OutgoingEvent


class Outlet(Protocol):
    """One configured sink with its own bounded queue and threads.

    The ledger has already counted what is handed over as accepted and waiting; the outlet moves it on from there.
    """

    @property
    def name(self) -> str: ...

    def accept(self, items: Sequence[Outgoing]) -> None:
        """Take messages, in order; never blocks, never raises for what the outside does; a full queue drops and counts.

        What became ready together comes together, so that a sink's thread wakes once for it.
        """
        ...

    def bodies(self) -> Sequence[tuple[str, Callable[[], None]]]:
        """Its threads, names and bodies; they work until `close` and the queue is empty, or the deadline is over."""
        ...

    def close(self, deadline_mono_ns: int) -> None:
        """No more will be accepted; deliver what waits until the deadline, then drop and count the rest. Idempotent."""
        ...

    def problem(self) -> str | None:
        """Why this sink is not ready, in a line for `/readyz`; None when all is well."""
        ...
