"""A stream's way in, as the machine builds it: ledger, credits, lane and dispatcher behind one door.

Implements `pipeline.intake.Intake` for the stream's thread; closed by `pipeline/assembly.py` when the drain is over.
"""

from __future__ import annotations

import threading

from pipeline.credits import Credits
from pipeline.dispatch import Dispatcher
from pipeline.lane import Job, Lane
from pipeline.latency import Stamps
from pipeline.ledger import FailedReason, Ledger
from stages.types import Frame, Reason, StateChange, StreamId


class Entrance:
    """The `Intake` of one stream: ledger, credits, lane and dispatcher behind one door that can be shut.

    After `close` nothing is accepted or counted any more: a source left behind in the network may still call.
    """

    def __init__(
        self, stream: StreamId, *, lane: Lane, dispatcher: Dispatcher, ledger: Ledger, credits: Credits | None
    ) -> None:
        self._stream = stream
        self._lane = lane
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._credits = credits
        self._lock = threading.Lock()
        self._closed = False
        self._held: int | None = None  # decoded, and not yet at its end here

    def decoded(self, seq: int) -> None:
        with self._lock:
            if not self._closed:
                self._ledger.decoded(self._stream, seq)
                self._held = seq

    def rate_limited(self, seq: int) -> None:
        with self._lock:
            if not self._closed:
                self._held = None
                self._ledger.rate_limited(self._stream, seq)

    def failed(self, seq: int, reason: FailedReason) -> None:
        with self._lock:
            if not self._closed:
                self._held = None
                self._ledger.failed(self._stream, seq, reason)

    def abandoned(self, seq: int) -> None:
        with self._lock:
            if not self._closed:
                self._held = None
                self._ledger.abandoned(self._stream, seq)

    def wait_credit(self) -> bool:
        return True if self._credits is None else self._credits.take()

    def offer(self, frame: Frame) -> None:
        with self._lock:
            if self._closed:
                return
            self._held = None
            job = Job(
                frame=frame, lane=self._lane, stamps=Stamps(arrived_ns=frame.mono_ns, decoded_ns=frame.decoded_ns)
            )
            self._lane.enter(job)
            self._dispatcher.offer(job)

    def state(self, change: StateChange) -> None:
        with self._lock:
            if not self._closed:
                self._lane.state(change)

    def packets_damaged(self, count: int) -> None:
        with self._lock:
            if not self._closed:
                self._ledger.packets_damaged(self._stream, count)

    def packets_lost(self, count: int) -> None:
        with self._lock:
            if not self._closed:
                self._ledger.packets_lost(self._stream, count)

    def reconnected(self, reason: Reason) -> None:
        with self._lock:
            if not self._closed:
                self._ledger.reconnected(self._stream, reason.value)

    def stop_waiting(self) -> None:
        """Wake the source if it waits for a credit: the run is ending."""
        if self._credits is not None:
            self._credits.close()

    def is_settled(self) -> bool:
        """Whether every frame of a file is with its slowest sink; a live stream has nothing that the run waits for."""
        return self._credits is None or self._credits.all_back()

    def close(self, *, source_left: bool = False, work_left: bool = False) -> None:
        """Shut the door and abandon what could not be finished in time.

        `source_left`: the source has not ended, and may have a frame in hand; `work_left`: dispatch or finish have not.
        A frame that is unfinished although they have was forgotten by our own code: it stays in flight, and the run
        doesn't balance.
        """
        with self._lock:
            self._closed = True
            held, self._held = self._held, None
        self._lane.close(time_is_up=work_left)
        if held is not None and source_left:
            self._ledger.abandoned(self._stream, held)
