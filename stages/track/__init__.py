"""Tracking: which boxes of one frame are the objects of the last one.

In:  one frame's Detections, the media time since the last frame, the picture's size.
Out: TrackUpdate: the tracks of this frame, those that it confirmed and those that it ended.
Called from the finish thread, one tracker a stream, in frame order.

`build_tracker` imports norfair only when it is called: with SciPy behind it that takes over a second.
"""

from __future__ import annotations

from collections.abc import Sequence

from stages.options import TrackOptions
from stages.types import Tracker
from vedette.errors import MissingExtraError


def build_tracker(options: TrackOptions, classes: Sequence[str] = ()) -> Tracker:
    """A fresh tracker for one stream; `classes` are the model's names: those that get mixed up may follow each other.

    Raises MissingExtraError if norfair is not installed.
    """
    try:
        from stages.track.by_norfair import NorfairTracker
    except ModuleNotFoundError as error:
        msg = f"tracking needs the package {error.name!r}, which is not installed"
        raise MissingExtraError(msg, hint="pip install 'vedette[cpu]'") from error
    return NorfairTracker(options, classes)
