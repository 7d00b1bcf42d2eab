"""Every URL has a password here, full of characters that tempt, and none of them is seen anywhere.

Each password consists of one odd word, repeated between the characters that tempt, so that a part that leaks (the mask
ended at the wrong `@`, the URL was cut at the `#`) is found as well as the whole, quoted or not. Only what an
`Authorization: Basic` header holds looks different, so that is looked for, too.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.support.http_camera import HttpCamera, transport_stream
from tests.support.process import VedetteProcess
from tests.support.redis_server import RedisServer, StartRedis, free_port
from tests.support.rtsp import RtspServer
from tests.support.site import Events
from tests.support.system import SEED, http_get, run_vedette
from vedette import Subscriber

pytestmark = pytest.mark.system

USER = "viewer"
WORDS = {
    "GATE_PASSWORD": "zebrafant",
    "WRONG_PASSWORD": "quuxotter",
    "GONE_PASSWORD": "plughlynx",
    "WEB_PASSWORD": "xyzzyhare",
    "WEB_TOKEN": "fredmole",
    "REDIS_PASSWORD": "waldowolf",
    "HTTP_TOKEN": "garplycrane",
}
CLEAR = "thudmule"
"""Stands in the configuration itself, quoted by hand."""


def secret(word: str) -> str:
    return f"{word}@{word}:{word}%2F{word}#{word}?{word}&{word}"


SECRETS = {name: secret(word) for name, word in WORDS.items()}


def _needles() -> list[bytes]:
    found = {word.encode() for word in (*WORDS.values(), CLEAR)}
    for word in (*WORDS.values(), CLEAR):
        for password in (secret(word), unquote(secret(word)), quote(secret(word), safe="")):
            for user in (USER, ""):
                found.add(base64.b64encode(f"{user}:{password}".encode()))
    return sorted(found)


NEEDLES = _needles()


def check_clean(**places: str | bytes) -> None:
    """None of the passwords, in no form, in any of these texts."""
    for place, text in places.items():
        content = text if isinstance(text, bytes) else text.encode()
        for needle in NEEDLES:
            at = content.find(needle)
            assert at < 0, f"{needle!r} in {place}: …{content[max(0, at - 200) : at + 200]!r}…"


class CommandLines:
    """Looks at the command line of every process of this machine, again and again, in a thread of its own."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.rounds = 0
        self.found: set[bytes] = set()

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes()
                except OSError:
                    continue
                if any(needle in line for needle in NEEDLES):
                    self.found.add(line)
            self.rounds += 1


@pytest.fixture
def redis_with_password(start_redis: StartRedis) -> RedisServer:
    return start_redis(password=SECRETS["REDIS_PASSWORD"])


@pytest.fixture
def place(
    tmp_path: Path,
    redis_with_password: RedisServer,
    rtsp_servers: Callable[..., RtspServer],
    http_camera: Callable[..., HttpCamera],
    painted_h264: Path,
) -> Place:
    cameras = rtsp_servers(user=USER, password=SECRETS["GATE_PASSWORD"])
    cameras.mount("gate", painted_h264, fps=25)
    whole = transport_stream(tmp_path / "web.ts", frames=250, gop=5)
    pieces = [whole[at : at + 4096] for at in range(0, len(whole), 4096)]
    web = http_camera(pieces=pieces, fps=25, password=SECRETS["WEB_PASSWORD"])
    open_web = http_camera(pieces=pieces, fps=25)
    return Place(tmp_path, redis_with_password, cameras, web, open_web)


class Place:
    """A configuration with a password in every URL, and the servers that it names."""

    def __init__(
        self, folder: Path, redis: RedisServer, cameras: RtspServer, web: HttpCamera, open_web: HttpCamera
    ) -> None:
        self.folder = folder
        self.redis = redis
        self.port = free_port()
        self.closed_port = free_port()
        rtsp = f"127.0.0.1:{cameras.port}"
        self.streams: dict[str, str] = {
            "gate": f"rtsp://{USER}:${{GATE_PASSWORD}}@{rtsp}/gate",
            "wrong": f"rtsp://{USER}:${{WRONG_PASSWORD}}@{rtsp}/gate",
            "gone": f"rtsp://{USER}:${{GONE_PASSWORD}}@127.0.0.1:{self.closed_port}/gate",
            "clear": f"rtsp://{USER}:{quote(secret(CLEAR), safe='')}@{rtsp}/gate",
            "web": f"http://{USER}:${{WEB_PASSWORD}}@127.0.0.1:{web.port}/ts",
            "token": f"http://127.0.0.1:{open_web.port}/ts?token=${{WEB_TOKEN}}",
            "token-gone": f"http://127.0.0.1:{open_web.port}/nothing?password=${{WEB_TOKEN}}",
        }
        self.redis_url = f"redis://:${{REDIS_PASSWORD}}@127.0.0.1:{redis.port}/0"
        self.env = {**os.environ, **SECRETS, "PYTHONUNBUFFERED": "1"}

    def text(self, **changes: str) -> str:
        """The configuration; `changes` replace a stream's URL, by its id, or `redis_url`."""
        streams = "\n".join(
            f'  - {{id: {name}, url: "{changes.get(name, url)}", fps: 5, open_timeout_s: 5, read_timeout_s: 5}}'
            for name, url in self.streams.items()
        )
        return (
            f"version: 1\nmodel: {{path: {SEED}, threads: 2}}\nstreams:\n{streams}\nsinks:\n"
            f'  - {{kind: redis, url: "{changes.get("redis_url", self.redis_url)}", spool: {{path: spool}}}}\n'
            f"  - {{kind: jsonl, path: detections.jsonl}}\n"
            f'http: {{listen: "127.0.0.1:{self.port}", token: "${{HTTP_TOKEN}}"}}\n'
        )

    def write(self, text: str | None = None) -> Path:
        path = self.folder / "config" / "vedette.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(self.text() if text is None else text)
        return path

    def get(self, path: str, token: str | None) -> tuple[int, str]:
        return http_get(f"http://127.0.0.1:{self.port}{path}", token=token)

    def files(self) -> dict[str, bytes]:
        """Everything that was written, apart from the configuration and what the test made."""
        folder = self.folder / "config"
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".yaml"
        }

    def redis_contents(self) -> bytes:
        """All keys with all that is in them, and what the server says of its clients."""
        with self.redis.client() as client:
            client.connection_pool.connection_kwargs["decode_responses"] = False
            parts = [str(client.client_list()).encode()]
            for key in client.scan_iter():
                kind = client.type(key)
                if kind == b"stream":
                    value: Any = client.xrange(key, "-", "+")
                elif kind == b"hash":
                    value = client.hgetall(key)
                else:
                    value = client.get(key)
                parts += [key, repr(value).encode()]
            return b"\n".join(parts)


def test_no_password_is_seen_in_a_run_its_messages_its_files_or_any_command_line(place: Place) -> None:
    config = place.write()
    answers: dict[str, str] = {}

    with (
        CommandLines() as command_lines,
        VedetteProcess(config, env=place.env, arguments=["--log-level", "debug"]) as vedette,
    ):
        for name in ("gate", "web", "token"):
            vedette.wait_log(f"stream {name} ", "streaming")
        for name, reason in (
            ("wrong", "auth"),
            ("clear", "auth"),
            ("gone", "refused"),
            ("token-gone", "not_found"),
        ):
            vedette.wait_log(f"stream {name} ", f"({reason})")
        for path in ("/status", "/metrics", "/readyz", "/healthz", "/nothing"):
            code, answers[path] = place.get(path, SECRETS["HTTP_TOKEN"])
            assert code == {"/nothing": 404, "/readyz": code}.get(path, 200)
            assert answers[path]
        code, answers["refused"] = place.get("/status", SECRETS["WEB_TOKEN"])
        assert code == 401
        with Subscriber(place.redis.url) as subscriber:
            assert {next(subscriber.frames(name, start="0")).stream for name in ("gate", "web")} == {"gate", "web"}
        Events(place.redis, "vedette:events").wait_state("gone", "waiting", reason="refused")
        contents = place.redis_contents()
        place.redis.kill()
        after = vedette.wait_log("redis://***@")
        place.redis.password = "another"
        place.redis.start()
        vedette.wait_log("redis://***@", "refused the password", after=after)
        code, answers["/readyz without redis"] = place.get("/readyz", SECRETS["HTTP_TOKEN"])
        assert (code, "redis" in answers["/readyz without redis"]) == (503, True)
        vedette.terminate()
    assert vedette.returncode == 0, vedette.log
    assert command_lines.rounds > 10
    assert command_lines.found == set()

    # The places are worth looking at: they have in them what they should.
    status = json.loads(answers["/status"])
    assert all("***" in report["url"] for report in status["streams"].values())
    assert b"vedette:frames:gate" in contents
    assert b"vedette:events" in contents
    assert b'"state":"waiting"' in contents
    files = place.files()
    assert b'"stream":"web"' in files["detections.jsonl"]
    assert any(name.startswith("spool/") and b"stopped" in content for name, content in files.items()), list(files)
    assert "a password in clear" in vedette.log

    check_clean(log=vedette.log, out=vedette.out, redis=contents, **answers)
    check_clean(**files)


CRASH = """
import os, sys
from urllib.parse import quote
from pipeline.lane import Lane
from vedette.cli.main import main

def detected(self, found):
    words = {name: value for name, value in os.environ.items() if name.endswith(("_PASSWORD", "_TOKEN"))}
    try:
        quoted = quote(words["GATE_PASSWORD"], safe="")
        raise OSError(5, f"cannot read {words['GATE_PASSWORD']}", f"rtsp://viewer:{quoted}@h/x")
    except OSError as error:
        raise RuntimeError(f"forced {words}") from error

Lane.detected = detected
sys.exit(main(sys.argv[1:]))
"""


def test_no_password_is_seen_when_our_own_code_crashes_with_all_of_them_in_its_hands(place: Place) -> None:
    script = place.folder / "crash.py"
    script.write_text(CRASH)

    with CommandLines() as command_lines, VedetteProcess(
        place.write(), env=place.env, program=[sys.executable, str(script)],
        arguments=["--log-format", "human", "--log-level", "debug"],
    ) as vedette:  # fmt: skip
        assert vedette.wait() == 70, vedette.log

    assert command_lines.found == set()
    assert "Traceback" in vedette.log
    assert "RuntimeError: forced" in vedette.log
    assert "rtsp://***@" in vedette.log
    check_clean(log=vedette.log, out=vedette.out, **place.files())


def test_no_password_is_seen_in_what_check_says(place: Place) -> None:
    config = place.write()

    with CommandLines() as command_lines:
        table = run_vedette("check", config, env=place.env)
        as_json = run_vedette("check", config, "--json", env=place.env)
        place.redis.restart()
        place.redis.kill()
        without_redis = run_vedette("check", config, env=place.env)

    assert command_lines.found == set()
    assert table.returncode != 0
    assert "***" in table.stdout
    assert len(json.loads(as_json.stdout)) > 0
    for name, done in {"table": table, "json": as_json, "without redis": without_redis}.items():
        assert "Traceback" not in done.stderr, name
        check_clean(**{name: done.stdout + done.stderr})


def in_the_streams_place(url: str) -> Callable[[Place], str]:
    return lambda place: place.text(gate=url)


WRONG_CONFIGS: dict[str, Callable[[Place], str]] = {
    "a misspelt scheme": in_the_streams_place(f"rtps://{USER}:${{GATE_PASSWORD}}@127.0.0.1/gate"),
    "no scheme": in_the_streams_place(f"{USER}:${{GATE_PASSWORD}}@127.0.0.1/gate"),
    "no scheme, in clear": in_the_streams_place(f"{USER}:{secret(CLEAR)}@127.0.0.1/gate"),
    "no slashes, in clear": in_the_streams_place(f"rtsp:{USER}:{secret(CLEAR)}@127.0.0.1/gate"),
    "no scheme for redis, in clear": lambda place: place.text(redis_url=f"{USER}:{secret(CLEAR)}@127.0.0.1"),
    "a port that is no number": in_the_streams_place(f"rtsp://{USER}:${{GATE_PASSWORD}}@127.0.0.1:port/gate"),
    "no host": in_the_streams_place(f"rtsp://{USER}:${{GATE_PASSWORD}}@/gate"),
    "an unquoted password in clear": in_the_streams_place(f"rtps://{USER}:{secret(CLEAR)}@127.0.0.1/gate"),
    "an unquoted password in a good URL": in_the_streams_place(f"rtsp://{USER}:{secret(CLEAR)}@127.0.0.1/gate"),
    "a slash in a password": in_the_streams_place(f"rtsps://{USER}:{CLEAR}/{CLEAR}@127.0.0.1:x/gate"),
    "a misspelt variable": in_the_streams_place("rtsp://u:${GATE_PASSWROD}@127.0.0.1/gate"),
    "a database that is none": lambda place: place.text(redis_url=f"{place.redis_url[:-1]}events"),
    "a redis URL of another kind": lambda place: place.text(redis_url=place.redis_url.replace("redis://", "http://")),
    "a redis URL with an unquoted password": lambda place: place.text(
        redis_url=f"redis://:{secret(CLEAR)}@127.0.0.1:{place.redis.port}/0"
    ),
    "a secret where a number is expected": lambda place: place.text().replace("fps: 5", 'fps: "${GATE_PASSWORD}"', 1),
    "a secret for an id": lambda place: place.text().replace("id: gate", 'id: "${GATE_PASSWORD}"'),
    "a secret for an address": lambda place: place.text().replace('listen: "127.0.0.1', 'listen: "${HTTP_TOKEN}'),
    "a secret for a key": lambda place: place.text().replace("fps: 5", '"${GATE_PASSWORD}": 5', 1),
    "an unknown key with a URL": lambda place: place.text().replace(
        "fps: 5", f'uri: "rtsp://{USER}:{secret(CLEAR)}@127.0.0.1/gate"', 1
    ),
    "a list for a URL": lambda place: place.text().replace(
        f'url: "{place.streams["gate"]}"', f'url: ["{place.streams["gate"]}", "{place.streams["clear"]}"]'
    ),
    "broken YAML beside a URL": lambda place: place.text().replace(
        f'"{place.streams["clear"]}"', f'"{place.streams["clear"]}'
    ),
    "the same URL twice": lambda place: place.text().replace("id: wrong", "id: gate"),
}


@pytest.mark.parametrize("wrong", WRONG_CONFIGS.values(), ids=WRONG_CONFIGS.keys())
def test_no_password_is_seen_in_the_errors_of_a_configuration(
    wrong: Callable[[Place], str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # In this process: twenty times a second of start-up would be too long. The text is what `vedette run` prints.
    from vedette.cli.main import main

    place = Place(tmp_path, RedisServer(directory=tmp_path, port=1), *_nobody())
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)

    # One more thing is wrong in each, so that none is ever run.
    status = main(["run", str(place.write(wrong(place) + "batch: {max: 0}\n"))])

    out, err = capfd.readouterr()
    assert status == 2, err
    assert "Traceback" not in err
    check_clean(out=out, err=err)


def test_no_password_is_seen_in_what_other_commands_refuse_or_wait_for(place: Place) -> None:
    url = f"rtsp://{USER}:{quote(SECRETS['GATE_PASSWORD'], safe='')}@127.0.0.1:{place.closed_port}/gate"
    unquoted = f"rtsp://{USER}:{SECRETS['GATE_PASSWORD']}@127.0.0.1:{place.closed_port}/gate"
    redis_url = place.redis.url
    refused = {
        "demo": ("demo", "--source", url),
        "demo, unquoted": ("demo", "--source", unquoted),
        "annotate": ("annotate", url, place.folder / "out.mp4"),
        "annotate, unquoted": ("annotate", unquoted, place.folder / "out.mp4"),
        "tail": ("tail", "--redis", redis_url),
        "tail, a URL for a stream": ("tail", redis_url),
        "a URL for a command": (url,),
        "a URL for an option": ("tail", f"--{url}"),
        "a URL for a number": ("tail", "--count", url),
        "a URL for a choice": ("run", "x.yaml", "--log-level", url),
        "a URL for a file": ("run", url),
        "a URL for a model": ("demo", "--model", url),
    }
    for name, words in refused.items():
        done = run_vedette(*words, env=place.env)
        assert done.returncode == 2, (name, done.stderr)
        assert "Traceback" not in done.stderr, name
        check_clean(**{name: done.stdout + done.stderr})

    place.redis.kill()
    config = place.write()
    with CommandLines() as command_lines:
        for words, more in ((("tail",), {"VEDETTE_REDIS_URL": redis_url}), (("tail", "--config", str(config)), {})):
            with tail(words, {**place.env, **more}) as process:
                assert process.stderr is not None
                said = ""
                while "vedette tail: " not in said:
                    line = process.stderr.readline()
                    assert line, said
                    said += line
                process.terminate()
                check_clean(tail=said + process.stderr.read())
    assert command_lines.found == set()


@contextmanager
def tail(words: tuple[str, ...], env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "vedette", *words]
    process = subprocess.Popen(command, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _nobody() -> tuple[Any, Any, Any]:
    """Servers that are only names: nothing connects to them."""

    class Nobody:
        port = 1

    return Nobody(), Nobody(), Nobody()
