"""When a picture was taken, in wall-clock time, and how sure that is.

A camera's own time (RTCP sender reports) is taken while it lies within the tolerance of the smoothed arrival time.
Else the arrival times are smoothed against the stream's own time stamps: no packet arrives before it was sent, so the
fastest arrivals of the last seconds show where the time stamps lie on our clock (a lower envelope), and what came later
was held up on its way. A file's time is its start plus its time stamps.

Pure: times are handed in. One `LiveCapture` an epoch; within it `wall_ns` rises strictly, whatever the clocks do.
Idea of the envelope: Moon, Skelly, Towsley, "Estimation and removal of clock skew", INFOCOM 1999.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from stages.types import ClockKind

_BUCKET_NS = 1_000_000_000
_BUCKETS = 8  # seconds in which at least one packet is taken to have come without being held up (guess)
_CATCH_UP = 4  # the envelope rises by a quarter of its distance a second, so that a slow camera clock is followed
_LEAST_STEP_NS = 1_000  # what is left of the steps while a switch of clocks would move the time backwards
_LEAST_ERROR_MS = 1.0


@dataclass(frozen=True, slots=True)
class CaptureTime:
    """`wall_ns` since 1970, right within `error_ms` as far as can be told from here."""

    wall_ns: int
    clock: ClockKind
    error_ms: float


class LiveCapture:
    """Capture times of one epoch of a live stream; frames are seen in order, time stamps rising."""

    def __init__(self, tolerance_s: float) -> None:
        self._tolerance_ns = int(tolerance_s * 1e9)
        self._envelope = _Envelope()
        self._last_wall_ns: int | None = None
        self._off_ns: int | None = None

    @property
    def clock_off_s(self) -> float | None:
        """By how much the camera's clock is ahead (+) or behind (-), if that is beyond the tolerance."""
        return None if self._off_ns is None else self._off_ns / 1e9

    def see(self, *, media_ns: int, mono_ns: int, wall_of_mono_ns: int, rtcp_wall_ns: int | None) -> CaptureTime:
        """The capture time of the next frame. `wall_of_mono_ns`: the host's wall clock less its monotonic clock."""
        self._envelope.see(media_ns, mono_ns)
        smoothed_ns = media_ns + self._envelope.offset_ns + wall_of_mono_ns
        wall_ns, clock, error_ns = smoothed_ns, ClockKind.ARRIVAL, self._envelope.spread_ns
        if rtcp_wall_ns is not None:
            off_ns = rtcp_wall_ns - smoothed_ns
            if abs(off_ns) <= self._tolerance_ns:
                wall_ns, clock, error_ns = rtcp_wall_ns, ClockKind.RTCP, abs(off_ns)
                self._off_ns = None
            else:
                self._off_ns = off_ns
        if self._last_wall_ns is not None and wall_ns < self._last_wall_ns + _LEAST_STEP_NS:
            error_ns += self._last_wall_ns + _LEAST_STEP_NS - wall_ns
            wall_ns = self._last_wall_ns + _LEAST_STEP_NS
        self._last_wall_ns = wall_ns
        return CaptureTime(wall_ns, clock, max(_LEAST_ERROR_MS, error_ns / 1e6))


class FileCapture:
    """Capture times of a file: those of its time stamps, from `base_ns` on."""

    def __init__(self, base_ns: int) -> None:
        self._origin_ns: int | None = None  # wall-clock time of media time 0
        self._last_ns = base_ns
        self._last_media_ns = 0
        self._step_ns = 0

    @property
    def last_wall_ns(self) -> int:
        """The capture time of the last frame; the file's start before the first one."""
        return self._last_ns

    def begin_anew(self) -> None:
        """The time stamps begin anew (they went back): the next frame follows the last one by the usual step."""
        if self._origin_ns is not None:
            self._last_ns += self._step_ns
            self._origin_ns = None

    def see(self, media_ns: int) -> CaptureTime:
        if self._origin_ns is None:
            self._origin_ns = self._last_ns - media_ns
        else:
            self._step_ns = media_ns - self._last_media_ns
        self._last_media_ns = media_ns
        self._last_ns = self._origin_ns + media_ns
        return CaptureTime(self._last_ns, ClockKind.FILE, 0.0)


class _Envelope:
    """The least delay between time stamps and arrivals in the last seconds, and how far arrivals scatter above it."""

    def __init__(self) -> None:
        self.offset_ns = 0  # add it to a media time to get the monotonic time of an unhindered arrival
        self.spread_ns = 0
        self._buckets: deque[tuple[int, int, int]] = deque()  # bucket number, least and greatest delay in it
        self._last_media_ns: int | None = None
        self._last_mono_ns = 0

    def see(self, media_ns: int, mono_ns: int) -> None:
        delay_ns = mono_ns - media_ns
        bucket = mono_ns // _BUCKET_NS
        if self._buckets and self._buckets[-1][0] == bucket:
            _, least, greatest = self._buckets[-1]
            self._buckets[-1] = (bucket, min(least, delay_ns), max(greatest, delay_ns))
        else:
            self._buckets.append((bucket, delay_ns, delay_ns))
            while self._buckets[0][0] <= bucket - _BUCKETS:
                self._buckets.popleft()
        least_ns = min(least for _, least, _ in self._buckets)
        step_ns = 0
        if self._last_media_ns is None or delay_ns < self.offset_ns:
            self.offset_ns = delay_ns
        elif least_ns > self.offset_ns:
            elapsed_ns = min(_BUCKET_NS, max(0, mono_ns - self._last_mono_ns))
            self.offset_ns += (least_ns - self.offset_ns) * elapsed_ns // (_CATCH_UP * _BUCKET_NS)
        if self._last_media_ns is not None:
            step_ns = media_ns - self._last_media_ns
        self._last_media_ns, self._last_mono_ns = media_ns, mono_ns
        # A parser gives a picture out when the next one begins: one step of doubt, beside what arrivals scatter.
        self.spread_ns = max(greatest for _, _, greatest in self._buckets) - self.offset_ns + min(step_ns, _BUCKET_NS)
