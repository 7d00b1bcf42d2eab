"""Opens what a URL names with FFmpeg and finds the video in it.

Out: `Opened`, whose container its owner closes. Raises SourceError with one of the closed list of reasons; names are
resolved here, not in FFmpeg, which has no word for a name that does not resolve.
"""

from __future__ import annotations

import datetime
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import av
import av.container
import av.error
from av.codec.hwaccel import HWAccel

from stages.options import StreamOptions
from stages.source import av_compat
from stages.source.av_errors import opening_failed, source_error
from stages.source.connection import ConnectionInfo
from stages.source.ffmpeg_options import MAX_PIXELS, ffmpeg_options
from stages.types import Clock, Reason
from vedette.secrets import SecretUrl

# Between 1080p (2 million), which one thread decodes with ease, and 4K (8 million), which it cannot at 30 fps.
_LARGE_PIXELS = 4_000_000
_DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """An open container and its video stream; whoever holds it closes the container."""

    container: av.container.InputContainer
    video: Any
    info: ConnectionInfo


def is_local(url: SecretUrl) -> bool:
    """Whether the URL names a file of this machine."""
    return url.scheme in ("", "file")


def local_path(url: SecretUrl) -> Path:
    """The path of a file's URL: a plain path, `file:PATH` or `file:///PATH` (percent-encoded)."""
    text = url.reveal()
    if url.scheme != "file":
        return Path(text)
    rest = text[len("file:") :]
    if not rest.startswith("//"):
        return Path(rest)
    return Path(unquote(urlsplit(text).path))


def open_input(options: StreamOptions, clock: Clock, hwaccel: HWAccel | None = None) -> Opened:
    """Open the stream's source; blocks at most about `open_timeout_s`. Raises SourceError."""
    url = options.url
    local = is_local(url)
    started_ns = clock.mono_ns()
    if local:
        target = "file:" + str(_regular_file(local_path(url)))
    else:
        _resolve(url)
        target = url.reveal()
    try:
        container = av_compat.open_input(
            target,
            options=ffmpeg_options(options),
            open_timeout_s=options.open_timeout_s,
            read_timeout_s=options.read_timeout_s,
            hwaccel=hwaccel,
        )
    except av.error.FFmpegError as error:
        waited_s = (clock.mono_ns() - started_ns) / 1e9
        # Not `from error`: the text of PyAV's exception holds the URL with its password.
        raise opening_failed(error, url, is_local=local, waited_s=waited_s, limit_s=options.open_timeout_s) from None
    try:
        return _find_video(container, options, local)
    except BaseException:
        container.close()
        raise


def _find_video(container: av.container.InputContainer, options: StreamOptions, local: bool) -> Opened:
    video: Any = container.streams.best("video")
    if video is None:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise source_error(Reason.CODEC, f"has no video, but {kinds}", fatal=True)
    if video.codec_context is None:
        raise source_error(Reason.CODEC, "its video codec has no decoder here", fatal=True)
    for stream in container.streams:
        if stream.index != video.index:
            av_compat.discard_all(stream)
    context = video.codec_context
    name = str(context.name)
    if context.width * context.height > MAX_PIXELS:
        detail = (
            f"its pictures are {context.width}x{context.height}, expected at most {MAX_PIXELS / 1e6:.0f} million pixels"
        )
        raise source_error(
            Reason.CODEC if local else Reason.CORRUPT, detail, fatal=local, hint="scale them down where they come from"
        )
    context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}  # they may grow later
    if context.is_hwaccel:
        # No `extra_hw_frames`: FFmpeg copies each picture out of NVDEC into a pool that grows, so pictures on their way
        # take no surface of the decoder; and with more of those than 32, as FFmpeg warns, there may be no decoder at
        # all (it asks for references + reordered pictures + 5).
        context.thread_type, context.thread_count = "SLICE", 1
    elif options.is_file or context.width * context.height > _LARGE_PIXELS:
        # One file, two cores: frame threads decode 1.55 times as fast as one; slice threads gain nothing on a
        # single-slice stream (FACTS). A camera has one thread: many cameras share the cores, and it adds no latency.
        # But one thread cannot keep up with 4K at 30 fps, and who falls behind does so without end: there a second
        # one is worth the picture that it is later.
        context.thread_type, context.thread_count = "FRAME", 2
    else:
        context.thread_type, context.thread_count = "SLICE", 1
    if options.decode == "nonkey":
        context.skip_frame = "NONKEY"
    try:
        context.open(strict=False)
    except av.error.FFmpegError as error:
        # Left to the first packet, PyAV 19 would go on with a context that has lost its codec, and crash.
        detail = f"its decoder ({name}) cannot be opened: {error.strerror}"
        raise source_error(Reason.CODEC if local else Reason.CORRUPT, detail, fatal=local) from None
    rate = av_compat.fraction(video.average_rate) or av_compat.fraction(video.guessed_rate)
    return Opened(
        container=container,
        video=video,
        info=ConnectionInfo(
            codec=name,
            size_wh=(context.width, context.height) if context.width and context.height else None,
            fps=float(rate) if rate else None,
            duration_s=container.duration / 1e6 if container.duration and local else None,
            finite=local,
            created_wall_ns=_creation_time_ns(container.metadata) if local else None,
        ),
    )


def _regular_file(path: Path) -> Path:
    try:
        there = path.stat()
        mode = there.st_mode
    except FileNotFoundError:
        raise source_error(Reason.NOT_FOUND, "no such file", fatal=True) from None
    except OSError as error:
        raise source_error(Reason.REFUSED, f"cannot be opened: {error.strerror}", fatal=True) from None
    if not stat.S_ISREG(mode):
        got = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise source_error(Reason.NOT_FOUND, f"expected a file, got {got}", fatal=True)
    if there.st_size == 0:
        raise source_error(Reason.CORRUPT, "no readable video file: it is empty", fatal=True)
    return path


def _resolve(url: SecretUrl) -> None:
    try:
        parts = urlsplit(url.reveal())
        host, port = parts.hostname, parts.port or _DEFAULT_PORTS.get(url.scheme, 0)
    except ValueError:
        raise source_error(Reason.UNRESOLVED, "its URL has no host and port that can be read", fatal=True) from None
    if not host:
        raise source_error(Reason.UNRESOLVED, "its URL names no host", fatal=True)
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or "no such name"
        raise source_error(Reason.UNRESOLVED, f"host {host!r} cannot be resolved: {said}") from None


def _creation_time_ns(metadata: dict[str, str]) -> int | None:
    """The container's creation time in nanoseconds since 1970; None if there is none that can be read."""
    text = metadata.get("creation_time", "")
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    since = when - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return max(0, since // datetime.timedelta(microseconds=1)) * 1000 or None
