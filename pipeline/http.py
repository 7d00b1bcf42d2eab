"""Health, readiness, status and metrics over HTTP: what the machine says about itself, to whoever may ask.

    GET /healthz    200 as long as the process can answer at all; never asks for the token
    GET /readyz     200 while frames are flowing, else 503; the reasons are in the answer
    GET /status     the whole `pipeline.status.Status` as JSON
    GET /metrics    the same for Prometheus (`pipeline/metrics.py`)
    GET /openapi.json   all this as an OpenAPI description (`pipeline/openapi.py`)

In:  two functions that read the machine's state. Out: answers. Nothing can be changed from here.
`HttpServer.run` is the body of the thread `http`, started by `pipeline/assembly.py`. No other thread: every answer is
made in the server's own event loop, and between requests nothing runs at all. What a client may cost us is bounded in
`pipeline/http_connection.py`; what is protected against whom: docs/security.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import socket
import threading
from collections.abc import Awaitable, Callable

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.config import HttpOptions
from pipeline.http_connection import HttpLimits, RequestSizeCheck, bounded_connection
from pipeline.metrics import CONTENT_TYPE, render
from pipeline.openapi import description
from pipeline.status import Readiness, Status, as_json
from vedette.errors import ConfigError
from vedette.secrets import Secret

logger = logging.getLogger(__name__)

PATHS = ("/healthz", "/readyz", "/status", "/metrics", "/openapi.json")

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_GRACE_S = 1
# Longer than any method's name: what is not one is not repeated to whoever sent it.
_METHOD_CHARACTERS = 20


class HttpServer:
    """Serves until `close`. The port is taken when the object is built, so that a used one is told at start.

    Raises ConfigError, from the constructor alone, if `options.listen` can't be listened on. An exception of `status`
    or `ready` is our own fault: it is answered with 500, ends the server and is raised by `run`.
    """

    def __init__(
        self,
        options: HttpOptions,
        status: Callable[[], Status],
        ready: Callable[[], Readiness],
        limits: HttpLimits | None = None,
    ) -> None:
        self._status = status
        self._ready = ready
        self._limits = limits = limits or HttpLimits()
        self._description = as_json(description(guarded=options.token is not None))
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._running = False
        self._socket = _listening_socket(options.listen, limits.connections)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._server = _Server(
            uvicorn.Config(
                self._application(options.token),
                http=bounded_connection(limits),
                lifespan="off",
                ws="none",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                limit_concurrency=limits.connections,
                timeout_keep_alive=limits.keep_alive_s,
                h11_max_incomplete_event_size=limits.request_bytes,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )

    def run(self) -> None:
        """The body of its thread: serves until `close`; raises what made it fail."""
        with self._lock:
            if self._server.should_exit:
                return
            self._running = True
        logger.info("health, status and metrics at %s", self.url)
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Finish the requests that are being answered, at most for a second, and end `run`. Idempotent."""
        with self._lock:
            self._server.stop()
            if not self._running:
                self._socket.close()

    def _application(self, token: Secret | None) -> ASGIApp:
        application = Starlette(
            routes=[
                Route(path, self._guarded(answer))
                for path, answer in zip(
                    PATHS,
                    (
                        self._answer_health,
                        self._answer_ready,
                        self._answer_status,
                        self._answer_metrics,
                        self._answer_description,
                    ),
                    strict=True,
                )
            ],
            exception_handlers={HTTPException: _refusal},
        )
        application.router.redirect_slashes = False
        checked = application if token is None else _TokenCheck(application, token)
        return RequestSizeCheck(checked, self._limits, _too_large)

    def _answer_health(self) -> Response:
        return _json({"status": "alive"})

    def _answer_ready(self) -> Response:
        readiness = self._ready()
        return _response(as_json(readiness), status_code=200 if readiness.ready else 503)

    def _answer_status(self) -> Response:
        return _response(as_json(self._status()))

    def _answer_metrics(self) -> Response:
        return Response(render(self._status(), self._ready()), media_type=CONTENT_TYPE, headers=_HEADERS)

    def _answer_description(self) -> Response:
        return _response(self._description)

    def _guarded(self, answer: Callable[[], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(_: Request) -> Response:
            try:
                return answer()
            except BaseException as error:  # noqa: BLE001 - the top of a thread: `run` raises it
                self._failure = self._failure or error
                self._server.stop()
                return _json({"error": f"internal error: {type(error).__name__}"}, status_code=500)

        return endpoint


class _Server(uvicorn.Server):
    """uvicorn, woken when it shall end instead of looking ten times a second whether it should."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self._loop = asyncio.get_running_loop()
        if not self.should_exit:
            await self._ending.wait()

    def stop(self) -> None:
        """End the server, from any thread; one that has not started yet ends as soon as it has."""
        self.should_exit = True
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended already
                loop.call_soon_threadsafe(self._ending.set)


class _TokenCheck:
    """Lets nothing but /healthz through without the right `Authorization: Bearer` header."""

    def __init__(self, application: ASGIApp, token: Secret) -> None:
        self._application = application
        self._expected = token.reveal().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/healthz":
            scheme, _, given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
            # Compared as a whole and in constant time: how long it takes tells nothing about the token.
            if not hmac.compare_digest(given, self._expected) or scheme.lower() != b"bearer":
                refusal = _json({"error": "expected a valid bearer token"}, status_code=401)
                refusal.headers["WWW-Authenticate"] = "Bearer"
                await refusal(scope, receive, send)
                return
        await self._application(scope, receive, send)


async def _refusal(request: Request, error: Exception) -> Response:
    status_code = error.status_code if isinstance(error, HTTPException) else 500
    if status_code == 404:
        return _json({"error": "no such path", "paths": PATHS}, status_code=404)
    method = request.method if len(request.method) <= _METHOD_CHARACTERS else "this method"
    response = _json({"error": f"{method} is not served here, GET is"}, status_code=status_code)
    response.headers["Allow"] = "GET, HEAD"
    return response


def _too_large(limit: int) -> Response:
    return _json({"error": f"expected at most {limit} bytes of path, query and headers"}, status_code=431)


def _json(value: dict[str, object], status_code: int = 200) -> Response:
    return _response(as_json(value), status_code)


def _response(content: bytes, status_code: int = 200) -> Response:
    return Response(content, status_code=status_code, media_type="application/json", headers=_HEADERS)


def _listening_socket(listen: str, backlog: int) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        if not 0 <= int(port) <= 65535:  # getaddrinfo would take the rest of a division instead
            raise _cannot_listen(listen, ValueError("the port is above 65535"))
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, ValueError) as error:
        raise _cannot_listen(listen, error) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        raise _cannot_listen(listen, error) from error
    return listening


def _cannot_listen(listen: str, error: Exception) -> ConfigError:
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return ConfigError(f"http.listen: cannot listen on {listen}: {why}", hint="take another port, or end what uses it")
