"""Subscribing from asyncio: `AsyncSubscriber` and its feeds, which are asynchronous iterators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, cast

from redis.exceptions import RedisError

from vedette.client.address import Tls
from vedette.client.follow import Place
from vedette.client.group import GroupRead
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
from vedette.client.sync import done
from vedette.client.types import AnyEvent, BadEntry, Gap, LinkChange, M, Received
from vedette.client.wire import AsyncWire
from vedette.errors import VedetteError
from vedette.messages import FrameMessage, StreamState
from vedette.secrets import SecretUrl

# Held until they are closed, since an asynchronous connection cannot close itself when it is forgotten.
_Feeds: TypeAlias = "set[_AsyncFeed[Any]]"


class _AsyncFeed(Generic[M]):
    """An asynchronous iterator over what comes. One task iterates; `close` may be called from another.

    Cancelling the task that waits in it loses nothing: the next `__anext__` goes on where it stood.
    """

    def __init__(self, options: Options, begin: Callable[[], Steps]) -> None:
        self._options = options
        self._begin = begin
        self._steps = begin()
        self._wire = AsyncWire(options.url, options.tls, options.block_ms)
        self._closing = asyncio.Event()
        self._in_use = False
        self._cut = False
        self.bad = 0
        self.closed: Callable[[_AsyncFeed[Any]], None] = _nobody

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received[M] | Gap:
        """The next message or gap; waits for it. Ends when closed, or after `idle_s` without any."""
        if self._in_use:
            text = "this feed is being iterated by another task"
            raise RuntimeError(text)
        self._in_use = True
        try:
            item = None if self._closing.is_set() else await self._advance()
        finally:
            self._in_use = False
        if item is None:
            await self.close()
            raise StopAsyncIteration
        return item

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the iteration, at once; if another task is waiting in it, within `block_s`. Idempotent.

        A Redis that does not answer is waited for 4 s longer.
        """
        self._closing.set()
        if not self._in_use:
            await self._wire.close()
            self.closed(self)

    async def _advance(self) -> Received[M] | Gap | None:
        reply: Any = None
        error: Exception | None = None
        if self._cut:
            # The task was cancelled while a reply was awaited: that connection is spoilt.
            await self._wire.close()
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
                    reply = await self._wire.execute(*step.args)
                except (RedisError, OSError) as problem:
                    error = problem
                self._cut = False
                if self._closing.is_set():
                    return None
            elif isinstance(step, Pause):
                if await self._wait(step.seconds):
                    return None
            elif isinstance(step, BadEntry):
                self.bad += 1
                self._options.report_bad(step)
            elif isinstance(step, LinkChange):
                self._options.report_link(step)
            else:
                return cast("Received[M] | Gap", step)

    async def _wait(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._closing.wait()
        except TimeoutError:
            return False


class AsyncFeed(_AsyncFeed[M]):
    """Messages and gaps of one or many streams, in order within each stream; see `Feed`."""

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


class AsyncGroupFeed(_AsyncFeed[M]):
    """A member's messages. With `auto_ack` an item is acknowledged when the next one is asked for; else by `ack`."""

    def __init__(self, options: Options, plan: GroupRead, asks: AsyncWire) -> None:
        super().__init__(options, plan.steps)
        self._plan = plan
        self._asks = asks
        self.consumer = plan.consumer

    async def ack(self, *items: Received[M]) -> None:
        """Say that these are done. If Redis is away, it is told when it is back and the next item is asked for."""
        for share, ids in done(self._plan, items):
            try:
                await self._asks.ask("XACK", share.key, self._plan.group, *ids)
            except (RedisError, OSError):
                continue
            share.acknowledged.difference_update(ids)


class AsyncGroup:
    """A member of a consumer group: what one member has taken, no other gets."""

    def __init__(self, options: Options, group: GroupOptions, feeds: _Feeds, asks: AsyncWire) -> None:
        self._options = options
        self._group = group
        self._feeds = feeds
        self._asks = asks

    @property
    def consumer(self) -> str:
        """What the group calls this member."""
        return self._group.consumer

    def frames(self, *streams: str, auto_ack: bool = True, idle_s: float | None = None) -> AsyncGroupFeed[FrameMessage]:
        """Take a share of the frames of `streams`, of all streams if none is named."""
        plan = read_group(self._options, self._group, streams, auto_ack=auto_ack, idle_s=idle_s)
        feed: AsyncGroupFeed[FrameMessage] = AsyncGroupFeed(self._options, plan, self._asks)
        self._feeds.add(feed)
        feed.closed = self._feeds.discard
        return feed

    def events(self, *, auto_ack: bool = True, idle_s: float | None = None) -> AsyncGroupFeed[AnyEvent]:
        """Take a share of the events."""
        plan = read_group(self._options, self._group, None, auto_ack=auto_ack, idle_s=idle_s)
        feed: AsyncGroupFeed[AnyEvent] = AsyncGroupFeed(self._options, plan, self._asks)
        self._feeds.add(feed)
        feed.closed = self._feeds.discard
        return feed


class AsyncSubscriber:
    """Reads what Vedette publishes, in asyncio; the arguments, starts and promises are those of `Subscriber`.

    async with AsyncSubscriber("redis://127.0.0.1:6379/0") as subscriber:
        async for item in subscriber.events():
            ...
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
        self._feeds: _Feeds = set()
        self._wire = AsyncWire(self._options.url, self._options.tls)

    def __repr__(self) -> str:
        return f"AsyncSubscriber({str(self._options.url)!r}, prefix={self._options.prefix!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all feeds; see `AsyncFeed.close`."""
        for feed in list(self._feeds):
            await feed.close()
        await self._wire.close()

    def frames(self, *streams: str, start: Start = "$", idle_s: float | None = None) -> AsyncFeed[FrameMessage]:
        """Follow the frames of `streams`, of all streams if none is named; see `Subscriber.frames`."""
        plan = follow_frames(self._options, streams, start, idle_s)
        feed: AsyncFeed[FrameMessage] = AsyncFeed(self._options, plan.steps, plan.places)
        self._feeds.add(feed)
        feed.closed = self._feeds.discard
        return feed

    def events(self, *, start: str = "$", idle_s: float | None = None) -> AsyncFeed[AnyEvent]:
        """Follow the events of all streams; see `Subscriber.events`."""
        plan = follow_events(self._options, start, idle_s)
        feed: AsyncFeed[AnyEvent] = AsyncFeed(self._options, plan.steps, plan.places)
        self._feeds.add(feed)
        feed.closed = self._feeds.discard
        return feed

    def group(
        self, name: str, *, consumer: str | None = None, start: str = "$", claim_idle_s: float = 30.0
    ) -> AsyncGroup:
        """Join the consumer group `name`; see `Subscriber.group`."""
        return AsyncGroup(self._options, GroupOptions(name, consumer, start, claim_idle_s), self._feeds, self._wire)

    async def latest(self, stream: str) -> Received[FrameMessage] | None:
        """The newest frame of `stream`, None if there is none. Raises SubscribeError or MessageError."""
        return latest_of(self._options, stream, await self._ask(*latest_command(self._options, stream)))

    async def streams(self) -> dict[str, StreamState]:
        """Every stream's latest state, by stream id. Raises SubscribeError or MessageError."""
        return streams_of(await self._ask("HGETALL", f"{self._options.prefix}:streams"))

    async def _ask(self, *args: str | int) -> Any:
        try:
            return await self._wire.ask(*args)
        except (RedisError, OSError) as error:
            self._options.fail(error)


def _nobody(feed: _AsyncFeed[Any]) -> None:
    """Nobody wants to know that a feed was closed."""
