"""What subscribers for threads and for asyncio share: options, positions, and the plans for their feeds."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
from collections.abc import Callable, Generator, Mapping
from typing import Any, NoReturn

from vedette.client.address import Tls, checked_tls, redis_url
from vedette.client.entries import checked_start, entries, pairs, read_frame, text_of
from vedette.client.follow import Follow, Place, event_place, frame_place, frame_start
from vedette.client.group import GroupRead, Share, event_share, frame_share
from vedette.client.steps import Link, Step, call, is_outage, refused, unreachable
from vedette.client.types import BadEntry, LinkChange, Received
from vedette.errors import MessageError, SubscribeError, UsageError
from vedette.messages import FrameMessage, StreamState, UnknownEvent, decode_message
from vedette.secrets import SecretUrl

logger = logging.getLogger("vedette.client")

Start = str | Mapping[str, str]


class Options:
    """Where to read, how long a read blocks, and who is told of trouble."""

    def __init__(
        self,
        url: str | SecretUrl | None,
        prefix: str,
        block_s: float,
        tls: Tls,
        on_bad: Callable[[BadEntry], None] | None,
        on_link: Callable[[LinkChange], None] | None,
    ) -> None:
        if not 0.001 <= block_s <= 60.0:
            text = f"block_s: expected 0.001 to 60, got {block_s!r}"
            raise UsageError(text)
        if not prefix:
            text = "prefix: expected a name, got an empty text"
            raise UsageError(text)
        self.url = redis_url(url)
        self.tls = checked_tls(tls, self.url)
        self.prefix = prefix
        self.block_ms = max(1, round(block_s * 1000))
        self.on_bad = on_bad
        self.on_link = on_link
        self.memory: dict[str, Place] = {}

    def report_bad(self, bad: BadEntry) -> None:
        """Hand a bad entry to the callback, which may raise; without one, log it."""
        if self.on_bad is not None:
            self.on_bad(bad)
        else:
            logger.warning("skipped entry %s of %s: %s", bad.id, bad.key, bad.error)

    def report_link(self, change: LinkChange) -> None:
        if self.on_link is not None:
            self.on_link(change)
        else:
            logger.log(logging.INFO if change.up else logging.WARNING, "%s", change.text)

    def fail(self, error: Exception) -> NoReturn:
        """Raise SubscribeError for a single question (`latest`, `streams`) that Redis did not answer."""
        if is_outage(error):
            raise SubscribeError(unreachable(self.url, error)) from error
        raise refused(self.url, error) from error


def follow_frames(options: Options, streams: tuple[str, ...], start: Start, idle_s: float | None) -> Follow:
    """A plan to follow the frames of these streams, or of all there are and will be."""
    given: tuple[object, ...] = streams
    for name in given:
        if not isinstance(name, str):
            text = f"frames: expected the ids of streams as text, got {name!r}"
            raise UsageError(text, hint="give them one by one: frames('gate', 'lobby')")
    starts = dict(start) if isinstance(start, Mapping) else checked_start(start)
    for one in () if isinstance(starts, str) else starts.values():
        checked_start(one)
    opened = False

    def place(stream: str, *, late: bool) -> Place:
        wanted = frame_start(starts, stream, late=late)
        key = frame_place(options.prefix, stream, wanted).key
        if wanted == "resume" and (known := options.memory.get(key)) is not None:
            fresh = known.copy()
        else:
            fresh = frame_place(options.prefix, stream, "$" if wanted == "resume" else wanted)
        return fresh

    def find() -> Generator[Step, Any, list[Place]]:
        nonlocal opened
        reply = yield from call("HKEYS", f"{options.prefix}:streams")
        names = [name for name in sorted(map(text_of, reply)) if f"{options.prefix}:frames:{name}" not in follow.places]
        found = [place(name, late=opened) for name in names]
        opened = True
        return found

    places = [place(name, late=False) for name in dict.fromkeys(streams)]
    follow = Follow(
        link=Link(options.url),
        places={one.key: one for one in places},
        memory=options.memory,
        find=None if streams else find,
        batch=256,
        block_ms=options.block_ms,
        idle_ms=_milliseconds(idle_s),
    )
    return follow


def follow_events(options: Options, start: str, idle_s: float | None) -> Follow:
    """A plan to follow the events."""
    place = event_place(options.prefix, checked_start(start))
    if start == "resume":
        known = options.memory.get(place.key)
        place = event_place(options.prefix, "$") if known is None else known.copy()
    return Follow(
        link=Link(options.url),
        places={place.key: place},
        memory=options.memory,
        find=None,
        batch=256,
        block_ms=options.block_ms,
        idle_ms=_milliseconds(idle_s),
    )


class GroupOptions:
    """Who reads in which group, where a new group begins, and when a member counts as dead."""

    def __init__(self, name: str, consumer: str | None, start: str, claim_idle_s: float) -> None:
        if not name:
            text = "group: expected a name, got an empty text"
            raise UsageError(text)
        if start == "resume":
            text = "start: a group always resumes; expected '$', '0', milliseconds or an id for a group that is new"
            raise UsageError(text)
        self.name = name
        self.consumer = consumer or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.start = checked_start(start)
        self.claim_idle_ms = max(0, round(claim_idle_s * 1000))


def read_group(
    options: Options,
    group: GroupOptions,
    streams: tuple[str, ...] | None,
    *,
    auto_ack: bool,
    idle_s: float | None,
) -> GroupRead:
    """A plan to read frames of these streams (of all, if empty) or events (None) as a member of a group."""
    opened = False

    def find() -> Generator[Step, Any, list[Share]]:
        nonlocal opened
        reply = yield from call("HKEYS", f"{options.prefix}:streams")
        start = "0" if opened else group.start
        opened = True
        return [frame_share(options.prefix, name, start) for name in sorted(map(text_of, reply))]

    if streams is None:
        shares = [event_share(options.prefix, group.start)]
    else:
        shares = [frame_share(options.prefix, name, group.start) for name in dict.fromkeys(streams)]
    return GroupRead(
        link=Link(options.url),
        group=group.name,
        consumer=group.consumer,
        shares={share.key: share for share in shares},
        find=find if streams == () else None,
        auto_ack=auto_ack,
        batch=16,
        block_ms=options.block_ms,
        idle_ms=_milliseconds(idle_s),
        claim_idle_ms=group.claim_idle_ms,
    )


def latest_command(options: Options, stream: str) -> tuple[str | int, ...]:
    return ("XREVRANGE", f"{options.prefix}:frames:{stream}", "+", "-", "COUNT", 1)


def latest_of(options: Options, stream: str, reply: list[Any]) -> Received[FrameMessage] | None:
    """The newest frame in the reply to `latest_command`. Raises MessageError."""
    key = f"{options.prefix}:frames:{stream}"
    found = entries(reply)
    return read_frame(key, stream, found[0]) if found else None


def streams_of(reply: list[Any]) -> dict[str, StreamState]:
    """The latest states in the reply to HGETALL. Raises MessageError for a value that is no state."""
    states: dict[str, StreamState] = {}
    for stream, value in sorted(pairs(reply).items()):
        message = decode_message(value)
        if not isinstance(message, StreamState):
            kind = message.kind if isinstance(message, UnknownEvent) else type(message).__name__
            text = f"stream {json.dumps(stream)}: expected its latest state, got {kind}"
            raise MessageError(text)
        states[stream] = message
    return states


def _milliseconds(idle_s: float | None) -> int | None:
    if idle_s is None:
        return None
    if not 0.0 <= idle_s <= 86400.0:
        text = f"idle_s: expected 0 to 86400, got {idle_s!r}"
        raise UsageError(text)
    return round(idle_s * 1000)


def last_ids(places: Mapping[str, Place]) -> dict[str, str]:
    """Where a feed stands in each stream (events: under ""), for a later start; streams not yet opened are left out."""
    return {place.stream: place.id for place in places.values() if place.start is None}
