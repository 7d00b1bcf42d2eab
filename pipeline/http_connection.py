"""What one HTTP connection may cost us: how many there are, how long an exchange takes, how large a request is.

uvicorn limits none of that by itself: a client that sends half a request, or reads no answer, keeps its connection for
ever, and those of it that count towards `limit_concurrency` keep /healthz from being answered.
Called by `pipeline/http.py`; runs in the server's event loop, whose own timers it uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What a client may take.

    `connections`: beyond so many a request is answered with 503, beyond twice as many a connection is dropped unread.
    `exchange_s`: so long a client may take from connecting, or from the last answer, until it has read the next one.
    `keep_alive_s`: so long an idle connection is kept. `request_bytes`: path, query and headers together. No body is
    ever kept. Guesses, all of them: monitoring comes once in 15 s, from a handful of places, with a token.
    """

    connections: int = 64
    exchange_s: float = 10.0
    keep_alive_s: int = 5
    request_bytes: int = 16_384


def bounded_connection(limits: HttpLimits) -> type[asyncio.Protocol]:
    """The connection of uvicorn with these limits, for `uvicorn.Config(http=…)`."""

    class BoundedConnection(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
            super().connection_made(transport)
            if len(self.connections) > 2 * limits.connections:
                transport.abort()
                return
            self._restart_deadline()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_deadline()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._restart_deadline()
            super().on_response_complete()

        def send_400_response(self, msg: str) -> None:
            """Refuse what is no HTTP, in the form of our other refusals, if an answer can still be begun.

            uvicorn begins one in any case, and fails on that, with a traceback, when the end of a request that was
            answered already turns out to be malformed.
            """
            if self.cycle is not None:
                self.cycle.disconnected = True  # what is being answered is not sent into ours
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                body = b'{"error":"expected an HTTP/1.1 request"}'
                headers = [
                    ("Content-Type", "application/json"),
                    ("Content-Length", str(len(body))),
                    ("Connection", "close"),
                ]
                for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

        def _restart_deadline(self) -> None:
            self._stop_deadline()
            # abort, not close: close would wait until the client has read what it does not read.
            self._deadline = self.loop.call_later(limits.exchange_s, self.transport.abort)

        def _stop_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()

    return BoundedConnection


class RequestSizeCheck:
    """Answers a request whose path, query and headers are too large, before anything looks at them.

    h11 has a limit of its own, but only for what has not come whole: one large write passes it.
    """

    def __init__(self, application: ASGIApp, limits: HttpLimits, refusal: Callable[[int], Response]) -> None:
        self._application = application
        self._request_bytes = limits.request_bytes
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _request_bytes(scope) > self._request_bytes:
            await self._refusal(self._request_bytes)(scope, receive, send)
            return
        await self._application(scope, receive, send)


def _request_bytes(scope: Any) -> int:
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    return len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"]) + headers
