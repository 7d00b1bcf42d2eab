"""Subscribing from threads: `Subscriber` and its feeds, which are iterators."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, cast

from redis.exceptions import RedisError

from vedette.client.address import Tls
from vedette.client.follow import Place
from vedette.client.group import GroupRead, Share
from vedette.client.plan import (
    GroupOptions,
    Options,
    Start,
    follow_events,
    follow_frames,
    last_ids,
    latest_command,
    latest_of,
    read_group,
    streams_of,
)
from vedette.client.steps import Call, Interrupted, Pause, Steps
from vedette.client.types import AnyEvent, BadEntry, Gap, LinkChange, M, Received
from vedette.client.wire import Wire
from vedette.errors import VedetteError
from vedette.messages import FrameMessage, StreamState
from vedette.secrets import SecretUrl


class _Feed(Generic[M]):
    """An iterator over what comes. One thread iterates; `close` may be called from any other."""

    def __init__(self, options: Options, begin: Callable[[], Steps]) -> None:
        self._options = options
        self._begin = begin
        self._steps = begin()
        self._wire = Wire(options.url, options.tls, options.block_ms)
        self._closing = threading.Event()
        self._in_use = threading.Lock()
        self._cut = False
        self.bad = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Received[M] | Gap:
        """The next message or gap; waits for it. Ends when closed, or after `idle_s` without any."""
        with self._in_use:
            item = None if self._closing.is_set() else self._advance()
        if item is None:
            self.close()
            raise StopIteration
        return item

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration, at once; if another thread is waiting in it, within `block_s`. Idempotent.

        A Redis that does not answer is waited for 4 s longer.
        """
        self._closing.set()
        if self._in_use.acquire(blocking=False):
            try:
                self._wire.close()
            finally:
                self._in_use.release()

    def _advance(self) -> Received[M] | Gap | None:
        reply: Any = None
        error: Exception | None = None
        if self._cut:
            # An exception from outside (KeyboardInterrupt) came while a reply was awaited: that connection is spoilt.
            self._wire.close()
            self._cut = False
            error = Interrupted("interrupted")
        while True:
            try:
                step = self._steps.send(reply) if error is None else self._steps.throw(error)
            except StopIteration:
                return None
            except VedetteError:
                raise
            except BaseException:
                # From outside, out of a signal handler: the steps are over, what they stand on is not.
                self._steps = self._begin()
                raise
            reply = error = None
            if isinstance(step, Call):
                self._cut = True
                try:
                    reply = self._wire.execute(*step.args)
                except (RedisError, OSError) as problem:
                    error = problem
                self._cut = False
                if self._closing.is_set():
                    return None
            elif isinstance(step, Pause):
                if self._closing.wait(step.seconds):
                    return None
            elif isinstance(step, BadEntry):
                self.bad += 1
                self._options.report_bad(step)
            elif isinstance(step, LinkChange):
                self._options.report_link(step)
            else:
                return cast("Received[M] | Gap", step)


class Feed(_Feed[M]):
    """Messages and gaps of one or many streams, in order within each stream.

    `last_ids` says where it stands, for a later start; `bad` counts entries that were skipped because they are no
    messages of ours.
    """

    def __init__(self, options: Options, begin: Callable[[], Steps], places: dict[str, Place]) -> None:
        super().__init__(options, begin)
        self._places = places

    @property
    def last_ids(self) -> dict[str, str]:
        """Stream to the id of its last yielded entry; give it as `start` to go on after them. Events are under ""."""
        return last_ids(self._places)

    @property
    def repeats(self) -> int:
        """How many events came again after Redis had lost its data, and were not yielded again."""
        return sum(place.repeats for place in self._places.values())

    @property
    def last_id(self) -> str | None:
        """The same for a feed of one stream, or of events; None before it has begun."""
        ids = self.last_ids
        return next(iter(ids.values())) if len(ids) == 1 else None


class GroupFeed(_Feed[M]):
    """A member's messages. With `auto_ack` an item is acknowledged when the next one is asked for; else by `ack`."""

    def __init__(self, options: Options, plan: GroupRead, asks: Wire) -> None:
        super().__init__(options, plan.steps)
        self._plan = plan
        self._asks = asks
        self.consumer = plan.consumer

    def ack(self, *items: Received[M]) -> None:
        """Say that these are done. If Redis is away, it is told when it is back and the next item is asked for."""
        for share, ids in done(self._plan, items):
            try:
                self._asks.ask("XACK", share.key, self._plan.group, *ids)
            except (RedisError, OSError):
                continue
            share.acknowledged.difference_update(ids)


class Group:
    """A member of a consumer group: what one member has taken, no other gets."""

    def __init__(self, options: Options, group: GroupOptions, feeds: weakref.WeakSet[Any], asks: Wire) -> None:
        self._options = options
        self._group = group
        self._feeds = feeds
        self._asks = asks

    @property
    def consumer(self) -> str:
        """What the group calls this member."""
        return self._group.consumer

    def frames(self, *streams: str, auto_ack: bool = True, idle_s: float | None = None) -> GroupFeed[FrameMessage]:
        """Take a share of the frames of `streams`, of all streams if none is named."""
        plan = read_group(self._options, self._group, streams, auto_ack=auto_ack, idle_s=idle_s)
        feed: GroupFeed[FrameMessage] = GroupFeed(self._options, plan, self._asks)
        self._feeds.add(feed)
        return feed

    def events(self, *, auto_ack: bool = True, idle_s: float | None = None) -> GroupFeed[AnyEvent]:
        """Take a share of the events."""
        plan = read_group(self._options, self._group, None, auto_ack=auto_ack, idle_s=idle_s)
        feed: GroupFeed[AnyEvent] = GroupFeed(self._options, plan, self._asks)
        self._feeds.add(feed)
        return feed


class Subscriber:
    """Reads what Vedette publishes.

        with Subscriber("redis://127.0.0.1:6379/0") as subscriber:
            for item in subscriber.frames("gate"):
                if isinstance(item, Gap):
                    ...
                else:
                    print(item.id, item.message.objects)

    `url`: redis://, rediss:// or unix://; without it, that of the environment's VEDETTE_REDIS_URL. `prefix`: the
    sink's. `block_s`: how long one read waits at the server, and so how soon `close` and new streams are noticed (by a
    feed of many messages, too, but not more often than each 0.1 s).
    `tls_ca`, `tls_verify`: against which authorities (a PEM file) a rediss server is verified, and whether at all.
    `on_bad` is told of entries that are no messages, `on_link` of lost and regained connections; without them both are
    logged. A lost connection is made again for ever; a wrong password or missing right raises SubscribeError.
    """

    def __init__(
        self,
        url: str | SecretUrl | None = None,
        *,
        prefix: str = "vedette",
        block_s: float = 1.0,
        tls_ca: str | None = None,
        tls_verify: bool = True,
        on_bad: Callable[[BadEntry], None] | None = None,
        on_link: Callable[[LinkChange], None] | None = None,
    ) -> None:
        self._options = Options(url, prefix, block_s, Tls(tls_ca, tls_verify), on_bad, on_link)
        self._feeds: weakref.WeakSet[Any] = weakref.WeakSet()
        self._wire = Wire(self._options.url, self._options.tls)

    def __repr__(self) -> str:
        return f"Subscriber({str(self._options.url)!r}, prefix={self._options.prefix!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all feeds, from any thread; see `Feed.close`."""
        for feed in list(self._feeds):
            feed.close()
        self._wire.close()

    def frames(self, *streams: str, start: Start = "$", idle_s: float | None = None) -> Feed[FrameMessage]:
        """Follow the frames of `streams`; of all streams, present and to come, if none is named.

        `start`: `$` what comes from the first `next` on; `0` all that is there; an entry's id, what comes after it;
        milliseconds, what was captured from then on; `resume`, after what this Subscriber yielded last (`$` if
        nothing); or a stream-to-id mapping such as `Feed.last_ids` (streams not in it: from their beginning).
        `idle_s`: end after so long without a message (0: when all that is there has been read) instead of never.
        """
        plan = follow_frames(self._options, streams, start, idle_s)
        feed: Feed[FrameMessage] = Feed(self._options, plan.steps, plan.places)
        self._feeds.add(feed)
        return feed

    def events(self, *, start: str = "$", idle_s: float | None = None) -> Feed[AnyEvent]:
        """Follow the events of all streams; `start` and `idle_s` as for `frames` (milliseconds are the server's)."""
        plan = follow_events(self._options, start, idle_s)
        feed: Feed[AnyEvent] = Feed(self._options, plan.steps, plan.places)
        self._feeds.add(feed)
        return feed

    def group(self, name: str, *, consumer: str | None = None, start: str = "$", claim_idle_s: float = 30.0) -> Group:
        """Join the consumer group `name`, which begins at `start` if it is new.

        `consumer` names this member: give a name that stays the same across restarts, so that a restarted member takes
        up at once what it had not finished. What a member holds for longer than `claim_idle_s` another one takes over.
        """
        return Group(self._options, GroupOptions(name, consumer, start, claim_idle_s), self._feeds, self._wire)

    def latest(self, stream: str) -> Received[FrameMessage] | None:
        """The newest frame of `stream`, None if there is none. Raises SubscribeError or MessageError."""
        return latest_of(self._options, stream, self._ask(*latest_command(self._options, stream)))

    def streams(self) -> dict[str, StreamState]:
        """Every stream's latest state, by stream id. Raises SubscribeError or MessageError."""
        return streams_of(self._ask("HGETALL", f"{self._options.prefix}:streams"))

    def _ask(self, *args: str | int) -> Any:
        try:
            return self._wire.ask(*args)
        except (RedisError, OSError) as error:
            self._options.fail(error)


def done(plan: GroupRead, items: tuple[Received[M], ...]) -> Iterator[tuple[Share, list[str]]]:
    """Note that `items` are acknowledged; by share, the ids to tell Redis."""
    for key in dict.fromkeys(item.key for item in items):
        share = plan.shares[key]
        ids = [item.id for item in items if item.key == key]
        share.acknowledged.update(ids)
        share.outstanding.difference_update(ids)
        yield share, ids
