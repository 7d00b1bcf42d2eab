"""The seam between what delivers pictures and the thread that runs a stream: `Connection` and what it yields.

A connection is opened, read and closed by one thread, that of its stream. What comes out of it are values: pictures,
and troubles that cost packets but not the connection. An error of the connection is a `SourceError`; the end of a
finite source is the end of the iterator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol

from engines.types import Picture, SizeWH


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded:
    """One picture out of a decoder.

    `pts` counts in `time_base` seconds and is what the stream says, None if it says nothing. `mono_ns`: monotonic time
    at which the packet arrived; `decoded_ns`: at which the decoder gave the picture out. `rtcp_wall_ns`: the sender's
    wall-clock time of capture by its RTCP reports, if it sends any. `corrupt`: the decoder had to conceal something.
    """

    pts: int | None
    time_base: Fraction
    mono_ns: int
    decoded_ns: int
    picture: Picture
    rtcp_wall_ns: int | None = None
    corrupt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Packets that never became a picture: `damaged` ones arrived and were of no use, `lost` ones never arrived."""

    kind: Literal["damaged", "lost"]
    count: int = 1
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """What is known of a source once it is open; None where it does not say.

    `finite`: the end of its pictures is its end (a file), not a lost connection (a camera). `created_wall_ns`: the
    container's creation time. `decoder` says where pictures are decoded, if that may be elsewhere than on the CPU; for
    people.
    """

    codec: str
    size_wh: SizeWH | None = None
    fps: float | None = None
    duration_s: float | None = None
    finite: bool = False
    created_wall_ns: int | None = None
    decoder: str | None = None


class Connection(Protocol):
    """An open source. Used by one thread; `close` is called by that thread, exactly once, also after an error."""

    @property
    def info(self) -> ConnectionInfo: ...

    def pictures(self) -> Iterator[Decoded | Trouble]:
        """Yield pictures in presentation order as they come.

        A live source paces itself (a camera does; a file played live and a synthetic camera wait with the clock they
        were given) and ends early when `stop` is set. Raises SourceError: no packet within `read_timeout_s`
        (reason stall), connection lost (eof), nothing decodable (corrupt).
        """
        ...

    def close(self) -> None: ...
