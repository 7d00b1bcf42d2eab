"""What the demo runs, and that it leaves nothing behind however it is ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from pipeline.clock import SystemClock
from pipeline.demo import DEFAULT_MODEL, demo_config
from pipeline.embedded_redis import EmbeddedRedis
from stages.options import RedisSinkOptions
from tests.support.outlets import eventually
from vedette.cli.main import main
from vedette.errors import ConfigError, UsageError

REDIS = "redis://127.0.0.1:7777/0"


def made(folder: Path, source: str | None = None, *, config: Path | None = None, model: Path | None = None):
    return demo_config(source=source, config=config, model=model, redis_url=REDIS, folder=folder)


def test_without_a_word_it_films_streets_with_the_model_that_ships(tmp_path: Path) -> None:
    config = made(tmp_path)
    assert len(config.streams) == 3
    assert {stream.url.scheme for stream in config.streams} == {"synthetic"}
    assert Path(config.model.path) == DEFAULT_MODEL
    assert DEFAULT_MODEL.exists()
    (sink,) = config.sinks
    assert isinstance(sink, RedisSinkOptions)
    assert sink.url.reveal() == REDIS
    assert sink.spool.path.startswith(str(tmp_path))


@pytest.mark.parametrize("source", ["clips/a.mp4", "file:clips/a.mp4"])
def test_a_file_is_played_as_a_camera_would_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (stream,) = made(tmp_path, source).streams
    assert (stream.mode, stream.loop, stream.url.reveal()) == ("live", True, str(tmp_path / "clips/a.mp4"))


def test_a_camera_is_taken_as_it_is(tmp_path: Path) -> None:
    (stream,) = made(tmp_path, "rtsp://192.0.2.7/stream1").streams
    assert (stream.mode, stream.loop, stream.url.reveal()) == ("live", False, "rtsp://192.0.2.7/stream1")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("rstp://192.0.2.7/", "got 'rstp://192.0.2.7/'; did you mean 'rtsp'?"),
        ("synthetic://beach", "expected the scene to be 'street', got 'beach'"),
        ("http://", "expected a host"),
        ("", "streams[0].url"),
    ],
)
def test_a_source_that_is_none_is_refused_in_a_line(tmp_path: Path, source: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        made(tmp_path, source)
    assert says in raised.value.message


def test_a_password_in_the_command_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--source: rtsp://\*\*\*@cam/ holds a password"):
        made(tmp_path, "rtsp://user:hunter2@cam/")


def test_a_given_configuration_keeps_all_but_its_sinks_and_its_port(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "version: 1\nmodel: {path: m.onnx, score: 0.5}\nstreams: [{id: gate, url: 'rtsp://cam/'}]\n"
        "sinks: [{kind: jsonl, path: out.jsonl}]\nhttp: {listen: '127.0.0.1:8080'}\n"
    )
    config = made(tmp_path, config=path, model=tmp_path / "other.onnx")
    assert [stream.id for stream in config.streams] == ["gate"]
    assert (config.model.score, config.model.path) == (0.5, str(tmp_path / "other.onnx"))
    assert [type(sink) for sink in config.sinks] == [RedisSinkOptions]
    assert config.http is None


def working_in(folder: Path) -> list[str]:
    """The processes whose working directory lies in `folder`, as a redis-server's does."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # gone, or another user's
            if path.readlink().is_relative_to(folder):
                found.append(path.parent.name)
    return found


def test_sigterm_at_its_very_start_leaves_no_redis_and_no_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vedette", "demo", "--duration", "0", "--plain"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as demo:
        try:
            eventually(lambda: working_in(tmp_path), 60)
            demo.terminate()
            status = demo.wait(60)
        finally:
            demo.kill()
    assert status == 0
    assert working_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", [EmbeddedRedis.close, EmbeddedRedis.kill])
def test_the_embedded_redis_answers_and_is_gone_with_its_data(end: Callable[[EmbeddedRedis], None]) -> None:
    server = EmbeddedRedis(SystemClock())
    with server:
        (pid,) = working_in(server.folder)
        assert os.getsid(int(pid)) != os.getsid(0), "a Ctrl-C in the terminal would be its own, too"
        with redis.Redis.from_url(server.url) as client:
            assert client.set("key", "value")
        end(server)
        assert working_in(server.folder) == []
        assert not server.folder.exists()


def test_a_demo_that_nobody_reads_any_more_ends_in_order() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "vedette", "demo", "--plain", "--duration", "60"],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(writer)

    assert "Traceback" not in ended.stderr
    assert "The ledger balances." in ended.stderr
    assert ended.returncode == 141


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e300", "-1"])
def test_a_duration_that_no_clock_can_wait_is_one_line(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--duration", seconds]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("UsageError: --duration: expected seconds, 0 (for ever) to 10000000, got ")
