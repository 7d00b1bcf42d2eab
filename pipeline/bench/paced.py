"""A file played at a chosen rate, as a camera would: for latency below saturation, and endlessly for throughput.

Called by `pipeline/bench/child.py`, for the streams that the configuration reads as files.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import msgspec

from stages.options import StreamOptions
from stages.source import Connection, ConnectionInfo, Decoded, Trouble, open_connection
from stages.types import Clock, Reason
from vedette.errors import SourceError

Open = Callable[[StreamOptions, Clock, threading.Event], Connection]


class Endless:
    """Plays a file again and again on one time line; `rate` pictures a second, or as fast as they are taken."""

    def __init__(
        self, opened: Callable[[], Connection], clock: Clock, stop: threading.Event, rate: float | None
    ) -> None:
        self._opened = opened
        self._clock = clock
        self._stop = stop
        self._rate = rate
        self._inner = opened()

    @property
    def info(self) -> ConnectionInfo:
        return replace(self._inner.info, finite=False)

    def pictures(self) -> Iterator[Decoded | Trouble]:
        start_ns = self._clock.mono_ns()
        count = 0
        offset = last = step = 0
        first: int | None = None
        while not self._stop.is_set():
            for item in self._inner.pictures():
                if isinstance(item, Trouble) or item.pts is None:
                    yield item
                    continue
                if first is None:
                    first = item.pts
                pts = item.pts - first + offset
                step, last = max(1, pts - last), pts
                now_ns = self._clock.mono_ns()
                if self._rate is not None:
                    due_ns = start_ns + int(count * 1e9 / self._rate)
                    if due_ns > now_ns and self._clock.wait(self._stop, (due_ns - now_ns) / 1e9):
                        return
                    now_ns = self._clock.mono_ns()
                    # The picture is there when it is due, not when the decoder had it ready.
                    yield replace(item, pts=pts, mono_ns=now_ns, decoded_ns=now_ns)
                else:
                    yield replace(item, pts=pts)
                count += 1
            if first is None:
                msg = "no picture in it has a time stamp"
                raise SourceError(msg, reason=Reason.CORRUPT.value, fatal=True)
            self._inner.close()
            self._inner = self._opened()
            offset, first = last + step, None

    def close(self) -> None:
        self._inner.close()


def endless(files: Collection[str], rate: float | None) -> Open:
    """An `open_connection` that plays the streams named in `files` endlessly, and everything else as it is."""

    def open_it(options: StreamOptions, clock: Clock, stop: threading.Event, *, gpu: int | None = None) -> Connection:
        if options.id in files:  # without a pace of its own: `Endless` has one, or none at all
            options = msgspec.structs.replace(options, mode="file", loop=False)
        opened = functools.partial(open_connection, options, clock, stop)
        if gpu is not None:
            opened = functools.partial(opened, gpu=gpu)
        return Endless(opened, clock, stop, rate) if options.id in files else opened()

    return open_it
