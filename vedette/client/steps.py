"""What following a stream asks of its surroundings, so that it is written once for threads and for asyncio.

`follow.py` and `group.py` are generators: they yield a Call (answered with Redis's reply, or by throwing its error
into them), a Pause, a report or an item, and know nothing of sockets and event loops; `sync.py` and `aio.py` do.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from redis import exceptions as redis_errors

from vedette.client.types import AnyEvent, BadEntry, Gap, LinkChange, Received
from vedette.errors import SubscribeError
from vedette.messages import FrameMessage
from vedette.secrets import SecretUrl, scrub

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0

_RETRIED = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ReadOnlyError,
    redis_errors.ClusterDownError,
    redis_errors.TryAgainError,
    redis_errors.OutOfMemoryError,
    OSError,
)
_NEVER_RETRIED = (redis_errors.AuthenticationError, redis_errors.AuthorizationError)
# redis-py has no class for these: somebody's script runs, or a write (a group's) is refused for now.
_PASSING_CODES = ("BUSY ", "MISCONF", "NOREPLICAS")
# Nor for these: the group is gone, or the key of a blocked read was deleted.
_RETRIED_CODES = ("NOGROUP", "UNBLOCKED")


@dataclass(frozen=True, slots=True)
class Call:
    """Send this command and send its reply back."""

    args: tuple[str | bytes | int, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long, or until closed."""

    seconds: float


Item: TypeAlias = Received[FrameMessage] | Received[AnyEvent] | Gap
Step: TypeAlias = Call | Pause | BadEntry | LinkChange | Item
Steps: TypeAlias = Generator[Step, Any, None]


def call(*args: str | bytes | int) -> Generator[Step, Any, Any]:
    """Ask for one command; returns its reply."""
    return (yield Call(args))


def is_reply(error: Exception, *codes: str) -> bool:
    """Whether `error` is Redis's answer with one of `codes` at its beginning (those that redis-py leaves in)."""
    return isinstance(error, redis_errors.ResponseError) and str(error).startswith(codes)


def is_outage(error: Exception) -> bool:
    """Whether waiting may help: the server is away, stalled, loading, not the one in charge, or in trouble itself."""
    if is_reply(error, *_PASSING_CODES):
        return True
    return isinstance(error, _RETRIED) and not isinstance(error, _NEVER_RETRIED)


class Interrupted(redis_errors.ConnectionError):
    """Thrown in for a reply that nobody awaited, because an exception from outside came first. No outage."""


class Link:
    """Whether Redis can be reached, and how long to wait before the next attempt: 0.1 s doubling to 5 s, jittered."""

    def __init__(self, url: SecretUrl) -> None:
        self._url = url
        self._attempts = 0
        self._up = True

    def failed(self, error: Exception) -> Steps:
        """Report an outage once, then wait. Raises SubscribeError for what waiting does not mend."""
        if not (is_outage(error) or is_reply(error, *_RETRIED_CODES)):
            raise refused(self._url, error) from error
        if isinstance(error, Interrupted):
            return
        if self._up and not is_reply(error, *_RETRIED_CODES):
            self._up = False
            yield LinkChange(up=False, text=f"{unreachable(self._url, error)}; trying again")
        delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2**self._attempts)
        self._attempts = min(self._attempts + 1, 16)
        yield Pause(delay_s * random.uniform(0.5, 1.0))

    def works(self) -> Steps:
        """Report the end of an outage."""
        self._attempts = 0
        if not self._up:
            self._up = True
            yield LinkChange(up=True, text=f"Redis at {self._url} is back")


def unreachable(url: SecretUrl, error: Exception) -> str:
    """One line for people, without secrets."""
    return f"Redis at {url} cannot be reached: {_one_line(url, error)}"


def refused(url: SecretUrl, error: Exception) -> SubscribeError:
    """The error for an answer that waiting does not change, such as a wrong password."""
    hint = "check the password in the URL" if isinstance(error, _NEVER_RETRIED) else None
    return SubscribeError(f"Redis at {url} refused: {_one_line(url, error)}", hint=hint)


def _one_line(url: SecretUrl, error: Exception) -> str:
    return scrub(" ".join(str(error).split()), url).rstrip(".") or type(error).__name__
