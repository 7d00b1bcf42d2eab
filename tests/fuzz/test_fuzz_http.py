"""HTTP: schemathesis against our own description, and requests that no client would send."""

from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.config import HttpOptions
from pipeline.http_connection import HttpLimits
from tests.support.serving import read_all, serving, wire_to
from tests.support.statuses import NOT_READY, READY
from vedette.secrets import Secret

TOKEN = "kept-to-ourselves-7"
GUARDED = HttpOptions(listen="127.0.0.1:0", token=Secret(TOKEN))
CODES = {200, 400, 401, 404, 405, 431, 501, 503}


@pytest.mark.parametrize("guarded", [False, True], ids=["for all", "with a token"])
def test_every_answer_is_as_the_openapi_description_says(guarded: bool, tmp_path: Path) -> None:
    """Derandomised: missing and wrong tokens, other methods, stray headers, queries and bodies."""
    header = ["--header", f"Authorization: Bearer {TOKEN}"] if guarded else []
    with serving(GUARDED if guarded else None) as client:
        found = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{client.base_url}/openapi.json"),
                *("--checks", "all", "--max-examples", "100", "--generation-deterministic", "--workers", "1", *header),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert found.returncode == 0, found.stdout + found.stderr
    passed = re.search(r"(\d+) generated, \1 passed", found.stdout)
    assert passed, found.stdout
    assert int(passed[1]) >= 20


def test_the_description_is_openapi_and_its_schemas_are_those_of_the_answers() -> None:
    for readiness in (READY, NOT_READY):
        with serving(ready=lambda readiness=readiness: readiness) as client:  # type: ignore[misc]
            document = client.get("/openapi.json").json()
            assert document["openapi"] == "3.1.0"
            for path, operation in document["paths"].items():
                answer = client.get(path)
                schema = operation["get"]["responses"][str(answer.status_code)]["content"].get("application/json")
                if schema:
                    jsonschema.validate(
                        answer.json(), {**schema.get("schema", {}), "components": document["components"]}
                    )


def test_the_description_knows_every_path_that_is_served() -> None:
    with serving() as client:
        assert list(client.get("/openapi.json").json()["paths"]) == client.get("/").json()["paths"]


# ── what no client would send ────────────────────────────────────────────────────────────────────────────────────────

_TOKENS = st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"CONNECT", b"TRACE", b"get", b"", b"\x00", b"G ET"])
_TARGETS = st.sampled_from(
    [b"/", b"/status", b"/healthz", b"/metrics?x=%00", b"*", b"//status", b"/%2e%2e/status", b"http://x/status",
     b"/status#a", b"/\xff", b"/%ff%fe", b"x:443", b"", b"/openapi.json", b"/" + b"a" * 3000]
)  # fmt: skip
_VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"HTTP/9.9", b"", b"HTTP/1.1 "])
_HEADERS = st.sampled_from(
    [b"Host: x", b"Host: x\r\nHost: y", b"Connection: close", b"Connection: upgrade\r\nUpgrade: websocket",
     b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA",
     b"Content-Length: 3", b"Content-Length: -1", b"Content-Length: 9999999999999999999999",
     b"Content-Length: 3\r\nContent-Length: 4", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked",
     b"Transfer-Encoding: chunked\r\nContent-Length: 3", b"Expect: 100-continue", b"Authorization: Bearer x",
     b"Authorization: \xff\xfe", b"X:", b":", b" folded", b"X: a\x00b", b"X: \x7f", b"Range: bytes=0-",
     b"If-None-Match: *", b"Authorization: Bearer " + TOKEN.encode()]
)  # fmt: skip
_BODIES = st.sampled_from([b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"ffffffffffffffffffff\r\n", b"-1\r\n", b"\x00" * 50])
_ENDS = st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\n\r\n"])


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    end = draw(_ENDS) if draw(st.integers(0, 4)) == 0 else b"\r\n"
    line = b" ".join((draw(_TOKENS), draw(_TARGETS), draw(_VERSIONS)))
    whole = end.join((line, *draw(st.lists(_HEADERS, max_size=4)), b"", draw(_BODIES)))
    if draw(st.booleans()):
        return whole
    at, cut = draw(st.integers(0, len(whole))), draw(st.integers(0, 3))
    return whole[:at] + draw(st.binary(max_size=4)) + whole[at + cut :]


def test_whatever_is_sent_is_answered_in_a_line_or_cut_off_and_tells_nothing() -> None:
    """Two requests at once, among them half ones; `serving` fails if the thread `http` had an exception."""
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    try:
        with serving(GUARDED, limits=HttpLimits(exchange_s=0.5)) as client:

            @settings(max_examples=400, derandomize=True, deadline=None)
            @given(st.lists(_requests(), min_size=1, max_size=2).map(b"".join))
            @example(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            @example(b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
            def send(text: bytes) -> None:
                with wire_to(client) as wire:
                    try:
                        wire.sendall(text)
                        wire.shutdown(socket.SHUT_WR)
                    except OSError:  # cut off already
                        pass
                    _check(read_all(wire), with_token=TOKEN.encode() in text)
                assert errors.said == []

            send()
            assert client.get("/healthz").status_code == 200
    finally:
        logging.getLogger().removeHandler(errors)


class _Errors(logging.Handler):
    """What a client of any kind must not be able to bring about: a traceback in our log."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def _check(answers: bytes, *, with_token: bool) -> None:
    for answer in re.split(rb"(?=HTTP/1\.1 \d\d\d )", answers)[1:]:
        head, _, body = answer.partition(b"\r\n\r\n")
        code = int(head.split()[1])
        assert code in CODES | {100}, answer[:300]
        assert b"Traceback" not in body
        assert TOKEN.encode() not in answer
        if code not in (100, 200):
            assert body.count(b"\n") == 0, answer[:300]
        if code in (400, 401, 404, 405, 431) and body:
            assert json.loads(body)["error"].isprintable()
        if code == 200 and not with_token:
            assert body in (b"", b'{"status":"alive"}'), answer[:300]
