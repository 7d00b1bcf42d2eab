"""A connection that is to be decoded on a GPU and begins anew on the CPU where that turns out to be of no use.

In:  a stream's options and its GPU.
Out: a `Connection`, whose first picture is the stream's first, wherever it was decoded.
What is known before anything is opened is `GpuDecoding`'s to say, and a codec that NVDEC does not take FFmpeg's. Left
are pictures that nobody can read there (HEVC in 4:4:4) and memory that ends with the first of them.
Called by `open_av`, in the stream's thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from stages.options import StreamOptions
from stages.source.av_connection import AvConnection, RefusedByGpuError
from stages.source.av_gpu import GpuDecoding
from stages.source.av_open import open_input
from stages.source.connection import ConnectionInfo, Decoded, Trouble
from stages.types import Clock


def open_on_gpu(options: StreamOptions, clock: Clock, stop: threading.Event, gpu: int) -> FallingBack:
    """Open a camera, an HTTP stream or a file, to be decoded on the GPU if that can be done. Raises SourceError."""
    return FallingBack(options, clock, stop, GpuDecoding(gpu))


class FallingBack:
    """An `AvConnection`, and another one without the GPU if the first was refused before it gave a picture out."""

    def __init__(self, options: StreamOptions, clock: Clock, stop: threading.Event, decoding: GpuDecoding) -> None:
        self._options = options
        self._clock = clock
        self._stop = stop
        self._decoding = decoding
        self._connection = self._open()

    @property
    def info(self) -> ConnectionInfo:
        return self._connection.info

    def pictures(self) -> Iterator[Decoded | Trouble]:
        try:
            yield from self._connection.pictures()
        except RefusedByGpuError as refused:
            self._decoding.give_up(str(refused))
        else:
            return
        self._connection.close()
        self._connection = self._open()
        yield from self._connection.pictures()

    def close(self) -> None:
        self._connection.close()

    def _open(self) -> AvConnection:
        opened = open_input(self._options, self._clock, self._decoding.hwaccel)
        return AvConnection(opened, self._options, self._clock, self._stop, self._decoding)
