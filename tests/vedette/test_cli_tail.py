"""`vedette tail`: lines for people, JSON lines, where Redis is, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.published import announce, event, publish_event, publish_events, publish_frames
from tests.support.redis_server import RedisServer, StartRedis, free_port
from vedette.cli import main as cli
from vedette.cli.tail_lines import human_line, objects_line
from vedette.client import Gap, Received
from vedette.client.types import AnyEvent
from vedette.messages import FrameMessage, TrackedObject, decode_message

RECORDED = Path(__file__).parents[1] / "data" / "messages" / "v1"
CONFIG = """\
version: 1
model: {{path: model.onnx}}
streams: [{{id: gate, url: "rtsp://127.0.0.1/gate"}}]
sinks:
  - {{kind: jsonl, path: out.jsonl}}
  - {{kind: redis, url: "{url}", prefix: {prefix}}}
"""


@pytest.fixture(autouse=True)
def _no_redis_in_the_environment_and_utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("VEDETTE_REDIS_URL", raising=False)
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(directory=Path(tmp_path_factory.mktemp("redis")), persistence="none").start()
    yield server
    server.kill()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        client.flushall()
        yield client


def _tail(*words: str) -> int:
    return cli.main(["tail", *words])


def _recorded(name: str) -> Received[AnyEvent] | Received[FrameMessage]:
    raw = (RECORDED / f"{name}.json").read_bytes()
    message = decode_message(raw)
    return Received(id="1-0", key="k", stream=message.stream, message=message, raw=raw)  # type: ignore[type-var] # either


def test_frames_are_lines_for_people(
    server: RedisServer, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_frames(client, 1, 2, 5)

    assert _tail("--redis", server.url, "gate", "--from", "start", "--count", "3") == 0

    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "2026-11-21 18:02:07.040  gate                   1  1 person #12",
        "2026-11-21 18:02:07.080  gate                   2  1 person #12",
        "                         gate            gap: 2 frames missing, 3 to 4 (lost)",
        "2026-11-21 18:02:07.200  gate                   5  1 person #12",
    ]
    assert said.err == "vedette tail: there is no stream 'gate' yet; waiting for it (there are: none)\n"


EVENTS = {
    "event-run-started": "run 5f0c9e1a7b3d4c28 started: yolo_nas_n_640x384, Vedette 0.1.0",
    "event-stream-state-connecting": "connecting",
    "event-stream-state-waiting": "stalled → waiting (stall), picture frozen: no packet for 4.0 s (limit 4.0 s), "
    "waiting 1.7 s before attempt 4",
    "event-track-started": "person #41 appeared, score 0.77, at 1802,377,1877,603",
    "event-track-ended": "bicycle #39 gone (lost), seen for 6.3 s, last at 1790,402,1920,578",
    "event-gap-frames": "25 frames were not delivered (7301 to 7325): redis_away",
    "event-gap-events": "3 events were not delivered: spool_full",
}


@pytest.mark.parametrize(("name", "expected"), EVENTS.items())
def test_every_kind_of_event_is_a_sentence(name: str, expected: str) -> None:
    line = human_line(_recorded(name))

    assert line[41:] == expected
    assert line[25:29] == "gate"


def test_a_frame_says_what_is_in_it_by_class_and_in_what_state() -> None:
    assert human_line(_recorded("frame-two-people-and-a-car"))[41:] == "7291  2 person #41 #44?, 1 car #12~".rjust(39)
    assert human_line(_recorded("frame-without-objects"))[41:].strip() == "1  -"


def test_a_crowd_is_counted_and_its_ids_cut_short() -> None:
    crowd = tuple(
        TrackedObject(track=n, class_="person", score=0.5, box=(0, 0, 1, 1), state="confirmed", age_ms=1)
        for n in range(20)
    )

    assert objects_line(crowd) == "20 person #0 #1 #2 #3 #4 #5 #6 #7 …"


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (Gap(key="k", stream="gate", run="r", first=3, last=4, count=2), "gap: 2 frames missing, 3 to 4 (lost)"),
        (Gap(key="k", stream="gate", reason="reset"), "gap: frames may be missing (reset)"),
        (Gap(key="k", stream="", producer="p", first=3, last=3, count=1), "gap: 1 events missing, 3 to 3 (lost)"),
        (Gap(key="k", stream="", count=2, reason="trimmed"), "gap: 2 events missing (trimmed)"),
    ],
)
def test_gaps_say_what_is_known_of_them(gap: Gap, expected: str) -> None:
    assert human_line(gap)[41:] == expected


def test_times_that_no_calendar_has_and_texts_that_a_terminal_would_obey_are_shown_harmlessly() -> None:
    raw = (RECORDED / "event-stream-state-waiting.json").read_text("utf-8")
    raw = raw.replace("no packet", "\\u001b[2J\\n no packet").replace("1795284009114000000", "9" * 25)
    message = decode_message(raw)
    item: Any = Received(id="1-0", key="k", stream="gate", message=message)  # type: ignore[type-var] # any event

    line = human_line(item)

    assert line.isprintable()
    assert line.startswith("9" * 25 + " ns")


def test_unknown_kinds_are_shown_as_they_came() -> None:
    raw = b'{"type":"event","kind":"line_crossed","producer":"p","n":1,"stream":"gate","line":"a"}'
    item: Any = Received(id="1-0", key="k", stream="gate", message=decode_message(raw), raw=raw)  # type: ignore[type-var] # any event

    assert human_line(item)[41:] == f"line_crossed: unknown to this version, {raw.decode()}"


def test_json_lines_hold_the_message_as_it_was_published(
    server: RedisServer, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    pretty = (RECORDED / "event-gap-frames.json").read_bytes()
    publish_event(client, event(325, "6e1d4b7a92f34c05"))
    entry_id = client.xadd("vedette:events", {"v": "1", "m": pretty})

    assert _tail("--redis", server.url, "--events", "--json", "--from", "start", "--count", "2") == 0

    first, gap, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["message"]["kind"] == "track_started"
    assert (gap["gap"]["first"], gap["gap"]["count"], gap["gap"]["producer"]) == (326, 1, "6e1d4b7a92f34c05")
    assert last == {"id": entry_id, "message": json.loads(pretty)}


def test_events_of_named_streams_only(
    server: RedisServer, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    announce(client, "gate", "lobby")
    for n, stream in enumerate(["gate", "lobby", "gate", "lobby"], start=1):
        publish_event(client, event(n, stream=stream))

    assert _tail("lobby", "--redis", server.url, "--events", "--from", "start", "--count", "2") == 0

    said = capsys.readouterr()
    assert [line.split()[2] for line in said.out.splitlines()] == ["lobby", "lobby"]
    assert said.err == ""


def test_an_id_goes_on_after_it(server: RedisServer, client: redis.Redis, capsys: pytest.CaptureFixture[str]) -> None:
    publish_events(client, 1, 2, 3)
    first = client.xrange("vedette:events", count=1)[0][0]

    assert _tail("--redis", server.url, "--events", "--from", first, "--count", "2", "--json") == 0

    assert [json.loads(line)["message"]["n"] for line in capsys.readouterr().out.splitlines()] == [2, 3]


def test_the_first_redis_sink_of_a_configuration_says_where_redis_is_and_under_which_prefix(
    server: RedisServer, client: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "site.yaml"
    config.write_text(CONFIG.format(url=server.url, prefix="site-2"))
    client.xadd("site-2:events", {"v": "1", "m": (RECORDED / "event-track-ended.json").read_bytes()})
    publish_events(client, 1)

    assert _tail("--config", str(config), "--events", "--from", "start", "--count", "1") == 0
    assert "bicycle #39 gone" in capsys.readouterr().out

    assert _tail("--config", str(config), "--prefix", "vedette", "--events", "--from", "start", "--count", "1") == 0
    assert "car #1 appeared" in capsys.readouterr().out


def test_a_configuration_without_redis_is_an_error_of_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "site.yaml"
    config.write_text("\n".join(CONFIG.format(url="x", prefix="x").splitlines()[:-1]))

    assert _tail("--config", str(config)) == 2
    assert capsys.readouterr().err == f"ConfigError: {config}: sinks: expected one of kind redis, got none\n"


def test_the_environment_may_hold_a_password_and_it_is_not_shown(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start_redis(password="hunter2", persistence="none")
    with server.client() as client:
        publish_events(client, 1)
    monkeypatch.setenv("VEDETTE_REDIS_URL", server.url)

    assert _tail("--events", "--from", "start", "--count", "1") == 0
    monkeypatch.setenv("VEDETTE_REDIS_URL", server.url.replace("hunter2", "hunter3"))
    assert _tail("--events", "--from", "start", "--count", "1") == 2

    said = capsys.readouterr()
    assert "car #1 appeared" in said.out
    assert "SubscribeError: Redis at redis://***@127.0.0.1" in said.err
    assert "hunter" not in said.out + said.err


USAGE = [
    (["--redis", "redis://:hunter2@127.0.0.1/0"], "--redis: expected a URL without user and password"),
    (["--redis", "redis://127.0.0.1/0?password=hunter2"], "--redis: expected a URL without user and password"),
    (["--redis=redis://hunter2@127.0.0.1/0"], "--redis: expected a URL without user and password"),
    (["redis://:hunter2@127.0.0.1/0"], "STREAM: expected the id of a stream"),
    (["--redis", "127.0.0.1"], "expected a URL that begins with redis://"),
    (["--redis", "http://127.0.0.1"], "expected a URL that begins with redis://"),
    (["--redis", "redis://127.0.0.1:port"], "the Redis URL cannot be parsed"),
    (["--redis", "redis://127.0.0.1", "--from", "yesterday"], "--from: expected now, start"),
    (["--redis", "redis://127.0.0.1", "--from", "9" * 5000], "--from: expected now, start"),
    (["--redis", "redis://127.0.0.1", "--from", "resume"], "--from: expected now, start"),
    (["--redis", "redis://127.0.0.1", "--prefix", ""], "prefix: expected a name"),
    (["--redis", "redis://127.0.0.1", "--count", "0"], "--count: expected a number > 0, got '0'"),
    (["--redis", "redis://127.0.0.1", "--count", "many"], "--count: expected a number > 0, got 'many'"),
    (["--redis", "redis://127.0.0.1", "--config", "x.yaml"], "not allowed with argument"),
    ([], "which Redis?"),
    (["--config", "/does/not/exist.yaml"], "/does/not/exist.yaml"),
]


@pytest.mark.parametrize(("words", "expected"), USAGE, ids=[" ".join(case[0])[:80] for case in USAGE])
def test_a_wrong_command_line_is_said_in_a_line_and_shows_no_password(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _tail(*words) == 2

    said = capsys.readouterr()
    assert expected in said.err
    assert said.out == ""
    assert "hunter" not in said.err
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) <= 2


def _start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vedette.cli.main", "tail", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )


def test_an_interrupt_ends_it_quietly(server: RedisServer, client: redis.Redis) -> None:
    publish_events(client, 1)
    process = _start("--redis", server.url, "--events", "--from", "start")
    assert process.stdout is not None
    assert "car #1 appeared" in process.stdout.readline()

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (130, "", "")


def test_a_closed_pipe_ends_it_quietly(server: RedisServer, client: redis.Redis) -> None:
    publish_events(client, 1)
    process = _start("--redis", server.url, "--events", "--from", "start")
    assert process.stdout is not None
    assert "car #1 appeared" in process.stdout.readline()

    process.stdout.close()
    publish_events(client, 2)
    process.wait(timeout=60)

    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_a_redis_that_is_away_is_said_once_and_waited_for(tmp_path: Path) -> None:
    server = RedisServer(directory=tmp_path / "redis", persistence="none", port=free_port())
    process = _start("--redis", server.url, "--events", "--from", "start", "--count", "1")
    assert process.stderr is not None
    said = process.stderr.readline()
    server.start()
    try:
        with server.client() as client:
            publish_events(client, 1)
        out, err = process.communicate(timeout=60)
    finally:
        server.kill()

    assert said.startswith(f"vedette tail: Redis at {server.url} cannot be reached: Error 111 ")
    assert said.endswith("; trying again\n")
    assert "car #1 appeared" in out
    assert err == f"vedette tail: Redis at {server.url} is back\n"
    assert process.returncode == 0
