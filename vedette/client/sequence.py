"""Counting along: `n` rises by one, and where it does not, messages are missing. Pure; no Redis here.

`suspect` is a reason why something may be missing for which `n` alone gives no proof: the entry to resume after was
trimmed, or Redis came back empty.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass

from vedette.client.types import AnyEvent, Gap, GapReason
from vedette.messages import FrameMessage

# So many producers are remembered; each is one spool, that is one process on one machine. A guess with much room.
MAX_PRODUCERS = 4096


@dataclass(slots=True)
class FrameSequence:
    """The frames of one stream. `n` starts at 1 in each run, and again when a file is replayed under the same run."""

    key: str
    stream: str
    run: str | None = None
    n: int = 0

    def note(self, message: FrameMessage, suspect: GapReason | None = None) -> Gap | None:
        """Take the next message; returns what is missing before it, if anything."""
        run, n, known = message.run, message.n, self.run is not None
        if n < 1:
            return None
        expected = self.n + 1 if run == self.run and n > self.n else 1
        self.run, self.n = run, n
        if known and n > expected:
            return Gap(
                key=self.key,
                stream=self.stream,
                run=run,
                first=expected,
                last=n - 1,
                count=n - expected,
                reason=suspect or "lost",
            )
        if suspect is not None and expected == 1:
            # Nothing proves that the end of what came before was read: the run is another, or begins again.
            return Gap(key=self.key, stream=self.stream, reason=suspect)
        return None

    def copy(self) -> FrameSequence:
        return copy.copy(self)


class EventSequence:
    """The events of all producers. A producer's `n` never goes back, so a lower one is a repeat."""

    __slots__ = ("_key", "_last")

    def __init__(self, key: str) -> None:
        self._key = key
        self._last: OrderedDict[str, int] = OrderedDict()

    def is_repeat(self, message: AnyEvent) -> bool:
        """Whether this event came before: a spool sends its latest events again when Redis has lost its data."""
        return 1 <= message.n <= self._last.get(message.producer, 0)

    def note(self, message: AnyEvent) -> Gap | None:
        """Take the next message, which is no repeat; returns what is missing before it, if anything."""
        if message.n < 1:
            return None
        last = self._last.pop(message.producer, None)
        self._last[message.producer] = message.n
        if len(self._last) > MAX_PRODUCERS:
            self._last.popitem(last=False)
        if last is None or message.n == last + 1:
            return None
        return Gap(
            key=self._key,
            stream="",
            producer=message.producer,
            first=last + 1,
            last=message.n - 1,
            count=message.n - last - 1,
        )

    def copy(self) -> EventSequence:
        twin = EventSequence(self._key)
        twin._last = self._last.copy()
        return twin
