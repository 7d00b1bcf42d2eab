"""Raw replies of Redis to entries, and entries to messages. Replies are as RESP2 has them: lists of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vedette.client.types import AnyEvent, Received
from vedette.errors import MessageError, UsageError
from vedette.messages import FrameMessage, decode_message

IdPair = tuple[int, int]

ORIGIN = "0-0"
MAX_SEQUENCE = 2**64 - 1


def id_pair(entry_id: str) -> IdPair:
    """An entry's id as numbers that compare as Redis compares them."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def is_whole_id(start: str) -> bool:
    """Whether `start` names one entry (`ms-k`), as an id to resume after does, rather than a time (`ms`)."""
    return "-" in start


def after_id(start: str) -> str:
    """The id after which to read: `ms-k` itself; for a time `ms`, just before it; `0` is the beginning."""
    if is_whole_id(start):
        return start
    return ORIGIN if int(start) == 0 else f"{int(start) - 1}-{MAX_SEQUENCE}"


def is_time(entry_id: str) -> bool:
    """Whether `after_id` made this id of a time: no entry has it, and no stream needs to have come as far."""
    return id_pair(entry_id)[1] == MAX_SEQUENCE


def is_start(start: object) -> bool:
    """Whether it is `$`, `0`, `resume`, a time in ms or an entry's id, as text."""
    if not isinstance(start, str):
        return False
    if start in {"$", "resume"}:
        return True
    parts = start.split("-")
    return len(parts) <= 2 and all(map(_is_number, parts))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_SEQUENCE)) and int(text) <= MAX_SEQUENCE


def checked_start(start: str) -> str:
    """Return `start` if it is one; else raise UsageError."""
    if is_start(start):
        return start
    text = f"start: expected '$' (now), '0' (the beginning), 'resume', milliseconds or an entry's id, got {start!r}"
    raise UsageError(text, hint=None if isinstance(start, str) else "give it as text, in quotes")


Entry = tuple[str, list[bytes] | None]
"""An entry's id and its fields, names and values by turns; None when it was trimmed while it was pending."""


def entries(reply: list[Any] | None) -> list[Entry]:
    """The entries of a reply to XRANGE, or of one stream in a reply to XREAD."""
    # An entry that is None (XAUTOCLAIM of Redis 6.2) was trimmed, and even its id is not told.
    return [(_text(entry[0]), entry[1] or None) for entry in reply or () if entry is not None]


def entries_by_key(reply: list[Any] | None) -> Iterator[tuple[str, list[Entry]]]:
    """The streams of a reply to XREAD or XREADGROUP with their entries."""
    for key, found in reply or ():
        yield _text(key), entries(found)


def pairs(reply: list[Any]) -> dict[str, Any]:
    """A flat list of names and values, as XINFO and HGETALL give it, with the names as text."""
    return {_text(name): value for name, value in zip(reply[::2], reply[1::2], strict=True)}


def text_of(value: bytes | str) -> str:
    """A reply's text; what is not UTF-8 is replaced, it never fails."""
    return _text(value)


def read_frame(key: str, stream: str, entry: Entry, *, redelivered: bool = False) -> Received[FrameMessage]:
    """An entry of a frame stream. Raises MessageError."""
    version, raw = _fields(entry)
    message = decode_message(raw)
    if not isinstance(message, FrameMessage):
        text = f"Expected a frame, got an event of kind {type(message).__name__}"
        raise MessageError(text)
    return Received(
        id=entry[0], key=key, stream=stream, message=message, version=version, raw=raw, redelivered=redelivered
    )


def read_event(key: str, entry: Entry, *, redelivered: bool = False) -> Received[AnyEvent]:
    """An entry of the event stream. Raises MessageError."""
    version, raw = _fields(entry)
    message = decode_message(raw)
    if isinstance(message, FrameMessage):
        text = "Expected an event, got a frame"
        raise MessageError(text)
    return Received(
        id=entry[0], key=key, stream=message.stream, message=message, version=version, raw=raw, redelivered=redelivered
    )


def _fields(entry: Entry) -> tuple[int, bytes]:
    """The schema version and the JSON. A newer version is fine as long as the message can be read."""
    values = entry[1] or []
    found = dict(zip(values[::2], values[1::2], strict=False))
    for name in ("v", "m"):
        if name.encode() not in found:
            text = f"Entry missing required field `{name}`"
            raise MessageError(text)
    version = found[b"v"]
    if not (version.isdigit() and 1 <= len(version) <= 9 and int(version) >= 1):
        text = f"Expected a schema version in the field `v`, got {_text(version[:40])!r}"
        raise MessageError(text)
    return int(version), found[b"m"]


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
