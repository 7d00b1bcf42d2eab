"""What a JPEG file says of itself beside its picture: whether it is all there, and how it is to be turned.

FFmpeg decodes a file that was cut between two scans without a word, and PyAV 18 cannot show the Exif block.
Sources: ITU-T T.81 (B.1.1, markers); Exif 2.32 (4.6.4, tag 0x0112).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

_START, _END, _SCAN, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)  # not a stuffed byte, not a restart
_EXIF = b"Exif\x00\x00"
_ORIENTATION, _SHORT = 0x0112, 3


def is_jpeg(data: bytes) -> bool:
    return data[:3] == b"\xff\xd8\xff"


def is_complete(data: bytes) -> bool:
    """Whether a JPEG reaches its end marker; what follows that (a second picture, a video) is nobody's affair."""
    return any(kind == _END for kind, _ in _segments(data))


def orientation(data: bytes) -> int:
    """How a JPEG is to be turned, 1 to 8 as Exif counts; 1, upright, if it does not say."""
    for kind, payload in _segments(data):
        if kind == _SCAN:
            break
        if kind == _APP1 and payload.startswith(_EXIF):
            return exif_orientation(payload)
    return 1


def exif_orientation(block: bytes) -> int:
    """How a picture is to be turned, 1 to 8, as the first directory of its Exif block says; 1 if that makes no sense.

    The block may begin with «Exif», as in a JPEG, or without, as in a WebP.
    """
    tiff = block.removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    if directory + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(f"{order}H", tiff, directory)
    for entry in range(directory + 2, min(directory + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
        if (tag, kind) == (_ORIENTATION, _SHORT):
            (value,) = struct.unpack_from(f"{order}H", tiff, entry + 8)
            return value if 1 <= value <= 8 else 1
    return 1


def size_wh(data: bytes) -> tuple[int, int] | None:
    """Width and height as stored, before it is turned; None if the file does not come to say it."""
    for kind, payload in _segments(data):
        if kind in _FRAMES and len(payload) >= 5:
            height, width = struct.unpack_from(">HH", payload, 1)
            return (width, height)
    return None


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, payload) in the order of the file, up to its end marker or to where it is cut."""
    position = 2
    while (found := _MARKER.search(data, position)) is not None:
        kind, position = found[1][0], found.end()
        if kind == _END:
            yield kind, b""
            return
        if kind in {0x01, _START}:  # markers without a payload
            continue
        if position + 2 > len(data):
            return
        (length,) = struct.unpack_from(">H", data, position)
        yield kind, data[position + 2 : position + length]
        position += max(2, length)
