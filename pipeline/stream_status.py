"""What a stream's thread says about itself at one moment, and the rates that it measures."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from stages.types import ClockKind, Reason, State

_WINDOW_NS = 5_000_000_000
_BUCKET_NS = 250_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """One stream, as its own thread last left it.

    `since_mono_ns`: since when it has been in `state`. `url` is masked. `size_wh`, `codec`, `clock` and
    `clock_error_ms` are None until the first picture. Rates are of the last five seconds. `note` is for people: why
    the stream does not flow, or what is odd about it; empty when all is well. `attempts`: failed ones in a row.
    `decoder`: where pictures are decoded, if that may be elsewhere than on the CPU.
    """

    state: State
    reason: Reason | None
    since_mono_ns: int
    epoch: int
    url: str
    size_wh: tuple[int, int] | None
    codec: str | None
    decoder: str | None
    fps_decoded: float
    fps_analysed: float
    frozen: bool
    clock: ClockKind | None
    clock_error_ms: float | None
    note: str
    attempts: int


class RateMeter:
    """Events a second over the last five seconds."""

    def __init__(self) -> None:
        self._buckets: deque[list[int]] = deque()  # [number of the bucket, events in it]
        self._first_ns: int | None = None

    def count(self, now_ns: int) -> None:
        if self._first_ns is None:
            self._first_ns = now_ns
        bucket = now_ns // _BUCKET_NS
        if self._buckets and self._buckets[-1][0] == bucket:
            self._buckets[-1][1] += 1
            return
        self._buckets.append([bucket, 1])
        self._forget(now_ns)

    def per_second(self, now_ns: int) -> float:
        self._forget(now_ns)
        if self._first_ns is None or not self._buckets:
            return 0.0
        span_ns = min(_WINDOW_NS, now_ns - self._first_ns)
        return sum(events for _, events in self._buckets) * 1e9 / span_ns if span_ns >= _BUCKET_NS else 0.0

    def _forget(self, now_ns: int) -> None:
        while self._buckets and self._buckets[0][0] <= (now_ns - _WINDOW_NS) // _BUCKET_NS:
            self._buckets.popleft()
