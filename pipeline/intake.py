"""The seam between a stream's own thread and the rest of the machine: what the thread may do with a frame."""

from __future__ import annotations

from typing import Protocol

from pipeline.ledger import FailedReason
from stages.types import Frame, Reason, StateChange


class Intake(Protocol):
    """One stream's way in. Called from that stream's thread only; nothing but `wait_credit` blocks.

    A frame is `decoded` first; then exactly one of `rate_limited`, `failed`, `abandoned` or `offer` ends its time here.
    """

    def decoded(self, seq: int) -> None: ...

    def rate_limited(self, seq: int) -> None: ...

    def failed(self, seq: int, reason: FailedReason) -> None: ...

    def abandoned(self, seq: int) -> None: ...

    def wait_credit(self) -> bool:
        """File mode: wait until one more frame may be on its way; False when the run is ending."""
        ...

    def offer(self, frame: Frame) -> None:
        """Hand the frame on. Frames come out in the order of their offers; after the stop they are abandoned."""
        ...

    def state(self, change: StateChange) -> None:
        """Tell of a change of state; it is published after the frames that were offered before it."""
        ...

    def packets_damaged(self, count: int) -> None: ...

    def packets_lost(self, count: int) -> None: ...

    def reconnected(self, reason: Reason) -> None: ...
