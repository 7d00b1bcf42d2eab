"""What FFmpeg's errors mean for a stream: a reason of the closed list, and whether waiting will help.

PyAV's exception texts hold the URL with its password: only FFmpeg's own words (`strerror`) are used, scrubbed.
"""

from __future__ import annotations

import errno

import av.error

from stages.types import Reason
from vedette.errors import SourceError
from vedette.secrets import SecretUrl, scrub

_HINTS = {
    Reason.AUTH: "check user and password; cameras lock accounts, so the next attempts are slow",
    Reason.NOT_FOUND: "check the path in the URL",
    Reason.CODEC: "H.264, H.265 and MJPEG always work; see `vedette check`",
}
_LOST = (
    av.error.ConnectionResetError,
    av.error.ConnectionAbortedError,
    av.error.BrokenPipeError,
    av.error.EOFError,
)
_NO_SUPPORT = (
    av.error.DecoderNotFoundError,
    av.error.DemuxerNotFoundError,
    av.error.ProtocolNotFoundError,
    av.error.BSFNotFoundError,
    av.error.PatchWelcomeError,
    av.error.NotImplementedError,
)


# What this machine lacks for the moment says nothing about the file.
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


def source_error(reason: Reason, detail: str, *, fatal: bool = False, hint: str | None = None) -> SourceError:
    """A SourceError in our words; the caller's `detail` must hold no secret."""
    return SourceError(detail, reason=reason.value, fatal=fatal, hint=hint or _HINTS.get(reason))


def words(error: av.error.FFmpegError, url: SecretUrl) -> str:
    """What FFmpeg says about an error, without the file name that PyAV adds."""
    return scrub(str(error.strerror or type(error).__name__), url)


def opening_failed(
    error: av.error.FFmpegError, url: SecretUrl, *, is_local: bool, waited_s: float, limit_s: float
) -> SourceError:
    """Why opening failed. `waited_s`: an interrupted open may call itself invalid data or an I/O error."""
    said = words(error, url)
    if isinstance(error, _NO_SUPPORT):
        return source_error(Reason.CODEC, f"cannot be read: {said}", fatal=True)
    if is_local:
        if isinstance(error, (av.error.FileNotFoundError, av.error.IsADirectoryError)):
            return source_error(Reason.NOT_FOUND, said, fatal=True)
        if isinstance(error, av.error.PermissionError):
            return source_error(Reason.REFUSED, said, fatal=True)
        if error.errno in _PASSING:
            return source_error(Reason.REFUSED, f"cannot be opened for now: {said}")
        return source_error(Reason.CORRUPT, f"no readable video file: {said}", fatal=True)
    if isinstance(error, (av.error.ExitError, av.error.TimeoutError)) or waited_s >= limit_s:
        return source_error(Reason.TIMEOUT, f"no answer for {waited_s:.1f} s (limit {limit_s:g} s)")
    if isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)):
        return source_error(Reason.AUTH, said)
    if isinstance(error, av.error.HTTPNotFoundError):
        return source_error(Reason.NOT_FOUND, said)
    if isinstance(error, _LOST):
        return source_error(Reason.EOF, f"the connection was closed while it was opened: {said}")
    if isinstance(error, (av.error.InvalidDataError, av.error.ArgumentError)):
        return source_error(Reason.CORRUPT, f"no video in what was answered: {said}")
    if url.scheme in ("rtsps", "https"):
        hint = "if its certificate is its own, give tls.ca, or tls.verify: false to trust it blindly"
        return source_error(Reason.REFUSED, f"no secure connection: {said}", hint=hint)
    if error.errno == errno.EIO:
        return source_error(Reason.EOF, f"the connection broke while it was opened: {said}")
    return source_error(Reason.REFUSED, said)


def reading_failed(error: av.error.FFmpegError, url: SecretUrl, *, is_local: bool, limit_s: float) -> SourceError:
    """Why reading failed."""
    said = words(error, url)
    if is_local:
        return source_error(Reason.CORRUPT, f"cannot be read further: {said}", fatal=True)
    if isinstance(error, (av.error.ExitError, av.error.TimeoutError)):
        return source_error(Reason.STALL, f"no packet for {limit_s:g} s (limit {limit_s:g} s)")
    if isinstance(error, (av.error.InvalidDataError, av.error.ArgumentError)):
        return source_error(Reason.CORRUPT, f"cannot be read further: {said}")
    return source_error(Reason.EOF, f"the connection was lost: {said}")
