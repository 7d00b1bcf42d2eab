"""Plays a file at its own pace: waits until a media time is due, with the clock it was given."""

from __future__ import annotations

import threading

from stages.types import Clock

# Later than this the pace starts anew: a camera that was held up does not run faster afterwards.
_LATE_NS = 1_000_000_000
# A step of the time stamps beyond this is no pause in the picture: the pace starts anew there.
_STEP_NS = 10_000_000_000


class Pacer:
    """Maps media time to monotonic time; the first time stamp is due at once."""

    def __init__(self, clock: Clock, stop: threading.Event) -> None:
        self._clock = clock
        self._stop = stop
        self._offset_ns: int | None = None
        self._last_ns = 0

    def wait_until(self, media_ns: int) -> bool:
        """Wait until `media_ns` is due; False if the stream is to stop."""
        now_ns = self._clock.mono_ns()
        step_ns = media_ns - self._last_ns
        self._last_ns = media_ns
        if self._offset_ns is None or step_ns < -_LATE_NS or step_ns > _STEP_NS:
            self._offset_ns = now_ns - media_ns
        wait_ns = media_ns + self._offset_ns - now_ns
        if wait_ns < -_LATE_NS:
            self._offset_ns = now_ns - media_ns
        if wait_ns <= 0:
            return not self._stop.is_set()
        return not self._clock.wait(self._stop, wait_ns / 1e9)
