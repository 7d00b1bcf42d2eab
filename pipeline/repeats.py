"""Keeps a log readable: of a message that repeats, one line in ten seconds, with the number of those left out."""

from __future__ import annotations

_EVERY_NS = 10_000_000_000


class Repeats:
    """Counts the occurrences of one thing; not thread-safe."""

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._held_back = 0

    def due(self, now_ns: int, count: int = 1) -> int:
        """How many occurrences to tell of now; 0 if it is too early, and then they are kept for the next time."""
        self._held_back += count
        if self._last_ns is not None and now_ns - self._last_ns < _EVERY_NS:
            return 0
        self._last_ns = now_ns
        told, self._held_back = self._held_back, 0
        return told
