"""One connection, for threads and for asyncio: commands out, plain replies in, every new connection noticed.

redis-py's clients connect again on their own when they find a connection broken. A subscriber must know of it, because
another server may answer, or the same without its data; so it uses connections directly. They connect with the first
command, and again with the first after an error.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from redis import connection as threaded
from redis.asyncio import connection as asynchronous
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from vedette.client.address import ANSWER_S, Tls, connection_arguments, make_connection
from vedette.client.steps import is_outage
from vedette.secrets import SecretUrl


class Wire:
    """A connection for one thread at a time."""

    def __init__(self, url: SecretUrl, tls: Tls, block_ms: int = 0) -> None:
        arguments = connection_arguments(url, threaded.parse_url, block_ms / 1000 + ANSWER_S, tls)
        kind: Any = arguments.pop("connection_class", threaded.Connection)
        self._connection: Any = make_connection(kind, {**arguments, "retry": Retry(NoBackoff(), 0)})
        self._lock = threading.Lock()

    def execute(self, *args: str | bytes | int) -> Any:
        """Send one command, return its reply. Raises RedisError or OSError; any exception spoils the connection."""
        self._connection.send_command(*args)
        return self._connection.read_response()

    def ask(self, *args: str | bytes | int) -> Any:
        """The same from any thread, tried once more where the first failure may be that of an old connection."""
        with self._lock:
            try:
                return self.execute(*args)
            except (RedisError, OSError) as error:
                self.close()
                if not is_outage(error):
                    raise
            return self.execute(*args)

    def close(self) -> None:
        """Disconnect; the next command connects anew."""
        self._connection.disconnect()


class AsyncWire:
    """A connection for one task at a time."""

    def __init__(self, url: SecretUrl, tls: Tls, block_ms: int = 0) -> None:
        arguments = connection_arguments(url, asynchronous.parse_url, block_ms / 1000 + ANSWER_S, tls)
        kind: Any = arguments.pop("connection_class", asynchronous.Connection)
        self._connection: Any = make_connection(kind, {**arguments, "retry": AsyncRetry(NoBackoff(), 0)})
        self._lock = asyncio.Lock()

    async def execute(self, *args: str | bytes | int) -> Any:
        """Send one command, return its reply. Raises RedisError or OSError; any exception spoils the connection."""
        task = asyncio.current_task()
        cancelled_before = 0 if task is None else task.cancelling()
        await self._connection.send_command(*args)
        if task is not None and task.cancelling() > cancelled_before:
            # redis-py sends inside asyncio.wait_for, which in Python 3.11 swallows a cancellation that comes in the
            # moment of success (python/cpython#86296); the feed would then wait as if nobody had cancelled it.
            raise asyncio.CancelledError
        return await self._connection.read_response()

    async def ask(self, *args: str | bytes | int) -> Any:
        """The same from any task, tried once more where the first failure may be that of an old connection."""
        async with self._lock:
            try:
                return await self.execute(*args)
            except (RedisError, OSError) as error:
                await self.close()
                if not is_outage(error):
                    raise
            except BaseException:
                await self.close()
                raise
            return await self.execute(*args)

    async def close(self) -> None:
        """Disconnect; the next command connects anew."""
        await self._connection.disconnect()
