"""The messages that Vedette publishes: their types, and how they become JSON and come back.

    encode_message(message) -> bytes      decode_message(bytes) -> FrameMessage | an event | UnknownEvent

A frame message goes to `{prefix}:frames:{stream}`, an event to `{prefix}:events`, each as JSON in the field `m` of an
entry whose field `v` is SCHEMA_VERSION. Boxes are xyxy in source pixels, clipped, two decimals; scores four decimals.
Readers ignore fields and event kinds that they do not know, so that a later version can add some.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from vedette.errors import MessageError

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


class UnknownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a kind that this version does not know; `raw` is its JSON, to be ignored or read by hand.

    What every event must have is here, so that gaps in `n` are seen whatever the kind. Not part of `Message`: it is
    read and never written.
    """

    kind: str
    producer: str
    n: int
    stream: str = ""
    run: str = ""
    wall_ns: int = 0
    raw: bytes = b""


class _Head(msgspec.Struct):
    """What decides how the rest is read."""

    type: str
    kind: str | None = None
    producer: str | msgspec.UnsetType = msgspec.UNSET
    n: int | msgspec.UnsetType = msgspec.UNSET


EVENT_TYPES: tuple[type[Event], ...] = (RunStarted, StreamState, TrackStarted, TrackEnded, GapEvent)

_Decoded = TypeVar("_Decoded")

_encoder = msgspec.json.Encoder()
_head_decoder = msgspec.json.Decoder(_Head)
_frame_decoder = msgspec.json.Decoder(FrameMessage)
_event_decoder: msgspec.json.Decoder[EventMessage] = msgspec.json.Decoder(EventMessage)
_unknown_decoder = msgspec.json.Decoder(UnknownEvent)
_known_kinds = frozenset(str(kind.__struct_config__.tag) for kind in EVENT_TYPES)


def encode_message(message: Message) -> bytes:
    """Return `message` as the JSON that goes into the field `m`, UTF-8, fields in their order of declaration.

    Equal messages give equal bytes. Raises MessageError for what JSON cannot hold: a number that is not finite, text
    that is not Unicode.
    """
    name = type(message).__name__
    try:
        encoded = _encoder.encode(message)
    except ValueError as error:
        raise MessageError(_one_line(f"a message of type {name} cannot be encoded: {error}")) from error
    if b"null" in encoded:
        # msgspec writes NaN and infinity as null. Only then, or where the text says «null», is a second look needed.
        try:
            decode_message(encoded)
        except MessageError as error:
            text = f"a message of type {name} holds a number that is not finite: {error.message}"
            raise MessageError(text) from error
    return encoded


def decode_message(encoded: bytes | bytearray | memoryview | str) -> Message | UnknownEvent:
    """Read one message; fields that this version does not know are ignored, kinds of event give an UnknownEvent.

    Raises MessageError, one line, with what is wrong and where in the message (``- at `$.objects[0].box` ``).
    """
    head = _decode(_head_decoder, encoded)
    if head.type == "frame":
        return _decode(_frame_decoder, encoded)
    if head.type != "event":
        text = f"Expected type `frame` or `event`, got {head.type!r} - at `$.type`"
        raise MessageError(_one_line(text))
    if head.kind is None:
        text = "Object missing required field `kind`"
        raise MessageError(text)
    for name, value in (("producer", head.producer), ("n", head.n)):
        # The types give defaults to these two, because sinks fill them in; what was published has them.
        if value is msgspec.UNSET:
            text = f"Object missing required field `{name}`"
            raise MessageError(text)
    if head.kind in _known_kinds:
        return _decode(_event_decoder, encoded)
    unknown = _decode(_unknown_decoder, encoded)
    raw = encoded.encode() if isinstance(encoded, str) else bytes(encoded)
    return msgspec.structs.replace(unknown, raw=raw)


def _decode(decoder: msgspec.json.Decoder[_Decoded], encoded: bytes | bytearray | memoryview | str) -> _Decoded:
    try:
        return decoder.decode(encoded)
    except msgspec.MsgspecError as error:
        raise MessageError(_one_line(str(error))) from error
    except UnicodeError as error:
        raise MessageError(_one_line(f"JSON is malformed: not UTF-8 ({error})")) from error
    except (ValueError, RecursionError) as error:
        raise MessageError(_one_line(f"JSON is malformed: {error}")) from error


def _one_line(text: str) -> str:
    """The text without line breaks and control characters, however hostile the values in it, at most 300 long."""
    safe = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return safe if len(safe) <= 300 else safe[:297] + "..."
