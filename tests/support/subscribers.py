"""One face for both subscribers, so that each test of what they promise runs with threads and with asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from vedette import AsyncSubscriber, Gap, Subscriber


class Feed:
    """A feed of either kind as a plain iterator; `numbers` and `gaps` show what came at a glance."""

    def __init__(self, feed: Any, run: Callable[[Any], Any] | None) -> None:
        self.feed = feed
        self._run = run

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._run is None:
            return next(self.feed)
        try:
            return self._run(self.feed.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def take(self, count: int) -> list[Any]:
        """The next `count` items."""
        return [next(self) for _ in range(count)]

    def take_shown(self, count: int) -> list[int | str]:
        return shown(self.take(count))

    def shown(self) -> list[int | str]:
        """Everything until the feed ends, as `shown` shows it."""
        return shown(self)

    def ack(self, *items: Any) -> None:
        self._call(self.feed.ack, *items)

    def close(self) -> None:
        self._call(self.feed.close)

    def _call(self, method: Callable[..., Any], *args: Any) -> None:
        answer = method(*args)
        if self._run is not None:
            self._run(answer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.feed, name)


class Reader:
    """A Subscriber, or an AsyncSubscriber with an event loop of its own."""

    def __init__(self, kind: str, url: str | None, **options: Any) -> None:
        self._runner = asyncio.Runner() if kind == "asyncio" else None
        if self._runner is None:
            self.subscriber: Any = Subscriber(url, **options)
            return
        try:
            self.subscriber = self._runner.run(self._make(url, options))
        except BaseException:
            self._runner.close()
            raise

    @staticmethod
    async def _make(url: str | None, options: dict[str, Any]) -> AsyncSubscriber:
        return AsyncSubscriber(url, **options)

    @property
    def _run(self) -> Callable[[Any], Any] | None:
        return None if self._runner is None else self._runner.run

    def frames(self, *streams: str, **options: Any) -> Feed:
        return Feed(self.subscriber.frames(*streams, **options), self._run)

    def events(self, **options: Any) -> Feed:
        return Feed(self.subscriber.events(**options), self._run)

    def group(self, name: str, **options: Any) -> Member:
        return Member(self.subscriber.group(name, **options), self._run)

    def ask(self, question: str, *args: Any) -> Any:
        answer = getattr(self.subscriber, question)(*args)
        return answer if self._runner is None else self._runner.run(answer)

    def close(self) -> None:
        answer = self.subscriber.close()
        if self._runner is not None:
            self._runner.run(answer)
            self._runner.close()


class Member:
    """A member of a consumer group."""

    def __init__(self, group: Any, run: Callable[[Any], Any] | None) -> None:
        self.group = group
        self._run = run

    def frames(self, *streams: str, **options: Any) -> Feed:
        return Feed(self.group.frames(*streams, **options), self._run)

    def events(self, **options: Any) -> Feed:
        return Feed(self.group.events(**options), self._run)


def shown(items: Any) -> list[int | str]:
    """Messages as their `n`, gaps as `first-last reason`, with `?` for what is not known."""
    return [_shown_gap(item) if isinstance(item, Gap) else item.message.n for item in items]


def _shown_gap(gap: Gap) -> str:
    span = "?" if gap.first is None else f"{gap.first}-{gap.last}"
    return f"{span} {gap.reason}"


OpenReader = Callable[..., Reader]


@pytest.fixture(params=["threads", "asyncio"])
def open_reader(request: pytest.FixtureRequest) -> Iterator[OpenReader]:
    """`open_reader(url, **options)` opens one more subscriber; reads wait 50 ms at a time, to keep tests short."""
    with ExitStack() as readers:

        def open_one(url: str | None, **options: Any) -> Reader:
            reader = Reader(request.param, url, **{"block_s": 0.05, **options})
            readers.callback(reader.close)
            return reader

        yield open_one
