"""What one client may cost the others: half requests, slow readers, floods, sizes, and the token's comparison."""

from __future__ import annotations

import hmac
import json
import logging
import select
import socket

import httpx
import msgspec
import psutil
import pytest

from pipeline.config import HttpOptions
from pipeline.http_connection import HttpLimits
from pipeline.status import Status
from tests.support.outlets import eventually
from tests.support.serving import read_all, serving, wire_to
from tests.support.statuses import a_status
from vedette.secrets import Secret

IMPATIENT = HttpLimits(exchange_s=0.3)
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_client_that_says_nothing_is_cut_off() -> None:
    with serving(limits=IMPATIENT) as client, wire_to(client) as wire:
        assert read_all(wire) == b""


@pytest.mark.parametrize("start", [b"GET /heal", b"GET /healthz HTTP/1.1\r\nX: "], ids=["line", "headers"])
def test_a_client_that_drips_its_request_is_cut_off(start: bytes) -> None:
    with serving(limits=IMPATIENT) as client, wire_to(client) as wire:
        wire.sendall(start)
        assert not _drip(wire)


def test_a_client_that_drips_a_body_is_answered_once_and_cut_off() -> None:
    with serving(limits=IMPATIENT) as client, wire_to(client) as wire:
        wire.sendall(b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        answer = _drip(wire)

    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_client_that_drips_its_second_request_is_cut_off() -> None:
    with serving(limits=IMPATIENT) as client, wire_to(client) as wire:
        wire.sendall(GET + b"GET /h")
        answer = _drip(wire)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_client_that_reads_nothing_is_cut_off() -> None:
    """What it does not read fills its window and ours; without a limit the connection would be open for ever."""
    asked = []

    def large() -> Status:
        asked.append(1)
        return msgspec.structs.replace(a_status(), engine="e" * 30_000_000)

    with serving(limits=IMPATIENT, status=large) as client, wire_to(client) as wire:
        ours = wire.getsockname()[1]
        wire.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: asked)
        eventually(lambda: ours not in _served_ports(client))


def test_idle_connections_do_not_keep_others_from_being_answered_for_long() -> None:
    with serving(limits=HttpLimits(exchange_s=0.3, connections=3)) as client:
        idle = [wire_to(client) for _ in range(6)]
        try:
            eventually(lambda: _code(client) == 200)
        finally:
            for wire in idle:
                wire.close()


def test_beyond_so_many_connections_a_request_gets_503_and_beyond_twice_as_many_is_dropped() -> None:
    with serving(limits=HttpLimits(connections=2)) as client:
        idle = [wire_to(client) for _ in range(2)]
        try:
            eventually(lambda: len(_served_ports(client)) == 2)
            with wire_to(client) as wire:
                wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert read_all(wire).startswith(b"HTTP/1.1 503 ")
            idle += [wire_to(client) for _ in range(2)]
            eventually(lambda: len(_served_ports(client)) == 4)
            with wire_to(client) as wire:
                assert read_all(wire) == b""
        finally:
            for wire in idle:
                wire.close()
        eventually(lambda: _code(client) == 200)


# ── sizes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n",
        b"GET /healthz?" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 20_000,
        b"A" * 20_000 + b" /healthz HTTP/1.1\r\nHost: x\r\n",
    ],
    ids=["path", "query", "header", "headers", "method"],
)
def test_a_request_that_is_too_large_is_refused_in_one_line_whole_or_in_parts(request_: bytes) -> None:
    with serving() as client:
        with wire_to(client) as wire:  # at once: h11 itself lets that pass
            wire.sendall(request_ + b"Connection: close\r\n\r\n")
            _check_refused(read_all(wire))
        with wire_to(client) as wire:  # never whole
            wire.sendall(request_[:17_000])
            _check_refused(read_all(wire))
        assert _code(client) == 200


def test_a_body_is_not_kept() -> None:
    """200 MB of it, and the process, which is ours, grows by much less."""
    block = b"x" * (1 << 20)
    with serving() as client, wire_to(client) as wire:
        before = psutil.Process().memory_info().rss
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 209715200\r\nConnection: close\r\n\r\n")
        try:
            for _ in range(200):
                wire.sendall(block)
        except ConnectionError:
            pass
        grown = psutil.Process().memory_info().rss - before

    assert grown < 50_000_000


def test_a_method_that_is_none_is_not_repeated() -> None:
    with serving() as client:
        answer = client.request("A" * 100, "/status")

    assert answer.status_code == 405
    assert answer.json() == {"error": "this method is not served here, GET is"}


def test_a_malformed_end_of_a_request_that_is_answered_already_ends_the_connection_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """uvicorn began a second answer there, and every such client cost a traceback in the log."""
    with serving() as client, wire_to(client) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = wire.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 200 ")
        wire.sendall(b"zz\r\n")
        read_all(wire)

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_what_is_no_http_is_refused_in_a_line_of_json() -> None:
    with serving() as client, wire_to(client) as wire:
        wire.sendall(b"HELLO\r\n\r\n")
        head, _, body = read_all(wire).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body) == {"error": "expected an HTTP/1.1 request"}


# ── the token ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_token_is_compared_as_a_whole_in_constant_time_and_with_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def seen(given: bytes, expected: bytes) -> bool:
        compared.append((given, expected))
        return real(given, expected)

    monkeypatch.setattr("pipeline.http.hmac.compare_digest", seen)
    expected = b"Bearer kept-to-ourselves-7"
    tried = [b"", b"B", b"Bearer kept-to-ourselves-8", expected, expected + b"x"]
    with serving(HttpOptions(listen="127.0.0.1:0", token=Secret("kept-to-ourselves-7"))) as client:
        codes = [client.get("/status", headers={"Authorization": given}).status_code for given in tried]
        assert client.get("/healthz").status_code == 200

    assert codes == [401, 401, 401, 200, 401]
    assert compared == [(given.partition(b" ")[2], expected.partition(b" ")[2]) for given in tried]


def _code(client: httpx.Client) -> int:
    try:
        return client.get("/healthz", headers={"Connection": "close"}).status_code
    except httpx.TransportError:
        return 0


def _served_ports(client: httpx.Client) -> set[int]:
    """The ports of those that the server, which is this process, is connected to; `client`'s own is not among them."""
    port = client.base_url.port
    found = psutil.Process().net_connections("tcp")
    return {each.raddr.port for each in found if each.laddr.port == port and each.status == "ESTABLISHED"}


def _drip(wire: socket.socket) -> bytes:
    """Send a byte as often as nothing comes, until the server has enough; returns what it answered."""
    poll, answer = select.poll(), b""
    poll.register(wire, select.POLLIN)
    try:
        for _ in range(2000):
            if poll.poll(20):
                part = wire.recv(1 << 16)
                if not part:
                    return answer
                answer += part
            else:
                wire.sendall(b"a")
    except ConnectionError:
        return answer
    msg = "the server went on listening"
    raise AssertionError(msg)


def _check_refused(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] in (b"400", b"431") or not answer, answer[:200]
    assert body.count(b"\n") == 0
