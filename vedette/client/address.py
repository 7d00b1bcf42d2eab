"""Where Redis is, and how a connection to it behaves: the URL checked, its password never shown."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from vedette.errors import SubscribeError, UsageError
from vedette.secrets import SecretUrl

ENVIRONMENT = "VEDETTE_REDIS_URL"
SCHEMES = ("redis", "rediss", "unix")
CONNECT_TIMEOUT_S = 5.0
# How much longer than its BLOCK a read may take before the server counts as gone (stopped, or cut off silently).
ANSWER_S = 4.0

Connection = TypeVar("Connection")


@dataclass(frozen=True, slots=True)
class Tls:
    """How a rediss server's certificate is checked: against `ca` (a PEM file), the system's authorities, or not."""

    ca: str | None = None
    verify: bool = True


def redis_url(url: str | SecretUrl | None) -> SecretUrl:
    """The given URL, else that of the environment. Raises UsageError without showing it."""
    found: object = os.environ.get(ENVIRONMENT) if url is None else url
    if not found:
        text = f"no Redis given: expected a URL, or one in {ENVIRONMENT}"
        raise UsageError(text)
    if not isinstance(found, str | SecretUrl):
        text = f"expected the URL of a Redis as text, got {type(found).__name__}"
        raise UsageError(text)
    secret = found if isinstance(found, SecretUrl) else SecretUrl(found)
    if secret.scheme not in SCHEMES:
        where = f"{ENVIRONMENT}: " if url is None else ""
        text = f"{where}expected a URL that begins with redis://, rediss:// or unix://, got {_scheme(secret)}"
        raise UsageError(text)
    try:
        # Both raise ValueError with parts of the password, when it holds '/', '?', '#', '[' or '@' as they are.
        parts = urlsplit(secret.reveal())
        database = parts.path.strip("/") or "0"
        unusable = secret.scheme != "unix" and (parts.port == 0 or not parts.hostname or not database.isdigit())
    except ValueError:
        unusable = True
    if unusable:
        text = "the Redis URL cannot be parsed: expected redis://[user:password@]host[:port][/db]"
        raise UsageError(text, hint="in a password, write '/' as %2F, '?' as %3F, '#' as %23 and '@' as %40")
    return secret


def checked_tls(tls: Tls, url: SecretUrl) -> Tls:
    """Return `tls` if its authorities can be read, or are not needed; raises UsageError."""
    if url.scheme == "rediss" and tls.ca is not None:
        try:
            ssl.create_default_context(cafile=tls.ca)
        except OSError as error:  # of which SSLError is one
            reason = "no certificate in PEM form in it" if isinstance(error, ssl.SSLError) else error.strerror
            text = f"tls_ca: expected a PEM file of authorities, got {tls.ca}: {reason}"
            raise UsageError(text) from None
    return tls


def _scheme(url: SecretUrl) -> str:
    return f"{url.scheme}://…" if url.scheme else "something else"


def connection_arguments(url: SecretUrl, parse: Callable[[str], Any], timeout_s: float, tls: Tls) -> dict[str, Any]:
    """What a Connection of redis-py is made with, and under `connection_class` its class, if the URL asks for one.

    `parse` is redis-py's `parse_url`, for threads or for asyncio. What a query in the URL sets is overridden where we
    depend on it: plain RESP2 replies as bytes, and no retries behind our back, since each new connection has to be
    noticed. Raises SubscribeError; redis-py's own text may hold parts of the password.
    """
    try:
        arguments: dict[str, Any] = dict(parse(url.reveal()))
    except ValueError as error:
        raise _cannot_use(error) from None
    for belongs_to_a_pool in ("max_connections", "timeout", "decode_responses", "retry_on_timeout", "retry_on_error"):
        arguments.pop(belongs_to_a_pool, None)
    if url.scheme == "rediss":
        if tls.ca is not None:
            arguments["ssl_ca_certs"] = tls.ca
        if not tls.verify:
            arguments.update(ssl_cert_reqs="none", ssl_check_hostname=False)
    return {
        **arguments,
        "protocol": 2,
        "decode_responses": False,
        "health_check_interval": 0,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
    }


def make_connection(kind: Callable[..., Connection], arguments: dict[str, Any]) -> Connection:
    """Build one; it connects when it is first used. Raises SubscribeError for an option that does not exist."""
    try:
        return kind(**arguments)
    except (RedisError, TypeError, ValueError, AttributeError) as error:
        raise _cannot_use(error) from None


def _cannot_use(error: Exception) -> SubscribeError:
    text = f"the Redis URL cannot be used ({type(error).__name__})"
    return SubscribeError(text, hint="check the options after '?' in the URL")
