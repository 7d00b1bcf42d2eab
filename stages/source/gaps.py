"""Estimates how many pictures of a camera were lost on the way, from the gaps between its time stamps.

FFmpeg does not say how many packets the network lost. A camera with an even frame rate shows it: a step of several
frame periods means pictures that never came. Cameras that vary their rate are not judged.
"""

from __future__ import annotations

from collections import deque

_STEPS = 12
_EVEN_STEPS = 9
_EVEN = 0.25  # an even step differs from the median by at most this share of it (guess)
_LONGEST_LOSS = 250  # frames; more than ten seconds is a jump of the time stamps, not a loss


class PictureGaps:
    """Sees the time stamp of every decoded picture, in order, and says how many were missing before it."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._steps: deque[int] = deque(maxlen=_STEPS)

    def see(self, pts: int) -> int:
        """How many pictures were lost between the last one and this; 0 unless the rate has been even."""
        last, self._last = self._last, pts
        if last is None:
            return 0
        step = pts - last
        if step <= 0:
            self._steps.clear()
            return 0
        missing = self._missing(step)
        self._steps.append(step)
        return missing

    def _missing(self, step: int) -> int:
        if len(self._steps) < _STEPS:
            return 0
        usual = sorted(self._steps)[_STEPS // 2]
        even = sum(abs(other - usual) <= _EVEN * usual for other in self._steps)
        missing = round(step / usual) - 1
        return missing if even >= _EVEN_STEPS and 0 < missing <= _LONGEST_LOSS else 0
