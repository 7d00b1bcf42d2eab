"""Where a frame's time went: stamps as it travels, and histograms of their differences by stream and stage.

Times are monotonic nanoseconds. Histograms have buckets 2 % apart, so that a percentile is within 1 % of the truth,
in constant memory however long the run.
"""

from __future__ import annotations

import math
import threading
from array import array
from dataclasses import dataclass

from pipeline.status import Quantiles

STAGES = ("decode", "wait", "prepare", "engine", "finish", "sink", "total")
"""Packet's arrival to decoded; to chosen; to submitted; to completed; to handed over; to the slowest sink's
acknowledgement; and from arrival to that acknowledgement."""


@dataclass(slots=True, kw_only=True)
class Stamps:
    """One frame's times in monotonic nanoseconds, filled in as it travels; `engine_ns` is the engine's own time."""

    arrived_ns: int
    decoded_ns: int
    chosen_ns: int = 0
    submitted_ns: int = 0
    completed_ns: int = 0
    handed_ns: int = 0
    settled_ns: int = 0
    engine_ns: int = 0

    def stages_ns(self) -> tuple[int, ...]:
        """The durations that STAGES names."""
        return (
            self.decoded_ns - self.arrived_ns,
            self.chosen_ns - self.decoded_ns,
            self.submitted_ns - self.chosen_ns,
            self.completed_ns - self.submitted_ns,
            self.handed_ns - self.completed_ns,
            self.settled_ns - self.handed_ns,
            self.settled_ns - self.arrived_ns,
        )


class Histogram:
    """Counts of durations in logarithmic buckets from 1 µs to about 3 hours."""

    _BASE = math.log(1.02)
    _BUCKETS = math.ceil(math.log(1e10) / _BASE) + 2

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * self._BUCKETS))
        self.count = 0
        self.max_ns = 0
        self.sum_ns = 0

    def add(self, duration_ns: int) -> None:
        index = 0 if duration_ns < 1000 else min(self._BUCKETS - 1, 1 + int(math.log(duration_ns / 1000) / self._BASE))
        self._counts[index] += 1
        self.count += 1
        self.sum_ns += duration_ns
        self.max_ns = max(self.max_ns, duration_ns)

    def percentile_ms(self, percent: float) -> float | None:
        """The duration that `percent` of the samples do not exceed, in milliseconds; None without samples."""
        if not self.count:
            return None
        rank = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                middle_ns = 500.0 if index == 0 else 1000 * math.exp((index - 0.5) * self._BASE)
                return min(middle_ns, float(self.max_ns)) / 1e6
        return self.max_ns / 1e6


class Latencies:
    """One stream's histograms, a stage each. Thread-safe: sinks settle frames from their own threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._histograms = {stage: Histogram() for stage in STAGES}

    def record(self, stamps: Stamps) -> None:
        with self._lock:
            for stage, duration_ns in zip(STAGES, stamps.stages_ns(), strict=True):
                self._histograms[stage].add(max(0, duration_ns))

    def quantiles(self) -> dict[str, Quantiles]:
        """By stage, of the whole run; empty before the first frame."""
        with self._lock:
            found: dict[str, Quantiles] = {}
            for stage, histogram in self._histograms.items():
                p50, p95, p99 = (histogram.percentile_ms(p) for p in (50, 95, 99))
                if p50 is not None and p95 is not None and p99 is not None:
                    found[stage] = Quantiles(
                        p50=p50, p95=p95, p99=p99, count=histogram.count, sum_ms=histogram.sum_ns / 1e6
                    )
            return found
