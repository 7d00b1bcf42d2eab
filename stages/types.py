"""What travels through the stages: frames, tracks, and the names of what can happen to a stream."""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NewType, Protocol

from engines.types import Detections, Picture

StreamId = NewType("StreamId", str)
TrackId = NewType("TrackId", int)


class ClockKind(enum.Enum):
    """Where a frame's `wall_ns` comes from."""

    RTCP = "rtcp"
    ARRIVAL = "arrival"
    FILE = "file"


class State(enum.Enum):
    """The states of a stream (DESIGN: Streams)."""

    CONNECTING = "connecting"
    STREAMING = "streaming"
    STALLED = "stalled"
    WAITING = "waiting"
    ENDED = "ended"
    FAILED = "failed"
    STOPPED = "stopped"


class Reason(enum.Enum):
    """Why a stream changed its state: a closed list, also the label of the metrics."""

    REFUSED = "refused"
    AUTH = "auth"
    NOT_FOUND = "not_found"
    TIMEOUT = "timeout"
    STALL = "stall"
    FROZEN = "frozen"
    EOF = "eof"
    CORRUPT = "corrupt"
    CODEC = "codec"
    UNRESOLVED = "unresolved"
    LEASED = "leased"
    OPERATOR = "operator"


class Clock(Protocol):
    """The time, handed in. `pipeline/clock.py` reads the real one; tests hand in their own."""

    def mono_ns(self) -> int: ...

    def wall_ns(self) -> int: ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait for `event`, at most `timeout_s`; True if it was set."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One decoded picture and when it was.

    `pts` counts in `time_base`; `mono_ns` is the monotonic time at which its packet arrived, `decoded_ns` at which the
    decoder gave it out; `wall_ns` the wall-clock time of capture as `clock` says, sure to `clock_error_ms`.
    `seq` counts decoded frames of the run from 0 and never restarts within it; `epoch` counts reconnections from 0.
    """

    stream: StreamId
    run: str
    epoch: int
    seq: int
    pts: int
    time_base: Fraction
    mono_ns: int
    decoded_ns: int
    wall_ns: int
    clock: ClockKind
    clock_error_ms: float
    picture: Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """A stream went from `previous` to `state`. `wall_ns` is media time for a file, so that a replay repeats it."""

    stream: StreamId
    run: str
    epoch: int
    previous: State | None
    state: State
    reason: Reason | None
    frozen: bool
    detail: str
    wall_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One followed object in one frame; box in source pixels, as the tracker estimates it."""

    id: TrackId
    class_id: int
    score: float
    xyxy_px: tuple[float, float, float, float]
    state: Literal["tentative", "confirmed", "coasted"]
    age_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTrack:
    """A confirmed track that is over; `seen_s` is media time from its first detection to its last."""

    id: TrackId
    class_id: int
    first_xyxy_px: tuple[float, float, float, float]
    last_xyxy_px: tuple[float, float, float, float]
    seen_s: float
    reason: Literal["lost", "gap", "stream_ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackUpdate:
    """What one frame did to the tracks: those visible in it, those confirmed by it, those it ended."""

    tracks: tuple[Track, ...]
    started: tuple[Track, ...]
    ended: tuple[EndedTrack, ...]


class Tracker(Protocol):
    """Follows the objects of one stream. Called in frame order by one thread at a time; deterministic."""

    def update(self, detections: Detections, elapsed_s: float, size_wh: tuple[int, int]) -> TrackUpdate:
        """Take one frame's detections, `elapsed_s` of media time after the last (0 for the first)."""
        ...

    def end(self, reason: Literal["gap", "stream_ended"]) -> tuple[EndedTrack, ...]:
        """End all tracks; the ids of later ones still never repeat."""
        ...
