"""The one place that reads the time. Everything else is handed a `stages.types.Clock`."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path


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


def process_age_ns() -> int:
    """How long ago this process was started, to 10 ms; 0 where the system does not say (proc(5), starttime)."""
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return 0
    ticks = int(stat.read_text().rpartition(")")[2].split()[19])
    since_boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return max(0, since_boot_ns - ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK"))
