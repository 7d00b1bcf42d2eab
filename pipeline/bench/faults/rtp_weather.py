"""What a bad network or a bad camera does to RTSP over TCP, packet by packet.

In:  the bytes that a server sends (answers, and `$ channel length packet`, RFC 2326 10.12), in pieces of any size.
Out: the same, less the packets that are lost and with the changes that the weather says; in fair weather the same.
Pure but for the random numbers that it is given.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

_LENGTH = re.compile(rb"^content-length:\s*(\d+)", re.IGNORECASE | re.MULTILINE)
_DOLLAR = 0x24
_SENDER_REPORT = 200
_MOST_HEAD = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Probabilities for each packet, from 0 to 1: `drop` loses it, `corrupt` changes a byte of its payload, `garble`
    changes one anywhere, framing included. `jump_s` is added to RTP time stamps, `clock_s` to the camera's own time.
    """

    drop: float = 0.0
    corrupt: float = 0.0
    garble: float = 0.0
    jump_s: float = 0.0
    clock_s: float = 0.0


FAIR = Weather()


class RtspStream:
    """One direction of one connection."""

    def __init__(self, rng: random.Random, *, clock_hz: int = 90_000) -> None:
        self._rng = rng
        self._clock_hz = clock_hz
        self._held = bytearray()

    def feed(self, data: bytes, weather: Weather) -> bytes:
        """What goes on to the client; a piece that is not complete is held until it is."""
        self._held += data
        out = bytearray()
        while unit := self._next():
            out += self._through(unit, weather)
        return bytes(out)

    def _next(self) -> bytearray | None:
        held = self._held
        if not held:
            return None
        if held[0] == _DOLLAR:
            end = 4 + int.from_bytes(held[2:4]) if len(held) >= 4 else len(held) + 1
        else:
            head = held.find(b"\r\n\r\n")
            if head < 0:
                end = len(held) if len(held) > _MOST_HEAD else len(held) + 1
            else:
                length = _LENGTH.search(bytes(held[:head]))
                end = head + 4 + (int(length[1]) if length else 0)
        if end > len(held):
            return None
        unit = held[:end]
        del held[:end]
        return unit

    def _through(self, unit: bytearray, weather: Weather) -> bytes:
        rng = self._rng
        if unit[0] == _DOLLAR and len(unit) > 16:
            if unit[1] % 2:
                self._report(unit, weather)
            else:
                if weather.drop and rng.random() < weather.drop:
                    return b""
                if weather.jump_s:
                    self._add(unit, 8, int(weather.jump_s * self._clock_hz))
                if weather.corrupt and rng.random() < weather.corrupt:
                    unit[rng.randrange(16, len(unit))] ^= rng.randrange(1, 256)
        if weather.garble and rng.random() < weather.garble:
            unit[rng.randrange(len(unit))] ^= rng.randrange(1, 256)
        return bytes(unit)

    def _report(self, unit: bytearray, weather: Weather) -> None:
        if unit[5] != _SENDER_REPORT or len(unit) < 24:
            return
        self._add(unit, 12, int(weather.clock_s))
        self._add(unit, 20, int(weather.jump_s * self._clock_hz))

    @staticmethod
    def _add(unit: bytearray, at: int, what: int) -> None:
        value = (int.from_bytes(unit[at : at + 4]) + what) % (1 << 32)
        unit[at : at + 4] = value.to_bytes(4)
