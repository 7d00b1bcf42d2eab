"""docs/messages.md: its programs run, its commands work, its tables are complete."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.published import announce, publish_event, publish_frames
from tests.support.redis_server import RedisServer, StartRedis
from vedette.client import plan
from vedette.messages import decode_message
from vedette.schema import messages_schema

PAGE = (Path(__file__).parents[2] / "docs" / "messages.md").read_text("utf-8")
RECORDED = Path(__file__).parents[1] / "data" / "messages" / "v1"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def server(start_redis: StartRedis) -> RedisServer:
    """A Redis with frames of two streams and the recorded events."""
    server = start_redis(persistence="none")
    events: list[Any] = [decode_message(path.read_bytes()) for path in RECORDED.glob("event-*.json")]
    with server.client() as client:
        announce(client, "gate", "lobby")
        publish_frames(client, 1, 2, 4)
        publish_frames(client, 1, 2, stream="lobby")
        for event in sorted(events, key=lambda event: event.n):
            publish_event(client, event)
    return server


EXPECTED = [
    "missed 1 frames",
    "gate: person 41 came in",
    "gate 4 1",
    "TrackEnded(",
    " False TrackStarted(",
]


@pytest.mark.parametrize(
    ("program", "expected"), list(zip(_blocks("python"), EXPECTED, strict=True)), ids=range(len(EXPECTED))
)
def test_each_program_runs_and_prints_what_it_should(
    program: str,
    expected: str,
    server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VEDETTE_REDIS_URL", server.url)
    monkeypatch.chdir(tmp_path)
    # The programs run for ever and begin now; here they begin with what is there and end when it has been read.
    monkeypatch.setattr(plan, "_milliseconds", lambda idle_s: 0)
    program = program.replace("redis://127.0.0.1:6379/0", server.url)
    program = re.sub(r'frames\(("[^)]*")\)', r'frames(\1, start="0")', program)

    exec(compile(program, "docs/messages.md", "exec"), {"__name__": "__main__"})

    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("command", re.findall(r"^(redis-cli .*)$", PAGE, flags=re.MULTILINE))
def test_each_redis_command_answers(command: str, server: RedisServer) -> None:
    words = shlex.split(command, comments=True)

    ended = subprocess.run(
        [words[0], "-p", str(server.port), "-e", *words[1:]], capture_output=True, text=True, timeout=30, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("block", _blocks("json"))
def test_each_example_is_a_valid_message(block: str) -> None:
    jsonschema.Draft202012Validator(messages_schema()).validate(json.loads(block))
    decode_message(block)


def test_every_field_kind_and_value_of_the_schema_is_on_the_page() -> None:
    named = set(re.findall(r"`\"?([a-z_]+)\"?`", PAGE))
    missing = set()
    for component in messages_schema()["$defs"].values():
        for name, field in component["properties"].items():
            values = [value for value in field.get("enum", []) if value is not None and value != "frame"]
            missing |= {word for word in (name, *values) if word not in named}

    assert not missing
