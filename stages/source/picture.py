"""A decoded picture as the sources hand it on: `engines/av_picture.py`, which still images go through, too."""

from __future__ import annotations

from engines.av_picture import AvPicture

__all__ = ["AvPicture"]
