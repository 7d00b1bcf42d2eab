"""The FFmpeg options that we use, by kind of source: the whole table, since FFmpeg ignores misspelt ones silently.

Each name was seen to have an effect with FFmpeg 8.1 and 9.0 (PyAV 18 and 19). What may be opened from inside a source
(a playlist that names other files) is limited by `protocol_whitelist`.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from stages.options import StreamOptions, TlsOptions

MAX_PIXELS = 8192 * 4608
"""Of a picture, 8K and a little more: what claims more could take the memory of all other streams."""

# Microseconds that a late UDP packet is waited for. FFmpeg's own half second costs 0.3 s of latency at 5 % loss.
_UDP_REORDER_US = 200_000
# Bytes of the UDP receive buffer: a 1080p key frame arrives as a burst of several hundred packets.
_UDP_BUFFER_BYTES = 2 << 20


def ffmpeg_options(options: StreamOptions) -> dict[str, str]:
    """The options for opening `options.url`, none of which holds a secret."""
    scheme = options.url.scheme
    if scheme in ("rtsp", "rtsps"):
        return _rtsp(options) | (_tls(options.tls) if scheme == "rtsps" else {})
    if scheme in ("http", "https"):
        return _http() | (_tls(options.tls) if scheme == "https" else {})
    # No `max_pixels`: finding out about a file would fail, and what it has too many of could not be said (`av_open`).
    return {"protocol_whitelist": "file,crypto,data"}


def _rtsp(options: StreamOptions) -> dict[str, str]:
    table = {
        "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto",
        "rtsp_transport": options.transport,
        "max_pixels": str(MAX_PIXELS),
        # Neither audio nor meta-data is even asked for.
        "allowed_media_types": "video",
        # Don't hold the first second back to guess a frame rate that we measure ourselves: 0.3 s to open, not 1.1 s.
        "fpsprobesize": "0",
    }
    if options.transport == "udp":
        table |= {"max_delay": str(_UDP_REORDER_US), "buffer_size": str(_UDP_BUFFER_BYTES)}
    return table


def _http() -> dict[str, str]:
    return {
        "protocol_whitelist": "http,https,httpproxy,tcp,tls,crypto",
        "max_pixels": str(MAX_PIXELS),
        "fpsprobesize": "0",
        # MPEG-TS: a new program map (another codec, another PID) keeps the stream that we read.
        "merge_pmt_versions": "1",
    }


def _tls(tls: TlsOptions) -> dict[str, str]:
    if not tls.verify:
        return {"tls_verify": "0"}
    ca = tls.ca or system_authorities()
    return {"tls_verify": "1"} | ({"ca_file": ca} if ca else {})


def system_authorities() -> str | None:
    """The system's bundle of certificate authorities: the wheel's own TLS library does not know where it lies."""
    paths = ssl.get_default_verify_paths()
    for candidate in (
        paths.cafile,
        paths.openssl_cafile,
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/cert.pem",
    ):
        if candidate and Path(candidate).is_file():
            return candidate
    return None
