"""The one place that knows which PyAV is installed: 18 (Python 3.11) and 19 (Python 3.12) differ.

What differs: rationals (`Fraction` or None in 18, `AVRational`, falsy when unset, in 19), the arguments of `av.open`,
and how texts in a file that are no UTF-8 are read. FFmpeg's own log is switched off here for the whole process: its
lines name URLs with their passwords, and its callback would take the interpreter's lock in decoder threads.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import av
import av.container
import av.error
import av.logging
from av.codec.hwaccel import HWAccel
from av.stream import Discard

MAJOR = int(av.__version__.partition(".")[0])

av.logging.set_level(None)

_PRFT = struct.Struct("<q")  # AVProducerReferenceTime.wallclock, microseconds since 1970


def open_input(
    url: str,
    *,
    options: Mapping[str, str],
    open_timeout_s: float,
    read_timeout_s: float,
    hwaccel: HWAccel | None = None,
) -> av.container.InputContainer:
    """`av.open` for reading; decodes on `hwaccel`, as far as that can.

    Raises av.error.FFmpegError, whose text may hold the URL with its password.
    """
    arguments: dict[str, Any] = {"options": dict(options), "timeout": (open_timeout_s, read_timeout_s)}
    if hwaccel is not None:
        arguments["hwaccel"] = hwaccel
    if MAJOR < 19:
        arguments["metadata_errors"] = "replace"
    container: av.container.InputContainer = av.open(url, "r", **arguments)
    return container


def fraction(value: Any) -> Fraction | None:
    """A time base or rate of either PyAV as a Fraction; None if it is unset or nonsense (0, 1/0)."""
    if value is None or not value.denominator or not value.numerator:
        return None
    return Fraction(int(value.numerator), int(value.denominator))


def sender_wall_ns(packet: av.Packet[Any]) -> int | None:
    """The sender's own wall-clock time of this packet's picture, from RTCP sender reports; None without them."""
    if not packet.has_sidedata("prft"):
        return None
    data = bytes(packet.get_sidedata("prft"))
    if len(data) < _PRFT.size:
        return None
    micros: int = _PRFT.unpack_from(data)[0]
    return micros * 1000  # may be nonsense, also before 1970: a camera whose clock was never set


def discard_all(stream: Any) -> None:
    """Have the demuxer throw this stream's packets away."""
    stream.discard = Discard.all
