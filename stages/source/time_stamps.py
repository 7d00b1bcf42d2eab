"""Judges a stream's time stamps: good, of no use, or from another time line.

The rule that everything after the source relies on: within an epoch, time stamps rise strictly. A frame without a time
stamp, or with one that does not rise, is of no use. A time line that went back by more than a second (a camera that
restarted, a counter that wrapped, files joined end to end) or, live, jumped further ahead than anything can arrive
early, begins anew: a new epoch, its time stamps left as the stream gave them. A file may leap ahead (a recorder that
stores movement only): those are its true times.
"""

from __future__ import annotations

import enum
from fractions import Fraction

# A step back that is no restart: equal or slightly swapped time stamps of sloppy senders.
_BACK_NS = 1_000_000_000
# Some servers send their last group of pictures at once on connecting: that much may come early (10 s GOPs exist).
_AHEAD_NS = 10_000_000_000
# A sender whose time stamps alternate must not make an epoch a frame: so many frames at least lie between two jumps.
_FRAMES_BETWEEN_JUMPS = 25


class Verdict(enum.Enum):
    GOOD = "good"
    UNUSABLE = "unusable"
    JUMP = "jump"


class TimeStamps:
    """Sees every frame of one connection in presentation order."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._last_ns: int | None = None
        self._earliest_ns: int | None = None
        self._since_jump = _FRAMES_BETWEEN_JUMPS

    def see(self, pts: int | None, time_base: Fraction, mono_ns: int) -> Verdict:
        """What to make of the frame. JUMP: it is good, and the first of a new time line."""
        self._since_jump += 1
        if pts is None:
            return Verdict.UNUSABLE
        media_ns = media_time_ns(pts, time_base)
        offset_ns = mono_ns - media_ns
        if self._last_ns is None or self._earliest_ns is None:
            self._last_ns, self._earliest_ns = media_ns, offset_ns
            return Verdict.GOOD
        step_ns = media_ns - self._last_ns
        ahead_ns = self._earliest_ns - offset_ns
        if step_ns < -_BACK_NS or (self._live and ahead_ns > _AHEAD_NS):
            if self._since_jump <= _FRAMES_BETWEEN_JUMPS:
                return Verdict.UNUSABLE
            self._since_jump = 0
            self._last_ns, self._earliest_ns = media_ns, offset_ns
            return Verdict.JUMP
        if step_ns <= 0:
            return Verdict.UNUSABLE
        self._last_ns = media_ns
        self._earliest_ns = min(self._earliest_ns, offset_ns)
        return Verdict.GOOD


def media_time_ns(pts: int, time_base: Fraction) -> int:
    """A time stamp in nanoseconds, rounded down: exact enough to compare, and the same on every machine."""
    return pts * time_base.numerator * 1_000_000_000 // time_base.denominator
