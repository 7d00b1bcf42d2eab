"""The first stage: cameras, streams and files in, decoded pictures out.

`open_connection` opens whatever a stream's URL names; `probe` looks at it and closes it again. FFmpeg (through PyAV) is
imported only when something is opened that needs it.
"""

from __future__ import annotations

import threading

from stages.options import StreamOptions
from stages.source.connection import Connection, ConnectionInfo, Decoded, Trouble
from stages.types import Clock

__all__ = ["Connection", "ConnectionInfo", "Decoded", "Trouble", "open_connection"]


def open_connection(
    options: StreamOptions, clock: Clock, stop: threading.Event, *, gpu: int | None = None
) -> Connection:
    """Open the stream's source; blocks at most about `open_timeout_s`. Raises SourceError.

    `gpu`: decode on that GPU and leave the pictures there, if it can be done; else on the CPU, as it is without.
    """
    if options.url.scheme == "synthetic":
        from stages.source.synthetic import open_synthetic

        return open_synthetic(options.url, options, clock, stop)
    from stages.source.av_connection import open_av

    return open_av(options, clock, stop, gpu)
