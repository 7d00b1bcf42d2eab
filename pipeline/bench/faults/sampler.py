"""Looks at the running process once a second: ledger, memory and files through its own `/status`, threads in /proc."""

from __future__ import annotations

import bisect
import statistics
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline.bench.faults.child import Life
from pipeline.bench.faults.report import Growth
from pipeline.status import Status
from stages.types import Clock

_EVERY_S = 1.0
_WARM_UP_S = (20.0, 900.0)
_MIB = 1 << 20
_LEAST = 30
_TRACE = 720
_decoder = msgspec.json.Decoder(Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look: which process, when (monotonic), what it said; `problems` is its own ledger's."""

    pid: int
    at_ns: int
    rss_bytes: int
    threads: int
    open_files: int
    problems: tuple[str, ...]


class Sampler:
    """Its own thread, from `start` to `stop`."""

    def __init__(self, life: Callable[[], Life], clock: Clock) -> None:
        self._life = life
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults:sampler", daemon=True)
        self.samples: list[Sample] = []
        self.texts: list[bytes] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(10.0)

    def _run(self) -> None:
        while not self._clock.wait(self._stop, _EVERY_S):
            life = self._life()
            if life.url is None or life.ended_ns is not None:
                continue
            try:
                with urllib.request.urlopen(life.url + "/status", timeout=5.0) as answer:
                    text = answer.read()
                threads = sum(
                    1 for _ in Path(f"/proc/{life.pid}/task").iterdir()
                )  # native ones, too; the status tells of ours
            except OSError:
                continue  # it was killed just now, or ends
            status = _decoder.decode(text)
            self.texts.append(text)
            self.samples.append(
                Sample(
                    pid=life.pid,
                    at_ns=self._clock.mono_ns(),
                    rss_bytes=status.process.rss_bytes,
                    threads=threads,
                    open_files=status.process.open_files,
                    problems=tuple(status.ledger_problems),
                )
            )


def growth(samples: Sequence[Sample], minutes: float) -> Growth | None:
    """Of the process that was looked at the longest; None if that was no longer than its warm-up and 30 s.

    The warm-up is a tenth of `minutes`, from 20 s to 15 minutes.
    """
    by_pid: dict[int, list[Sample]] = {}
    for sample in samples:
        by_pid.setdefault(sample.pid, []).append(sample)
    longest = max(by_pid.values(), key=len, default=[])
    if not longest:
        return None
    warm_up_s = min(max(6.0 * minutes, _WARM_UP_S[0]), _WARM_UP_S[1])
    seconds = [(sample.at_ns - longest[0].at_ns) / 1e9 for sample in longest]
    warm = bisect.bisect_left(seconds, warm_up_s)
    if len(longest) - warm < _LEAST:
        return None
    hours = [second / 3600 for second in seconds[warm:]]
    rss = [sample.rss_bytes / _MIB for sample in longest]
    threads = [float(sample.threads) for sample in longest]
    files = [float(sample.open_files) for sample in longest]
    thin = max(1, len(longest) // _TRACE)
    return Growth(
        warm_up_s=warm_up_s,
        seconds=round(seconds[-1] - seconds[warm], 1),
        rss_mib=_ends(rss[warm:]),
        threads=_ends(threads[warm:]),
        open_files=_ends(files[warm:]),
        rss_slope_mib=_slope(hours, rss[warm:]),
        threads_slope=_slope(hours, threads[warm:]),
        open_files_slope=_slope(hours, files[warm:]),
        trace=[
            (round(second, 1), round(sample.rss_bytes / _MIB, 2), sample.threads, sample.open_files)
            for second, sample in zip(seconds[::thin], longest[::thin], strict=True)
        ],
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the first and the last tenth."""
    tenth = max(1, len(values) // 10)
    return round(statistics.median(values[:tenth]), 2), round(statistics.median(values[-tenth:]), 2)


def _slope(hours: Sequence[float], values: Sequence[float]) -> float:
    return round(statistics.linear_regression(hours, values).slope, 3)
