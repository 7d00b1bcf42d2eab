"""The ids of a frame stream's entries: `ms-k`, rising, near the time of capture.

Ids are for order and resumption, the true time is the message's `wall_ns`. They never go backwards: not when a camera's
clock does, not when a file of another year follows, not after a restart, since the last one is read from Redis.
"""

from __future__ import annotations

from typing import NamedTuple

_MS = 1_000_000
_AHEAD_MS = 1000


class EntryId(NamedTuple):
    """An id of Redis's, comparable as Redis compares it."""

    ms: int
    k: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.k}"

    @classmethod
    def parse(cls, text: str) -> EntryId:
        """From Redis's own `ms-k`."""
        ms, _, k = text.partition("-")
        return cls(int(ms), int(k))


NONE = EntryId(0, 0)
"""What an empty stream answers as its last id; no entry can have it."""


def id_after(last: EntryId, capture_ns: int, now_ns: int) -> EntryId:
    """The next id: milliseconds of the capture, at most one second ahead of this host, never below the last id's."""
    ms = max(last.ms, min(capture_ns // _MS, now_ns // _MS + _AHEAD_MS))
    return EntryId(ms, last.k + 1) if ms == last.ms else EntryId(ms, 0)
