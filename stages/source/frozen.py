"""Notices a picture that does not change while time stamps advance: a camera whose encoder hangs, or a still night.

A coarse grid of the luma plane is compared for every frame, which a real sensor's noise changes each time; only while
that stays the same is the whole plane hashed, about once a second of media time, so that a small movement is not
missed; at uneven intervals, so that a blinking light is not always caught in the same phase. A picture that lies on a
GPU is looked at as a whole only, at those intervals: each look waits for the device.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from engines.types import Picture, RgbPicture
from vedette.errors import PictureError

_GRID = 8
_WHOLE_EVERY_NS = 1_000_000_000
_GOLDEN = 0.6180339887498949


class FrozenPicture:
    """Sees the frames of one connection; `frozen` is the flag."""

    def __init__(self, frozen_s: float) -> None:
        self._limit_ns = int(frozen_s * 1e9)
        self._every_ns = min(_WHOLE_EVERY_NS, self._limit_ns // 4)
        self._grid: int | None = None
        self._whole: int | None = None
        self._whole_due_ns = 0
        self._wholes = 0
        self._since_ns = 0
        self.frozen = False

    def see(self, picture: Picture, media_ns: int) -> bool:
        """Take the next frame; True if the flag changed with it. Media times rise."""
        try:
            # A surface on a GPU, of which the host has no planes. (Asking for a protocol would cost each frame 8 µs.)
            digest: Callable[[], int] | None = getattr(picture, "digest", None)
            if digest is not None:
                return self._see_whole(digest, media_ns)
            planes = picture.planes()
        except PictureError:
            return False
        luma = planes.rgb[..., 1] if isinstance(planes, RgbPicture) else planes.y
        grid = zlib.crc32(np.ascontiguousarray(luma[::_GRID, ::_GRID]).tobytes())
        if grid != self._grid:
            self._grid, self._whole, self._since_ns = grid, None, media_ns
            return self._set(False)
        if self._due(media_ns):
            whole = 0
            for row in luma:  # no copy of the plane: large pieces that come and go, of many cameras, make the heap grow
                whole = zlib.crc32(np.ascontiguousarray(row).data, whole)
            if whole != self._whole:
                self._since_ns = media_ns if self._whole is not None else self._since_ns
                self._whole = whole
                return self._set(False)
        return self._set(media_ns - self._since_ns >= self._limit_ns)

    def _see_whole(self, digest: Callable[[], int], media_ns: int) -> bool:
        if not self._due(media_ns):
            return False
        whole = digest()
        if whole != self._whole:
            self._whole, self._since_ns = whole, media_ns
        return self._set(media_ns - self._since_ns >= self._limit_ns)

    def _due(self, media_ns: int) -> bool:
        """Whether this picture is to be looked at as a whole."""
        if self._whole is not None and media_ns < self._whole_due_ns:
            return False
        self._wholes += 1
        self._whole_due_ns = media_ns + int(self._every_ns * (0.5 + self._wholes * _GOLDEN % 1))
        return True

    def _set(self, frozen: bool) -> bool:
        changed, self.frozen = frozen != self.frozen, frozen
        return changed
