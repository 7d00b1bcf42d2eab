"""The messages that Vedette publishes: types, and nothing else that is needed to read them.

A frame message goes to `{prefix}:frames:{stream}`, an event to `{prefix}:events`, each as JSON in the field `m` of an
entry whose field `v` is SCHEMA_VERSION. Boxes are xyxy in source pixels, clipped, two decimals; scores four decimals.
Readers ignore fields and event kinds that they do not know, so that a later version can add some.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA_VERSION = 1

Box = tuple[float, float, float, float]
TrackState = Literal["tentative", "confirmed", "coasted"]
ClockName = Literal["rtcp", "arrival", "file"]
StreamStateName = Literal["connecting", "streaming", "stalled", "waiting", "ended", "failed", "stopped"]
ReasonName = Literal[
    "refused",
    "auth",
    "not_found",
    "timeout",
    "stall",
    "frozen",
    "eof",
    "corrupt",
    "codec",
    "unresolved",
    "leased",
    "operator",
]


class TrackedObject(msgspec.Struct, frozen=True, kw_only=True):
    """One object in one frame. `age_ms` is media time since it was first seen."""

    track: int
    class_: str = msgspec.field(name="class")
    score: float
    box: Box
    state: TrackState
    age_ms: int


class FrameMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="frame"):
    """What was seen in one frame of one stream.

    `n` counts this run's published frames of this stream from 1 without a gap; `seq` counts decoded frames from 0 and
    has gaps where frames were rate-limited or superseded. `wall_ns` is the time of capture as `clock` says, sure to
    `clock_error_ms`.
    """

    stream: str
    run: str
    epoch: int
    seq: int
    n: int
    pts: int
    time_base: tuple[int, int]
    wall_ns: int
    clock: ClockName
    clock_error_ms: float
    size: tuple[int, int]
    model: str
    objects: tuple[TrackedObject, ...]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What all events have. `producer` and `n` are given by the sink: `n` counts a producer's events from 1, no gap."""

    producer: str = ""
    n: int = 0
    stream: str
    run: str
    wall_ns: int


class RunStarted(Event, frozen=True, kw_only=True, tag_field="kind", tag="run_started"):
    """A stream's run began: one life of the process, or for a file the same value for the same work."""

    type: Literal["event"] = "event"
    model: str
    version: str


class StreamState(Event, frozen=True, kw_only=True, tag_field="kind", tag="stream_state"):
    """A stream changed its state. `frozen` is the flag of a picture that does not change while time stamps advance."""

    type: Literal["event"] = "event"
    state: StreamStateName
    previous: StreamStateName | None = None
    reason: ReasonName | None = None
    epoch: int
    frozen: bool = False
    detail: str = ""


class TrackStarted(Event, frozen=True, kw_only=True, tag_field="kind", tag="track_started"):
    """A track was confirmed. `wall_ns` is the capture time of the frame that confirmed it."""

    type: Literal["event"] = "event"
    track: int
    class_: str = msgspec.field(name="class")
    box: Box
    score: float


class TrackEnded(Event, frozen=True, kw_only=True, tag_field="kind", tag="track_ended"):
    """A confirmed track is over. `seen_s` is media time from its first detection to its last."""

    type: Literal["event"] = "event"
    track: int
    class_: str = msgspec.field(name="class")
    first_box: Box
    last_box: Box
    seen_s: float
    reason: Literal["lost", "gap", "stream_ended"]


class GapEvent(Event, frozen=True, kw_only=True, tag_field="kind", tag="gap"):
    """Something that subscribers would have got was not delivered: frames `first`..`last` by `n`, or `count` events."""

    type: Literal["event"] = "event"
    what: Literal["frames", "events"]
    count: int
    first: int | None = None
    last: int | None = None
    reason: str


EventMessage = RunStarted | StreamState | TrackStarted | TrackEnded | GapEvent
Message = FrameMessage | EventMessage
