"""One event on disk: a head and its payload, each with its own checksum.

    marker 4 | length of payload u32 | n u64 | crc32 of payload u32 | crc32 of the 20 bytes before u32 | payload

Little-endian. The head has a checksum of its own so that a record that was cut off (a valid head, too few bytes) can be
told from one that was changed: the first was never promised, the second may have been. The marker lets reading go on
behind damage.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Literal

MARKER = b"\xd7VR\x1e"
_HEAD = struct.Struct("<4sIQI")
_CRC = struct.Struct("<I")
HEAD_BYTES = _HEAD.size + _CRC.size
MAX_N = 1 << 53
"""Above it a number is damage, or somebody's joke: JSON's and Lua's numbers are exact up to it."""

Tail = Literal["clean", "torn", "damaged"]
"""How a segment ends: at a record's end; in a record whose writing was cut off; in bytes that are no such thing."""


@dataclass(frozen=True, slots=True)
class Found:
    """A whole and sound record at `offset`, up to `end`."""

    offset: int
    end: int
    n: int
    payload: bytes


def encode(n: int, payload: bytes) -> bytes:
    """The record of `payload` as it stands on disk."""
    head = _HEAD.pack(MARKER, len(payload), n, zlib.crc32(payload))
    return b"".join((head, _CRC.pack(zlib.crc32(head)), payload))


def encoded_bytes(payload: bytes) -> int:
    """How many bytes `encode` makes of it."""
    return HEAD_BYTES + len(payload)


def record_at(data: bytes, offset: int) -> Found | None:
    """The record that begins at `offset`; None if there is none, or not all of it, or it was changed."""
    start = offset + HEAD_BYTES
    if len(data) < start:
        return None
    marker, length, n, crc = _HEAD.unpack_from(data, offset)
    if marker != MARKER or zlib.crc32(data[offset : offset + _HEAD.size]) != _CRC.unpack_from(data, start - 4)[0]:
        return None
    payload = data[start : start + length]
    if n > MAX_N or len(payload) < length or zlib.crc32(payload) != crc:
        return None
    return Found(offset, start + length, n, payload)


def next_record(data: bytes, offset: int) -> Found | None:
    """The first sound record at or behind `offset`, whatever lies before it."""
    while (offset := data.find(MARKER, offset)) >= 0:
        found = record_at(data, offset)
        if found is not None:
            return found
        offset += 1
    return None


def wanted_bytes(data: bytes, offset: int) -> int | None:
    """How many bytes the record at `offset` takes, by its head; None if the head isn't whole and sound."""
    start = offset + HEAD_BYTES
    if len(data) < start:
        return None
    marker, length, _, _ = _HEAD.unpack_from(data, offset)
    if marker != MARKER or zlib.crc32(data[offset : offset + _HEAD.size]) != _CRC.unpack_from(data, start - 4)[0]:
        return None
    return HEAD_BYTES + int(length)


def tail_of(data: bytes, offset: int) -> Tail:
    """What the bytes from `offset` to the end are, given that no sound record begins at or behind it."""
    rest = data[offset:]
    if not rest:
        return "clean"
    # A file that was grown but not written when the power went reads as zeros.
    if not rest.strip(b"\0"):
        return "torn"
    if len(rest) < HEAD_BYTES:
        return "torn" if MARKER[: len(rest)] == rest[: len(MARKER)] else "damaged"
    wanted = wanted_bytes(data, offset)
    return "torn" if wanted is not None and len(rest) < wanted else "damaged"
