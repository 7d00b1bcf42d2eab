"""A clock that moves only when it is told to."""

from __future__ import annotations

import threading


class FakeClock:
    """Starts at 1000 s of monotonic time and 2026-11-21 00:00 UTC; `advance` moves both, `wait` moves them at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mono_ns = 1_000_000_000_000
        self._wall_ns = 1_795_219_200_000_000_000

    def mono_ns(self) -> int:
        with self._lock:
            return self._mono_ns

    def wall_ns(self) -> int:
        with self._lock:
            return self._wall_ns

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._mono_ns += int(seconds * 1e9)
            self._wall_ns += int(seconds * 1e9)

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Time passes at once; nobody sleeps."""
        if event.is_set():
            return True
        self.advance(timeout_s)
        return event.is_set()
