"""A video with what Vedette saw drawn into it: what is drawn is what would have been published, message for message.

First the machine runs over the file with a JSON-lines sink; then the file is decoded once more and each picture gets
the message of its `seq`. The result is written beside its destination and renamed when it is whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np

from engines.options import ModelOptions
from engines.types import U8, Picture, RgbPicture
from pipeline.assembly import Machine
from pipeline.clock import SystemClock
from pipeline.config import Config
from pipeline.drawing import Artist
from stages.options import JsonlSinkOptions, StreamOptions, TrackOptions
from stages.source import Decoded, open_connection
from stages.source.picture import AvPicture
from stages.types import Reason
from vedette.errors import PictureError, SourceError, UsageError
from vedette.messages import FrameMessage
from vedette.secrets import SecretUrl
from vedette.whole_file import whole_file

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how many frames are done, and how many there are, if that is known."""

_WATCH_S = 0.2
_USUAL_STEP_S, _LONGEST_STEP_S = Fraction(1, 25), 10  # between pictures; what is longer is no pause but a seam


def annotate(
    source: SecretUrl, out: Path, *, model: ModelOptions, track: TrackOptions, progress: Progress
) -> tuple[int, int]:
    """Write `out`; returns how many frames it has and how many tracks were confirmed.

    Raises SourceError if the source cannot be read to its end, ModelError, UsageError if `out` cannot be written or the
    source has no end.
    """
    options = StreamOptions(id="video", url=source, mode="file")
    clock = SystemClock()
    try:
        connection = open_connection(options, clock, threading.Event())
    except SourceError as error:
        msg = error.message if source.scheme == "synthetic" else f"{source}: {error.message}"
        raise SourceError(msg, reason=error.reason, fatal=True) from error
    info = connection.info
    connection.close()
    if not info.finite:
        msg = f"IN: expected something that ends, got {source}"
        raise UsageError(msg, hint="give its length: synthetic://street?seconds=20")
    expected = round(info.duration_s * info.fps) if info.duration_s and info.fps else None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as part:
            found = part.with_name("messages.jsonl")
            _look(options, model, track, found, clock, expected, progress)
            messages, tracks = _read(found)
            frames = _draw(options, messages, part, clock, info.fps, expected, progress)
            if not frames:
                msg = f"{options.url}: no picture in it could be analysed"
                raise SourceError(msg, reason=Reason.CORRUPT.value, fatal=True, hint="`vedette check` may say why")
    except (OSError, av.error.FFmpegError) as error:
        msg = f"OUT: {out} cannot be written: {error.strerror}"
        raise UsageError(msg, hint="choose another place, or make room there") from error
    return frames, tracks


def _look(
    options: StreamOptions,
    model: ModelOptions,
    track: TrackOptions,
    found: Path,
    clock: SystemClock,
    expected: int | None,
    progress: Progress,
) -> None:
    """Run the machine over the source, messages to `found`."""
    sink = JsonlSinkOptions(path=str(found))
    machine = Machine(Config(version=1, model=model, track=track, streams=(options,), sinks=(sink,)), clock=clock)
    over = threading.Event()

    def watch() -> None:
        while not clock.wait(over, _WATCH_S):
            progress("looking", machine.ledger.totals().published, expected)

    outcome = machine.run(beside=[("progress", watch)], on_end=over.set)
    if outcome.failed:
        report = outcome.status.streams[options.id]
        msg = f"{options.url}: {report.note}"
        raise SourceError(msg, reason=outcome.failed[options.id], fatal=True)


def _read(found: Path) -> tuple[dict[int, FrameMessage], int]:
    """The frame messages by `seq`, and how many tracks were confirmed."""
    messages: dict[int, FrameMessage] = {}
    confirmed: set[int] = set()
    decoder = msgspec.json.Decoder(FrameMessage)
    with found.open("rb") as lines:
        for line in lines:
            if b'"type":"frame"' not in line[:32]:
                continue
            message = decoder.decode(line)
            messages[message.seq] = message
            confirmed.update(thing.track for thing in message.objects if thing.state == "confirmed")
    return messages, len(confirmed)


def _draw(
    options: StreamOptions,
    messages: dict[int, FrameMessage],
    part: Path,
    clock: SystemClock,
    fps: float | None,
    expected: int | None,
    progress: Progress,
) -> int:
    """Decode the source again, draw, encode. Returns the number of frames written."""
    artist = Artist()
    frames = 0
    times = Rising()
    with av.open(str(part), "w") as container:
        stream: Any = None
        for seq, item in enumerate(_pictures(options, clock)):
            bgr = _bgr(item.picture)
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps or 25.0).limit_denominator(1001))
                stream.width, stream.height = bgr.shape[1] & ~1, bgr.shape[0] & ~1
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "21", "preset": "veryfast"}
                stream.time_base = stream.codec_context.time_base = item.time_base
            if item.pts is None:
                continue
            message = messages.get(seq)
            if message is not None:
                artist.draw(bgr, message)
            if bgr.shape[:2] != (stream.height, stream.width):
                bgr = np.ascontiguousarray(cv2.resize(bgr, (stream.width, stream.height)))
            frame = av.VideoFrame.from_ndarray(bgr, format="bgr24")
            frame.pts, frame.time_base = times.after(item.pts, item.time_base), item.time_base
            container.mux(stream.encode(frame))
            frames += 1
            if frames % 10 == 0:
                progress("drawing", frames, expected)
        if stream is not None:
            container.mux(stream.encode(None))
    return frames


class Rising:
    """Time stamps from 0 that rise, as a container needs them, of a file cut out of a longer one or put together."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._written = -1
        self._step = 1

    def after(self, pts: int, time_base: Fraction) -> int:
        last, self._last = self._last, pts
        if last is None:
            self._step = max(1, round(_USUAL_STEP_S / time_base))
            self._written = 0
        elif last < pts < last + _LONGEST_STEP_S / time_base:
            self._step = pts - last
            self._written += self._step
        else:  # a new beginning in its middle
            self._written += self._step
        return self._written


def _pictures(options: StreamOptions, clock: SystemClock) -> Iterator[Decoded]:
    connection = open_connection(options, clock, threading.Event())
    try:
        for item in connection.pictures():
            if isinstance(item, Decoded):
                yield item
    finally:
        connection.close()


def _bgr(picture: Picture) -> U8:
    """The picture as (H, W, 3) uint8 BGR, a copy that may be drawn into."""
    if isinstance(picture, AvPicture):
        return picture.bgr()
    planes = picture.planes()
    if isinstance(planes, RgbPicture):
        return np.ascontiguousarray(planes.rgb[:, :, ::-1])
    if planes.u is None or planes.v is None:
        msg = "only planar pictures of a synthetic camera can be drawn into"
        raise PictureError(msg)
    i420 = np.concatenate([planes.y.ravel(), planes.u.ravel(), planes.v.ravel()])
    bgr: U8 = cv2.cvtColor(i420.reshape(-1, planes.size_wh[0]), cv2.COLOR_YUV2BGR_I420)
    return bgr
