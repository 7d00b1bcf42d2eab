"""The subscriber's own clock; that of the pipeline is in a room that a subscriber does not have."""

from __future__ import annotations

import time


def monotonic_s() -> float:
    """Seconds since some moment; for how long ago something was."""
    return time.monotonic()
