"""The one place that reads the time. Everything else is handed a `stages.types.Clock`."""

from __future__ import annotations

import threading
import time


class SystemClock:
    """The host's clocks: monotonic for durations and deadlines, wall for people and Redis."""

    def mono_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(timeout_s)


def process_cpu_s() -> float:
    """CPU seconds that this process has used so far, all threads, user and system."""
    return time.process_time()
