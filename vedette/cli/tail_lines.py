"""What `vedette tail` prints of a message: one line for people, or one of JSON.

Texts come from other machines, so whatever a terminal would obey (control characters) is replaced.
"""

from __future__ import annotations

import datetime
from typing import TypeAlias

import msgspec

from vedette.client.types import AnyEvent, Gap, Received
from vedette.messages import (
    FrameMessage,
    GapEvent,
    RunStarted,
    StreamState,
    TrackedObject,
    TrackEnded,
    TrackStarted,
    UnknownEvent,
)

Item: TypeAlias = Received[FrameMessage] | Received[AnyEvent] | Gap

MAX_IDS = 8
_MARKS = {"confirmed": "", "tentative": "?", "coasted": "~"}
_encoder = msgspec.json.Encoder()


def json_line(item: Item) -> str:
    """`{"id": …, "message": …}` with the message as it was published, or `{"gap": …}`."""
    if isinstance(item, Gap):
        return _encoder.encode({"gap": item}).decode()
    raw = item.raw
    if b"\n" in raw or b"\r" in raw:
        raw = _encoder.encode(msgspec.json.decode(raw))  # only a writer other than ours breaks lines
    return _encoder.encode({"id": item.id, "message": msgspec.Raw(raw)}).decode()


def human_line(item: Item) -> str:
    """Time, stream and what happened."""
    if isinstance(item, Gap):
        return _line("", item.stream, _gap(item))
    message = item.message
    if isinstance(message, FrameMessage):
        return _line(_time(message.wall_ns), item.stream, f"{message.n:>8}  {objects_line(message.objects)}")
    return _line(_time(message.wall_ns), item.stream, _event(message))


def objects_line(objects: tuple[TrackedObject, ...]) -> str:
    """What was seen, most frequent class first: `2 person #41 #44?, 1 car #12~`."""
    by_class: dict[str, list[TrackedObject]] = {}
    for thing in objects:
        by_class.setdefault(thing.class_, []).append(thing)
    parts = []
    for name, things in sorted(by_class.items(), key=lambda entry: (-len(entry[1]), entry[0])):
        ids = [f"#{thing.track}{_MARKS[thing.state]}" for thing in sorted(things, key=lambda thing: thing.track)]
        more = [] if len(ids) <= MAX_IDS else ["…"]
        parts.append(" ".join([str(len(things)), name, *ids[:MAX_IDS], *more]))
    return ", ".join(parts) or "-"


def _event(event: AnyEvent) -> str:
    match event:
        case RunStarted():
            return f"run {event.run} started: {event.model}, Vedette {event.version}"
        case StreamState():
            before = f"{event.previous} → " if event.previous else ""
            reason = f" ({event.reason})" if event.reason else ""
            frozen = ", picture frozen" if event.frozen else ""
            return f"{before}{event.state}{reason}{frozen}{': ' if event.detail else ''}{event.detail}"
        case TrackStarted():
            return f"{event.class_} #{event.track} appeared, score {event.score:.2f}, at {_box(event.box)}"
        case TrackEnded():
            seen = f"seen for {event.seen_s:.1f} s"
            return f"{event.class_} #{event.track} gone ({event.reason}), {seen}, last at {_box(event.last_box)}"
        case GapEvent():
            span = "" if event.first is None else f" ({event.first} to {event.last})"
            return f"{event.count} {event.what} were not delivered{span}: {event.reason}"
        case UnknownEvent():
            return f"{event.kind}: unknown to this version, {event.raw[:300].decode('utf-8', 'replace')}"


def _gap(gap: Gap) -> str:
    what = "frames" if gap.producer is None and gap.stream else "events"
    if gap.count is None:
        return f"gap: {what} may be missing ({gap.reason})"
    span = "" if gap.first is None else f", {gap.first} to {gap.last}"
    return f"gap: {gap.count} {what} missing{span} ({gap.reason})"


def _box(box: tuple[float, float, float, float]) -> str:
    return ",".join(f"{side:.0f}" for side in box)


def _line(time: str, stream: str, text: str) -> str:
    line = f"{time:<23}  {stream:<14}  {text}"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)


def _time(wall_ns: int) -> str:
    """Local time to the millisecond; the number itself where no calendar has it."""
    seconds, nanoseconds = divmod(wall_ns, 1_000_000_000)
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        return f"{wall_ns} ns"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{nanoseconds // 1_000_000:03d}"
