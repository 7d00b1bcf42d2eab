"""The HTTP server in a supervised thread, as in the machine, and raw connections to it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from pipeline.clock import SystemClock
from pipeline.config import HttpOptions
from pipeline.http import HttpServer
from pipeline.http_connection import HttpLimits
from pipeline.status import Readiness, Status
from pipeline.supervisor import Supervisor
from tests.support.statuses import READY, a_status


@contextmanager
def serving(
    options: HttpOptions | None = None,
    *,
    status: Callable[[], Status] = a_status,
    ready: Callable[[], Readiness] = lambda: READY,
    limits: HttpLimits | None = None,
) -> Iterator[httpx.Client]:
    """A client of a server; whatever was done to it, it ends without an exception."""
    server = HttpServer(options or HttpOptions(listen="127.0.0.1:0"), status=status, ready=ready, limits=limits)
    group = Supervisor(SystemClock())
    group.spawn("http", server.run)
    try:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            yield client
    finally:
        server.close()
        assert group.join("http", 10.0) == []
    assert group.failure is None


def wire_to(client: httpx.Client) -> socket.socket:
    """A connection of its own to the server that `client` talks to."""
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20)


def read_all(wire: socket.socket) -> bytes:
    """What comes until the server ends the connection, in whatever way."""
    parts = []
    try:
        while part := wire.recv(1 << 16):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)
