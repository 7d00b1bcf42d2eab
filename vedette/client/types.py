"""What a subscriber yields and reports: received messages, gaps, bad entries, changes of the connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar

from vedette.messages import EventMessage, FrameMessage, UnknownEvent

AnyEvent: TypeAlias = EventMessage | UnknownEvent
M = TypeVar("M", FrameMessage, AnyEvent)

GapReason = Literal["lost", "trimmed", "reset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Generic[M]):
    """One message as it came.

    `id` is its place in its Redis stream, for resuming; `key` the Redis key. `version` is the schema version that its
    writer used. `raw` is its JSON, unknown fields included. `redelivered`: a consumer group hands it out again, so it
    may have been processed before.
    """

    id: str
    key: str = field(repr=False)
    stream: str
    message: M
    version: int = field(default=1, repr=False)
    raw: bytes = field(default=b"", repr=False, compare=False)
    redelivered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Messages that this subscriber will not get, yielded before the first message after them.

    Frames: `stream` and `run` say whose, `first`..`last` their `n`. Events: `producer` says whose. When Redis no longer
    knows what was there, `first`, `last` and `count` are None: something may be missing, or nothing.
    `reason`: `lost` (the writer dropped them, or a cap trimmed them before they were read), `trimmed` (the entry to
    resume after is gone from the capped stream), `reset` (Redis came back without its data).
    """

    key: str = field(repr=False)
    stream: str
    producer: str | None = None
    run: str | None = None
    first: int | None = None
    last: int | None = None
    count: int | None = None
    reason: GapReason = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadEntry:
    """An entry that is no message of ours; `error` is one line that says why. It is counted and skipped."""

    id: str
    key: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChange:
    """The connection was lost (`up` False, once for each outage) or is back. `text` is one line without secrets."""

    up: bool
    text: str
