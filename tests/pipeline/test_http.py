"""The HTTP endpoints, over a real socket."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading

import httpx
import msgspec
import pytest

from pipeline.clock import SystemClock
from pipeline.config import HttpOptions
from pipeline.http import HttpServer
from pipeline.status import Readiness, Status, as_json
from pipeline.supervisor import Supervisor
from tests.support.serving import serving
from tests.support.statuses import NOT_READY, READY, a_status
from vedette.errors import ConfigError
from vedette.secrets import Secret

TOKEN = "kept-to-ourselves-7"


def test_alive_is_200() -> None:
    with serving() as client:
        answer = client.get("/healthz")

    assert answer.status_code == 200
    assert answer.json() == {"status": "alive"}


@pytest.mark.parametrize(("readiness", "status_code"), [(READY, 200), (NOT_READY, 503)])
def test_ready_is_200_or_503_with_the_reasons(readiness: Readiness, status_code: int) -> None:
    with serving(ready=lambda: readiness) as client:
        answer = client.get("/readyz")

    assert answer.status_code == status_code
    assert answer.json() == {"ready": readiness.ready, "reasons": readiness.reasons}


def test_status_is_the_whole_status() -> None:
    with serving() as client:
        answer = client.get("/status")

    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert msgspec.json.decode(answer.content, type=Status) == a_status()


def test_metrics_are_for_prometheus() -> None:
    with serving() as client:
        answer = client.get("/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'vedette_frames_decoded_total{stream="gate"} 120.0' in answer.text.splitlines()


def test_head_is_answered_without_a_body() -> None:
    with serving() as client:
        answer = client.head("/healthz")

    assert answer.status_code == 200
    assert answer.content == b""


@pytest.mark.parametrize("path", ["/", "/status/", "/Status", "/../etc/passwd", "/status%00", "/favicon.ico"])
def test_an_unknown_path_is_404_and_names_the_known_ones(path: str) -> None:
    with serving() as client:
        answer = client.get(path)

    assert answer.status_code == 404
    assert answer.json() == {
        "error": "no such path",
        "paths": ["/healthz", "/readyz", "/status", "/metrics", "/openapi.json"],
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_but_get_is_served(method: str) -> None:
    with serving() as client:
        answer = client.request(method, "/status", content=b"x" * 1000)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert answer.json() == {"error": f"{method} is not served here, GET is"}


# ── the token ────────────────────────────────────────────────────────────────────────────────────────────────────────

GUARDED = HttpOptions(listen="127.0.0.1:0", token=Secret(TOKEN))


def test_without_the_token_everything_is_401() -> None:
    wrong = ["", "Bearer", "Bearer x", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"bearer{TOKEN}", TOKEN, "Basic é"]
    headers = [{}, *({"Authorization": header.encode()} for header in wrong)]
    with serving(GUARDED) as client:
        for path in ("/readyz", "/status", "/metrics", "/unknown"):
            for given in headers:
                answer = client.get(path, headers=given)

                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.json() == {"error": "expected a valid bearer token"}


def test_with_the_token_everything_is_served_and_health_without() -> None:
    with serving(GUARDED) as client:
        assert client.get("/healthz").status_code == 200
        given = {"Authorization": f"Bearer {TOKEN}"}
        assert {path: client.get(path, headers=given).status_code for path in ("/readyz", "/status", "/metrics")} == {
            "/readyz": 200,
            "/status": 200,
            "/metrics": 200,
        }
        assert client.get("/unknown", headers=given).status_code == 404
        assert client.get("/status", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200
        assert client.get("/status", headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401


# ── starting and ending ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_used_port_is_a_configuration_error_of_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"http.listen: cannot listen on {listen}: Address already in use") as got:
            HttpServer(HttpOptions(listen=listen), status=a_status, ready=lambda: READY)

    assert got.value.exit_status == 2
    assert len(got.value.problems) == 1


@pytest.mark.parametrize("listen", ["192.0.2.1:8080", "no-such-host.invalid:8080", "127.0.0.1:99999", "127.0.0.1:x"])
def test_an_address_that_is_not_ours_is_a_configuration_error(listen: str) -> None:
    with pytest.raises(ConfigError, match=f"http.listen: cannot listen on {listen}"):
        HttpServer(HttpOptions(listen=listen), status=a_status, ready=lambda: READY)


def test_the_port_is_taken_before_the_thread_runs_and_free_after_a_close_without_a_run() -> None:
    server = HttpServer(HttpOptions(listen="127.0.0.1:0"), status=a_status, ready=lambda: READY)
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(ConfigError):
        HttpServer(HttpOptions(listen=f"127.0.0.1:{port}"), status=a_status, ready=lambda: READY)

    server.close()
    server.close()
    server.run()
    HttpServer(HttpOptions(listen=f"127.0.0.1:{port}"), status=a_status, ready=lambda: READY).close()


def test_ipv6_is_served_where_the_host_has_it_and_refused_clearly_where_not() -> None:
    options = HttpOptions(listen="[::1]:0")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        with pytest.raises(ConfigError, match="cannot listen on"):
            HttpServer(options, status=a_status, ready=lambda: READY)
        return

    with serving(options) as client:
        assert str(client.base_url).startswith("http://[::1]:")
        assert client.get("/healthz").status_code == 200


def test_closing_ends_idle_connections_and_the_thread() -> None:
    with serving() as client:
        client.get("/healthz")
        threads = {thread.name for thread in threading.enumerate()}

    assert "http" in threads
    assert "http" not in {thread.name for thread in threading.enumerate()}


def test_no_thread_beside_its_own_is_started() -> None:
    before = {thread.name for thread in threading.enumerate()}
    with serving() as client:
        for path in ("/healthz", "/readyz", "/status", "/metrics"):
            client.get(path)
        assert {thread.name for thread in threading.enumerate()} - before == {"http"}


def test_a_fault_of_ours_is_answered_with_500_and_ends_the_thread_with_its_traceback() -> None:
    def broken() -> Status:
        msg = "the status is broken"
        raise RuntimeError(msg)

    server = HttpServer(HttpOptions(listen="127.0.0.1:0"), status=broken, ready=lambda: READY)
    group = Supervisor(SystemClock())
    group.spawn("http", server.run)
    answer = httpx.get(f"{server.url}/status", trust_env=False)

    assert group.join("http", 10.0) == []
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error: RuntimeError"}
    assert group.failure is not None
    assert str(group.failure.error) == "the status is broken"


def test_rubbish_on_the_wire_does_not_end_the_server(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as client:
        host, port = client.base_url.host, client.base_url.port
        for rubbish in (b"\x00\xff" * 50 + b"\r\n\r\n", b"GET /status HTTP/9.9\r\n\r\n", b"GET", b""):
            with socket.create_connection((host, port), timeout=10) as wire:
                wire.sendall(rubbish)
                wire.shutdown(socket.SHUT_WR)
                while wire.recv(4096):
                    pass
        assert client.get("/healthz").status_code == 200

    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


def test_requests_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving() as client:
        client.get("/status?token=secret")

    mine = [record for record in caplog.records if record.threadName == "http" and record.name != "asyncio"]
    assert [record.getMessage() for record in mine] == [f"health, status and metrics at {client.base_url}"]


def test_a_name_that_is_not_utf_8_has_question_marks_in_the_status() -> None:
    odd = msgspec.structs.replace(a_status(), engine=os.fsdecode(b"caf\xe9.onnx"))
    assert json.loads(as_json(odd))["engine"] == "caf?.onnx"


def test_status_is_json_that_anything_reads() -> None:
    assert json.loads(as_json(a_status()))["streams"]["gate"]["totals"]["failed"] == {"no_timestamp": 1, "engine": 3}
