"""Sources that do as they are told: connections that yield a given list of pictures and troubles."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np

from stages.options import StreamOptions
from stages.source import Connection, ConnectionInfo, Decoded, Trouble
from stages.source.picture import AvPicture
from stages.types import Clock, Reason
from tests.support.clock import FakeClock
from vedette.errors import SourceError

MS = Fraction(1, 1000)
Item = Decoded | Trouble | SourceError | float
"""A picture, a trouble, an error that is raised, or seconds that pass."""


def picture(seed: int = 0, size_wh: tuple[int, int] = (32, 16)) -> AvPicture:
    """A small grey picture of noise: another seed, other pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size_wh[1], size_wh[0]), np.uint8)
    return AvPicture(av.VideoFrame.from_ndarray(pixels, format="gray"))


def broken(reason: Reason, detail: str = "as the test says", *, fatal: bool = False) -> SourceError:
    return SourceError(detail, reason=reason.value, fatal=fatal)


def at(pts: int | None, *, seed: int | None = None, size_wh: tuple[int, int] = (32, 16), corrupt: bool = False,
       rtcp_wall_ns: int | None = None) -> Decoded:  # fmt: skip
    """A picture with its time stamp in milliseconds; its arrival is filled in when it is played."""
    shown = picture(seed if seed is not None else (pts or 0), size_wh)
    return Decoded(
        pts=pts, time_base=MS, mono_ns=0, decoded_ns=0, picture=shown, corrupt=corrupt, rtcp_wall_ns=rtcp_wall_ns
    )


def frames(count: int, *, start: int = 0, step: int = 40, still: bool = False) -> list[Item]:
    """Pictures every `step` ms, and as much time passing before each."""
    items: list[Item] = []
    for index in range(count):
        items += [step / 1000, at(start + index * step, seed=1 if still else start + index)]
    return items


class ScriptedConnection:
    """Plays its items; then ends."""

    def __init__(self, script: Sequence[Item], info: ConnectionInfo, clock: FakeClock) -> None:
        self.info = info
        self.closed = 0
        self._script = script
        self._clock = clock

    def pictures(self) -> Iterator[Decoded | Trouble]:
        for item in self._script:
            if isinstance(item, float):
                self._clock.advance(item)
            elif isinstance(item, SourceError):
                raise item
            elif isinstance(item, Trouble):
                yield item
            else:
                now_ns = self._clock.mono_ns()
                yield Decoded(
                    pts=item.pts,
                    time_base=item.time_base,
                    mono_ns=now_ns,
                    decoded_ns=now_ns,
                    picture=item.picture,
                    rtcp_wall_ns=item.rtcp_wall_ns,
                    corrupt=item.corrupt,
                )

    def close(self) -> None:
        self.closed += 1


class ScriptedSource:
    """An opener: each attempt plays the next script, or raises the next error; after the last the stream is stopped."""

    def __init__(self, clock: FakeClock, stop: threading.Event, *attempts: Sequence[Item] | SourceError,
                 finite: bool = False, created_wall_ns: int | None = None) -> None:  # fmt: skip
        self.info = ConnectionInfo(codec="h264", finite=finite, created_wall_ns=created_wall_ns)
        self.connections: list[ScriptedConnection] = []
        self._attempts = list(attempts)
        self._clock = clock
        self._stop = stop

    def __call__(self, options: StreamOptions, clock: Clock, stop: threading.Event) -> Connection:
        if not self._attempts:
            self._stop.set()
            raise broken(Reason.REFUSED, "the script is over")
        attempt = self._attempts.pop(0)
        if isinstance(attempt, SourceError):
            raise attempt
        connection = ScriptedConnection(attempt, self.info, self._clock)
        self.connections.append(connection)
        return connection
