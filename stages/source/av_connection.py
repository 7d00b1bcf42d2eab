"""Reads and decodes an open FFmpeg source: cameras, HTTP streams and files.

Out: `Decoded` pictures and `Trouble`s, as `stages.source.connection` promises. A file played live is paced here, by its
own time stamps, before its packets reach the decoder, so that their arrival times are those of a camera.
Runs in the stream's own thread; blocks in the network at most `read_timeout_s`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NoReturn

import av
import av.error

from engines.types import Picture
from stages.options import StreamOptions
from stages.source import av_compat
from stages.source.av_errors import reading_failed, source_error
from stages.source.av_open import Opened, is_local, open_input
from stages.source.connection import Connection, ConnectionInfo, Decoded, Trouble
from stages.source.gaps import PictureGaps
from stages.source.pacing import Pacer
from stages.source.picture import AvPicture
from stages.types import Clock, Reason

if TYPE_CHECKING:
    from stages.source.av_gpu import GpuDecoding

# A demuxer that gives pictures one by one without any time of theirs: arrival is their media time.
_UNTIMED = frozenset({"mpjpeg", "mjpeg", "h264", "hevc"})
# Of a file of that kind the pictures are counted, at the rate that it declares.
_BARE = frozenset({"h264", "hevc"})
_USUAL_FPS = 25.0
_ARRIVAL_TIME_BASE = Fraction(1, 1_000_000)
# Pictures that a decoder may hold back (16 is H.264's and H.265's limit), and as many again for threads and damage.
_REMEMBERED_PACKETS = 64
# So many packets in a row that give no picture, for `read_timeout_s`: the stream is not what it was when opened.
_USELESS_PACKETS = 25
# How long packets may come without an error and without a picture: the longest usual distance of key frames, and with
# `decode: nonkey` that of cameras that save bits. A guess; a stream without any key frame looks like this, too.
_NO_PICTURE_S = {"all": 30.0, "nonkey": 300.0}
# A decoder that lacks memory for a picture takes more, and keeps it. While a camera's frames wait for the engine two of
# them are away at most, so the first pictures of a connection are kept that long: its memory is then all there from the
# start, and doesn't grow on the first busy evening.
_AWAY = 2
_SETTLING_PICTURES = 8


class RefusedByGpuError(Exception):
    """The stream cannot be decoded on its GPU, as is seen before its first picture is given out: the text says why."""


def open_av(options: StreamOptions, clock: Clock, stop: threading.Event, gpu: int | None = None) -> Connection:
    """Open a camera, an HTTP stream or a file; decode it on a GPU, if one is given and it can. Raises SourceError."""
    if gpu is None:
        return AvConnection(open_input(options, clock), options, clock, stop)
    from stages.source.av_fallback import open_on_gpu

    return open_on_gpu(options, clock, stop, gpu)


class AvConnection:
    """One open container, its video decoder, and when its packets arrived."""

    def __init__(
        self,
        opened: Opened,
        options: StreamOptions,
        clock: Clock,
        stop: threading.Event,
        on_gpu: GpuDecoding | None = None,
    ) -> None:
        self.info: ConnectionInfo = opened.info
        self._container = opened.container
        self._video = opened.video
        self._options = options
        self._clock = clock
        self._stop = stop
        self._local = is_local(options.url)
        self._untimed = not self._local and opened.container.format.name in _UNTIMED
        bare = self._local and opened.container.format.name in _BARE
        self._tick = 1 / Fraction(opened.info.fps or _USUAL_FPS).limit_denominator(1001) if bare else None
        self._packets = self._pictures = 0
        self._time_base = av_compat.fraction(opened.video.time_base) or Fraction(1, 90_000)
        self._pacer = Pacer(clock, stop) if self._local and not options.is_file else None
        every_frame = not self._local and not self._untimed and options.decode == "all"
        self._gaps = PictureGaps() if every_frame else None
        self._arrivals: dict[int, tuple[int, int | None]] = {}
        self._opened_ns = clock.mono_ns()
        self._last_picture_ns = self._opened_ns
        self._useless = 0
        self._settling = 0 if options.is_file else _SETTLING_PICTURES
        self._kept: list[av.VideoFrame] = []
        self._on_gpu = on_gpu

    def pictures(self) -> Iterator[Decoded | Trouble]:
        """As promised by `Connection`; with a GPU also raises RefusedByGpuError."""
        try:
            for packet in self._container.demux():
                arrived_ns = self._clock.mono_ns()
                if self._stop.is_set():
                    return
                if packet.stream.index != self._video.index:
                    self._check_silence(arrived_ns)
                    continue
                yield from self._packet(packet, arrived_ns)
        except av.error.FFmpegError as error:
            raise reading_failed(
                error, self._options.url, is_local=self._local, limit_s=self._options.read_timeout_s
            ) from None

    def close(self) -> None:
        self._arrivals.clear()
        self._kept.clear()
        self._container.close()

    def _packet(self, packet: Any, arrived_ns: int) -> Iterator[Decoded | Trouble]:
        when = packet.dts if packet.dts is not None else packet.pts
        base = self._time_base
        if self._tick is not None:
            when, base, self._packets = self._packets, self._tick, self._packets + 1
        if self._pacer is not None and when is not None:
            if not self._pacer.wait_until(int(when * base * 1_000_000_000)):
                return
            arrived_ns = self._clock.mono_ns()
        if packet.pts is not None:
            if len(self._arrivals) >= _REMEMBERED_PACKETS:
                del self._arrivals[next(iter(self._arrivals))]
            self._arrivals[packet.pts] = (arrived_ns, av_compat.sender_wall_ns(packet))
        yield from self._decode(packet, arrived_ns)

    def _decode(self, packet: Any, arrived_ns: int) -> Iterator[Decoded | Trouble]:
        try:
            frames = packet.decode()
        except av.error.MemoryError:
            if self._on_gpu is not None and self._on_gpu.in_use:
                self._no_gpu_memory()
            raise
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            self._useless += 1
            yield Trouble(kind="damaged", detail=str(error.strerror))
            self._check_useless(arrived_ns)
            return
        if packet.is_corrupt and not any(frame.is_corrupt for frame in frames):
            yield Trouble(kind="damaged", detail="marked as corrupt by its container")
        if not frames:
            self._check_pictures(arrived_ns)
        for frame in frames:
            # What arrived and could not be decoded leaves a gap, too, and is counted as damaged.
            lost = self._gaps.see(frame.pts) - self._useless if self._gaps and frame.pts is not None else 0
            if lost > 0:
                yield Trouble(kind="lost", count=lost, detail="gap in the time stamps")
            self._useless = 0
            self._last_picture_ns = arrived_ns
            self._settle(frame)
            yield self._decoded(frame, arrived_ns)

    def _decoded(self, frame: av.VideoFrame, arrived_ns: int) -> Decoded:
        pts, time_base = frame.pts, av_compat.fraction(frame.time_base) or self._time_base
        mono_ns, rtcp_wall_ns = arrived_ns, None
        if pts is not None:
            mono_ns, rtcp_wall_ns = self._arrivals.pop(pts, (arrived_ns, None))
        elif self._local:  # AVI and the like know decoding times only
            pts = frame.dts
        if self._tick is not None:
            pts, time_base, self._pictures = self._pictures, self._tick, self._pictures + 1
        elif self._untimed:
            pts, time_base = (mono_ns - self._opened_ns) // 1000, _ARRIVAL_TIME_BASE
        return Decoded(
            pts=pts,
            time_base=time_base,
            mono_ns=mono_ns,
            decoded_ns=self._clock.mono_ns(),
            picture=self._picture(frame),
            rtcp_wall_ns=rtcp_wall_ns,
            corrupt=bool(frame.is_corrupt),
        )

    def _turns(self, frame: av.VideoFrame) -> int:
        """Quarters to the left that make it upright. Files of phones say that; no camera does."""
        return round(frame.rotation / 90) if self._local else 0

    def _picture(self, frame: av.VideoFrame) -> Picture:
        """The first picture shows where it was decoded."""
        on_gpu = self._on_gpu
        if on_gpu is None:
            return AvPicture(frame, self._turns(frame))
        if self.info.decoder is None:
            why = on_gpu.refuses(frame)
            if why is not None:
                raise RefusedByGpuError(why)
            self.info = replace(self.info, decoder=on_gpu.said_of(frame))
        return on_gpu.picture_of(frame)

    def _no_gpu_memory(self) -> NoReturn:
        """FFmpeg looks for another decoder when it makes one, but not when that one finds no memory for a picture."""
        if self.info.decoder is None:
            msg = "has no memory left for pictures"
            raise RefusedByGpuError(msg)
        hint = "lower model.gpu.memory_mb, or give the GPU fewer streams"
        detail = f"{self.info.decoder} has no memory left for its pictures"
        # A camera comes back, on the CPU if there still is none; a file cannot go on elsewhere in its middle.
        raise source_error(Reason.CODEC, detail, fatal=self._local, hint=hint) from None

    def _settle(self, frame: av.VideoFrame) -> None:
        """Of the first pictures keep some until the others are there."""
        if self._settling:
            self._settling -= 1
            if len(self._kept) < _AWAY:
                self._kept.append(frame)
            if not self._settling:
                self._kept.clear()

    def _check_silence(self, now_ns: int) -> None:
        """Sound alone is no life sign: without video for `read_timeout_s` the stream stalls."""
        limit_s = self._options.read_timeout_s
        if not self._local and (now_ns - self._last_picture_ns) / 1e9 > limit_s and not self._useless:
            raise source_error(Reason.STALL, f"no video for {limit_s:g} s (limit {limit_s:g} s)")

    def _check_pictures(self, now_ns: int) -> None:
        """A decoder may wait for a key frame that never comes, without a word."""
        limit_s = max(self._options.read_timeout_s, _NO_PICTURE_S[self._options.decode])
        if not self._local and (now_ns - self._last_picture_ns) / 1e9 > limit_s:
            raise source_error(Reason.STALL, f"packets come, but no picture for {limit_s:g} s: no key frame?")

    def _check_useless(self, now_ns: int) -> None:
        if self._local or self._useless < _USELESS_PACKETS:
            return
        silent_s = (now_ns - self._last_picture_ns) / 1e9
        if silent_s > self._options.read_timeout_s:
            detail = f"no packet could be decoded for {silent_s:.1f} s; has its codec changed?"
            raise source_error(Reason.CORRUPT, detail)
