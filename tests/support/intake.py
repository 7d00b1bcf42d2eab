"""An intake that keeps what it is given, in order, and holds the stream to the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.ledger import FailedReason, Ledger, StreamTotals
from stages.types import Frame, Reason, State, StateChange, StreamId


@dataclass(frozen=True)
class Seen:
    """One thing that the stream's thread did: `what` of a frame (by `seq`), or a change of state."""

    what: str
    seq: int | None = None
    frame: Frame | None = None
    change: StateChange | None = None


class RecordingIntake:
    """Implements `pipeline.intake.Intake`: an offered frame counts as published at once. Its picture is kept or not."""

    def __init__(self, stream: str, *, credits: int | None = None) -> None:
        self.stream = StreamId(stream)
        self.ledger = Ledger()
        self.ledger.open_stream(self.stream)
        self.seen: list[Seen] = []
        self._credits = credits
        self._changed = threading.Condition(threading.RLock())

    def decoded(self, seq: int) -> None:
        self.ledger.decoded(self.stream, seq)
        self._add(Seen("decoded", seq))

    def rate_limited(self, seq: int) -> None:
        self.ledger.rate_limited(self.stream, seq)
        self._add(Seen("rate_limited", seq))

    def failed(self, seq: int, reason: FailedReason) -> None:
        self.ledger.failed(self.stream, seq, reason)
        self._add(Seen("failed", seq))

    def abandoned(self, seq: int) -> None:
        self.ledger.abandoned(self.stream, seq)
        self._add(Seen("abandoned", seq))

    def wait_credit(self) -> bool:
        if self._credits is None:
            return True
        self._credits -= 1
        return self._credits >= 0

    def offer(self, frame: Frame) -> None:
        self.ledger.published(self.stream, frame.seq)
        self._add(Seen("offered", frame.seq, frame=frame))

    def state(self, change: StateChange) -> None:
        self._add(Seen("state", change=change))

    def packets_damaged(self, count: int) -> None:
        self.ledger.packets_damaged(self.stream, count)
        self._notify()

    def packets_lost(self, count: int) -> None:
        self.ledger.packets_lost(self.stream, count)
        self._notify()

    def reconnected(self, reason: Reason) -> None:
        self.ledger.reconnected(self.stream, reason.value)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def frames(self) -> list[Frame]:
        with self._changed:
            return [seen.frame for seen in self.seen if seen.frame is not None]

    @property
    def changes(self) -> list[StateChange]:
        with self._changed:
            return [seen.change for seen in self.seen if seen.change is not None]

    @property
    def states(self) -> list[tuple[State, Reason | None]]:
        return [(change.state, change.reason) for change in self.changes]

    def count(self, what: str) -> int:
        with self._changed:
            return sum(seen.what == what for seen in self.seen)

    @property
    def totals(self) -> StreamTotals:
        return self.ledger.totals().streams[str(self.stream)]

    def wait_frames(self, count: int, *, epoch: int = 0, timeout_s: float = 30.0) -> None:
        """Wait until `count` frames of at least `epoch` were offered."""
        with self._changed:
            if not self._changed.wait_for(lambda: sum(self._epochs(epoch)) >= count, timeout_s):
                raise AssertionError(f"{count} frames of epoch {epoch} did not come; {self._story()}")

    def wait_state(self, state: State, reason: Reason | None = None, *, timeout_s: float = 30.0) -> StateChange:
        """Wait until the stream was in `state` (for `reason`, if given), at any time; returns the first such change."""

        def found() -> StateChange | None:
            for seen in self.seen:
                change = seen.change
                if change is not None and change.state is state and (reason is None or change.reason is reason):
                    return change
            return None

        with self._changed:
            change = self._changed.wait_for(found, timeout_s)
            if not change:
                raise AssertionError(f"{state} ({reason}) did not come; {self._story()}")
            return change

    def wait_until(self, what: str, reached: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
        """Wait until `reached` is true; looked at whenever the stream did something."""
        with self._changed:
            if not self._changed.wait_for(reached, timeout_s):
                raise AssertionError(f"{what} did not come; {self._story()}")

    def _epochs(self, epoch: int) -> list[bool]:
        return [seen.frame is not None and seen.frame.epoch >= epoch for seen in self.seen]

    def _story(self) -> str:
        states = [f"{s.change.state.value} {s.change.reason} {s.change.detail}" for s in self.seen if s.change]
        return f"{len(self.seen)} things seen, states {states}"

    def _add(self, seen: Seen) -> None:
        with self._changed:
            self.seen.append(seen)
            self._changed.notify_all()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
