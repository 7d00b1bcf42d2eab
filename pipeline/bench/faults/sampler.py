"""Looks at the running process once a second, through its own `/status`: its ledger, memory, threads, files."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from pipeline.bench.faults.child import Life
from pipeline.bench.faults.report import Growth
from pipeline.status import Status
from stages.types import Clock

_EVERY_S = 1.0
_WARM_UP_NS = 20_000_000_000
_MIB = 1 << 20
_LEAST = 30
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
            except OSError:
                continue  # it was killed just now, or ends
            status = _decoder.decode(text)
            self.texts.append(text)
            self.samples.append(
                Sample(
                    pid=life.pid,
                    at_ns=self._clock.mono_ns(),
                    rss_bytes=status.process.rss_bytes,
                    threads=len(status.threads),
                    open_files=status.process.open_files,
                    problems=tuple(status.ledger_problems),
                )
            )


def growth(samples: Sequence[Sample]) -> Growth | None:
    """Of the process that was looked at the longest, after its first 20 s; the slope by least squares."""
    by_pid: dict[int, list[Sample]] = {}
    for sample in samples:
        by_pid.setdefault(sample.pid, []).append(sample)
    warm = [[sample for sample in life if sample.at_ns >= life[0].at_ns + _WARM_UP_NS] for life in by_pid.values()]
    longest = max(warm, key=len, default=[])
    if len(longest) < _LEAST:
        return None
    hours = [(sample.at_ns - longest[0].at_ns) / 3.6e12 for sample in longest]
    mib = [sample.rss_bytes / _MIB for sample in longest]
    mean_h, mean_mib = sum(hours) / len(hours), sum(mib) / len(mib)
    slope = sum((h - mean_h) * (m - mean_mib) for h, m in zip(hours, mib, strict=True)) / sum(
        (h - mean_h) ** 2 for h in hours
    )
    return Growth(
        seconds=round(hours[-1] * 3600, 1),
        rss_first_mib=round(mib[0], 1),
        rss_last_mib=round(mib[-1], 1),
        rss_slope_mib_per_hour=round(slope, 2),
        threads=(longest[0].threads, longest[-1].threads),
        open_files=(longest[0].open_files, longest[-1].open_files),
    )
