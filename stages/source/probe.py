"""Looks at a source once: opens it, decodes its first picture, closes it. For `vedette check`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from dataclasses import dataclass

from engines.types import SizeWH
from stages.options import StreamOptions
from stages.source import Decoded, open_connection
from stages.types import Clock, Reason
from vedette.errors import SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What a source is: `size_wh` of the first picture; frame rate and duration as it says, None if it does not."""

    codec: str
    size_wh: SizeWH
    fps: float | None
    duration_s: float | None


def probe(options: StreamOptions, clock: Clock, stop: threading.Event) -> ProbeResult:
    """Open, see one picture, close; takes at most about the stream's open and read time-outs. Raises SourceError."""
    connection = open_connection(options, clock, stop)
    with contextlib.closing(connection):
        pictures = connection.pictures()
        try:
            for item in pictures:
                if isinstance(item, Decoded):
                    info = connection.info
                    return ProbeResult(
                        codec=info.codec, size_wh=item.picture.size_wh, fps=info.fps, duration_s=info.duration_s
                    )
        finally:
            if isinstance(pictures, Generator):
                pictures.close()
    msg = "ended before its first picture"
    raise SourceError(msg, reason=Reason.CORRUPT.value, fatal=True)
