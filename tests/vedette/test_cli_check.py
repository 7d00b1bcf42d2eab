"""`vedette check`: everything in a configuration is tried for real, and what is wrong is said with what to do."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.media import make_clip
from tests.support.redis_server import RedisServer, StartRedis, free_port
from vedette.cli.main import main

SEED = Path(__file__).parents[2] / "engines/weights/vedette-n-seed_640x384.onnx"
PASSWORD = "hunter2-for-all"


class Site:
    """A folder with a configuration of one stream and one sink, and what `vedette check` says of it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def check(
        self, *, stream: str, sink: str = "{kind: jsonl, path: out.jsonl}", rest: str = ""
    ) -> tuple[int, list[Any]]:
        """Exit status and findings."""
        text = f"version: 1\nmodel: {{path: {SEED}}}\nstreams: [{stream}]\nsinks: [{sink}]\n{rest}\n"
        (self.folder / "site.yaml").write_text(text)
        status = main(["check", str(self.folder / "site.yaml"), "--json"])
        said = self._capsys.readouterr()
        assert PASSWORD not in said.out + said.err
        answer = json.loads(said.out)
        assert answer["ok"] == (status == 0)
        return status, answer["checks"]


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("PASSWORD", PASSWORD)
    make_clip(tmp_path / "clip.mp4", frames=5)
    return Site(tmp_path, capsys)


def of(findings: list[Any], part: str) -> dict[str, Any]:
    (finding,) = [finding for finding in findings if finding["part"] == part]
    assert isinstance(finding, dict)
    return finding


CLIP = "{id: clip, url: clip.mp4}"


def test_all_is_well(site: Site, redis_server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, findings = site.check(
        stream=CLIP + ', {id: street, url: "synthetic://street?people=1&size=128x96"}',
        sink=f'{{kind: jsonl, path: deep/out.jsonl}}, {{kind: redis, url: "{redis_server.url}"}}',
        rest='http: {listen: "127.0.0.1:0"}',
    )

    assert status == 0
    assert {finding["state"] for finding in findings} == {"ok"}
    assert [finding["name"] for finding in findings] == [
        SEED.name, "clip", "street", "jsonl", "redis", "spool", "127.0.0.1:0",
    ]  # fmt: skip
    assert findings[1]["detail"] == f"h264 320x240, 25 fps, {tmp_path}/clip.mp4"
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("redis")) == [
        "clip.mp4",
        "site.yaml",
    ], "nothing is left behind"
    assert main(["check", str(tmp_path / "site.yaml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:6] == ["ok", "stream", "clip", "h264", "320x240,", "25"]
    assert lines[-1] == f"{tmp_path}/site.yaml: all is well"


def test_a_wrong_configuration_as_json(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wrong.yaml").write_text("version: 2\n")

    assert main(["check", str(tmp_path / "wrong.yaml"), "--json"]) == 2

    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert answer["problems"][0] == f"{tmp_path}/wrong.yaml: version: expected 1, got 2"


@pytest.mark.parametrize(
    ("stream", "detail", "hint"),
    [
        ("{id: a, url: none.mp4}", "no such file (not_found), /", "check the path in the URL"),
        (
            "{id: a, url: site.yaml}",
            "no readable video file: ",
            "does a player show it? It may be cut off or empty, or no video at all",
        ),
        (
            '{id: a, url: "rtsp://user:${PASSWORD}@127.0.0.1:1/x"}',
            "Connection refused (refused), rtsp://***@127.0.0.1:1/x",
            "check the address and the port, and that the camera is on",
        ),
    ],
    ids=["no file", "no video", "refused"],
)
def test_a_stream_that_cannot_be_had(site: Site, stream: str, detail: str, hint: str | None) -> None:
    status, findings = site.check(stream=stream)

    assert status == 3
    finding = of(findings, "stream")
    assert (finding["state"], finding["hint"]) == ("wrong", hint)
    assert finding["detail"].startswith(detail)


def test_a_stream_that_never_answers_does_not_hold_up_the_check(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://user:${{PASSWORD}}@127.0.0.1:{silent.getsockname()[1]}/x"
        status, findings = site.check(
            stream=f'{{id: a, url: "{url}", open_timeout_s: 0.3, read_timeout_s: 0.3}}, {CLIP}'
        )

    assert status == 3
    silent_one, clip = [finding for finding in findings if finding["part"] == "stream"]
    assert "(timeout), rtsp://***@127.0.0.1" in silent_one["detail"]
    assert clip["state"] == "ok"


def test_redis_that_is_down(site: Site) -> None:
    port = free_port()
    status, findings = site.check(
        stream=CLIP, sink=f'{{kind: redis, url: "redis://:${{PASSWORD}}@127.0.0.1:{port}/0"}}'
    )

    assert status == 3
    assert findings[2]["detail"] == f"connection refused, redis://***@127.0.0.1:{port}/0"


def test_redis_that_refuses_the_password(site: Site, start_redis: StartRedis) -> None:
    server = start_redis(password="another")
    status, findings = site.check(
        stream=CLIP, sink=f'{{kind: redis, url: "redis://:${{PASSWORD}}@127.0.0.1:{server.port}/0"}}'
    )

    assert status == 3
    assert findings[2]["detail"].startswith("user or password refused, redis://***@")


def test_redis_that_wants_a_password(site: Site, start_redis: StartRedis) -> None:
    server = start_redis(password="another")
    status, findings = site.check(stream=CLIP, sink=f'{{kind: redis, url: "redis://127.0.0.1:{server.port}/0"}}')

    assert status == 3
    assert findings[2]["hint"] == "check user and password in the sink's url"


def test_redis_without_a_memory_is_a_warning(site: Site, start_redis: StartRedis) -> None:
    server = start_redis(persistence="none")
    status, findings = site.check(stream=CLIP, sink=f'{{kind: redis, url: "{server.url}"}}')

    assert status == 0
    assert findings[2]["state"] == "warning"
    assert findings[2]["hint"] == "events survive a restart of Redis only with `appendonly yes` there"


def test_a_stream_that_another_process_publishes_is_a_warning(site: Site, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("vedette:lease:clip", "somebody", px=60_000)

    status, findings = site.check(stream=CLIP, sink=f'{{kind: redis, url: "{redis_server.url}"}}')

    assert status == 0
    assert "leased at the moment: clip" in findings[2]["detail"]


def test_folders_that_are_files(site: Site, redis_server: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    (tmp_path / "folder").mkdir()
    status, findings = site.check(
        stream=CLIP,
        sink=f'{{kind: redis, url: "{redis_server.url}", spool: {{path: taken/spool}}}}, '
        "{kind: jsonl, path: taken/out.jsonl}, {kind: jsonl, path: folder}",
    )

    assert status == 3
    assert [finding["detail"] for finding in findings if finding["state"] == "wrong"] == [
        f"{tmp_path}/taken/spool: {tmp_path}/taken is not a folder",
        f"{tmp_path}/taken/out.jsonl: {tmp_path}/taken is not a folder",
        f"expected a file at {tmp_path}/folder, found a folder",
    ]


def test_a_port_that_is_taken(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, findings = site.check(stream=CLIP, rest=f'http: {{listen: "127.0.0.1:{taken.getsockname()[1]}"}}')

    assert status == 3
    assert of(findings, "http")["detail"] == "address already in use"


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        (str(SEED), "none.onnx", "none.onnx: no such model file"),
        (
            f"{SEED}",
            f"{SEED}, classes: [person, bus]",
            "model.classes[1]: expected one of the model's classes, got 'bus'",
        ),
    ],
    ids=["no file", "an unknown class"],
)
def test_a_model_that_does_not_fit(
    old: str, new: str, detail: str, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.check(stream=CLIP)
    path = tmp_path / "site.yaml"
    path.write_text(path.read_text().replace(old, new))

    assert main(["check", str(path)]) == 2

    assert detail in capsys.readouterr().out


@pytest.mark.parametrize("part", ["model", "spool", "jsonl"])
def test_a_path_that_cannot_be_looked_at_is_that_parts_trouble(site: Site, tmp_path: Path, part: str) -> None:
    long = "x" * 300
    if part == "model":
        path = tmp_path / "long.yaml"
        model, sink = f"{{path: {long}.onnx}}", "{kind: jsonl, path: a}"
        path.write_text(f"version: 1\nmodel: {model}\nstreams: [{CLIP}]\nsinks: [{sink}]\n")
        assert main(["check", str(path)]) == 2
        return
    sinks = {
        "spool": f'{{kind: redis, url: "redis://127.0.0.1:1", spool: {{path: {long}}}}}',
        "jsonl": f"{{kind: jsonl, path: {long}/out.jsonl}}",
    }
    status, findings = site.check(stream=CLIP, sink=sinks[part])

    assert status == 3
    (finding,) = [finding for finding in findings if finding["name"] == part]
    assert finding["state"] == "wrong"
    assert finding["detail"].endswith(": File name too long")
