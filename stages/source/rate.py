"""Limits how many frames a second are analysed: evenly by media time, the same frames for the same file.

Pure and integer: a frame is kept when the next one would be further from its due time. The due times lie on a fixed
grid, so that 12.5 fps become 10 and not 6.25. A live stream's frames must also arrive apart: what piled up while the
connection was opened comes all at once and is stale.

Cameras that start together would stay in step, and all their frames would reach the engine at once. A `phase` of its
own moves each one's grid by a part of its period.
"""

from __future__ import annotations


class RateLimit:
    """Sees every frame of one stream, in order; media times rise between two `restart`s."""

    def __init__(self, fps: float | None, *, live: bool, phase: float = 0.0) -> None:
        """`phase` in [0, 1): after the first frame the grid is late by so much of a period."""
        self._period_ns = None if fps is None else max(1, round(1e9 / fps))
        self._late_ns = 0 if self._period_ns is None else round(phase * self._period_ns)
        self._live = live
        self._due_ns: int | None = None
        self._last_media_ns: int | None = None
        self._kept_mono_ns: int | None = None

    def restart(self) -> None:
        """The media time begins anew: the next frame is due at once (if it has not arrived together with the last)."""
        self._due_ns = self._last_media_ns = None

    def keep(self, media_ns: int, mono_ns: int) -> bool:
        """Whether to analyse the frame."""
        period_ns = self._period_ns
        if period_ns is None:
            return True
        step_ns = period_ns if self._last_media_ns is None else media_ns - self._last_media_ns
        self._last_media_ns = media_ns
        if self._due_ns is not None and 2 * (self._due_ns - media_ns) >= min(step_ns, period_ns):
            return False
        if self._live and self._kept_mono_ns is not None and 4 * (mono_ns - self._kept_mono_ns) < period_ns:
            return False
        self._kept_mono_ns = mono_ns
        if self._due_ns is None:
            self._due_ns = media_ns + self._late_ns
        elif media_ns - self._due_ns >= period_ns:
            self._due_ns = media_ns
        self._due_ns += period_ns
        return True
