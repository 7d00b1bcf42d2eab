"""Reading a configuration that is right: the one of the documentation, what is filled in, and where secrets go."""

from __future__ import annotations

import datetime
import logging
from pathlib import Path

import msgspec
import pytest

from engines.weights import find_model
from pipeline.config import Config
from pipeline.config_file import load_config, make_config, resolved, stream_fingerprint
from pipeline.config_yaml import MAX_BYTES
from stages.options import JsonlSinkOptions, RedisSinkOptions
from tests.support.bad_input import ENVIRON, GOOD
from vedette.errors import ConfigError

# As the project's first issue states it, to the letter.
STATED = """\
version: 1
model: {path: models/yolox_nano_416.onnx, backend: auto, score: 0.35, nms_iou: 0.65, classes: [person, car, bus, truck, bicycle, motorcycle]}
batch: {max: 8, wait_ms: 0}
track: {kind: norfair, memory_s: 1.0, confirm_s: 0.2}
streams:
  - {id: gate, url: "rtsp://user:${GATE_PASSWORD}@127.0.0.1:8554/gate", fps: 10, transport: tcp, open_timeout_s: 4, read_timeout_s: 4}
  - {id: lobby, url: file:clips/lobby.mp4, mode: live, loop: true}
  - {id: archive, url: clips/yesterday.mkv, mode: file, start: 2026-11-20T18:00:00Z}
sinks:
  - {kind: redis, url: "redis://127.0.0.1:6379/0", prefix: vedette, maxlen: 10000, spool: {path: out/spool, max_mb: 64, retain_s: 10}}
  - {kind: jsonl, path: out/detections.jsonl}
http: {listen: "127.0.0.1:8080"}
"""  # noqa: E501 - to the letter


def load(folder: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    path = folder / "site.yaml"
    path.write_text(text)
    return load_config(path, ENVIRON if environ is None else environ)


def problems(folder: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, environ)
    prefix = f"{folder / 'site.yaml'}: "
    assert all(problem.startswith(prefix) for problem in caught.value.problems)
    return [problem.removeprefix(prefix) for problem in caught.value.problems]


def test_the_stated_configuration_loads_as_it_stands(tmp_path: Path) -> None:
    config = load(tmp_path, STATED, {"GATE_PASSWORD": "s3cret"})

    gate, lobby, archive = config.streams
    assert gate.url.reveal() == "rtsp://user:s3cret@127.0.0.1:8554/gate"
    assert (gate.fps, gate.mode, gate.open_timeout_s) == (10.0, "live", 4.0)
    assert (lobby.url.reveal(), lobby.mode, lobby.loop) == (str(tmp_path / "clips/lobby.mp4"), "live", True)
    assert (archive.url.reveal(), archive.mode) == (str(tmp_path / "clips/yesterday.mkv"), "file")
    assert archive.start == datetime.datetime(2026, 11, 20, 18, tzinfo=datetime.UTC)
    redis, jsonl = config.sinks
    assert isinstance(redis, RedisSinkOptions)
    assert isinstance(jsonl, JsonlSinkOptions)
    assert (redis.spool.path, redis.spool.max_mb) == (str(tmp_path / "out/spool"), 64.0)
    assert jsonl.path == str(tmp_path / "out/detections.jsonl")
    assert config.model.path == str(tmp_path / "models/yolox_nano_416.onnx")
    assert config.model.classes == ("person", "car", "bus", "truck", "bicycle", "motorcycle")


def test_relative_paths_are_relative_to_the_file_wherever_we_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "site.yaml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)

    config = load_config("etc/site.yaml", ENVIRON)

    assert config.model.path == str(tmp_path / "etc/model.onnx")


def test_a_model_that_ships_is_known_by_its_name(tmp_path: Path) -> None:
    by_name = load(tmp_path, GOOD.replace("path: model.onnx", "name: vedette-n"))

    assert Path(by_name.model.path) == find_model("vedette-n")
    by_path = load(tmp_path, GOOD.replace("model.onnx", by_name.model.path))
    assert by_path == by_name


def test_a_model_has_a_name_or_a_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model: expected the name of a model that ships, such as vedette-n"):
        load(tmp_path, GOOD.replace("path: model.onnx, ", ""))


def test_a_file_without_a_mode_is_lossless_and_a_camera_is_live(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD.replace("mode: file, start: 2026-11-20T18:00:00Z", "fps: 2"))

    assert [stream.mode for stream in config.streams] == ["live", "live", "file"]
    assert config.streams[2].is_file


def test_a_synthetic_camera_with_an_end_may_be_read_like_a_file(tmp_path: Path) -> None:
    url = "synthetic://street?people=5&seconds=8"
    text = GOOD.replace("clips/yesterday.mkv", f'"{url}"')

    archive = load(tmp_path, text).streams[2]

    assert (archive.mode, archive.is_file, archive.url.reveal()) == ("file", True, url)
    assert archive.start is not None
    assert load(tmp_path, text.replace(" mode: file, start: 2026-11-20T18:00:00Z", "")).streams[2].mode == "live"


def test_a_file_url_of_three_slashes_is_percent_decoded(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD.replace("file:clips/lobby.mp4", "file:///srv/a%20clip.mp4"))

    assert config.streams[1].url.reveal() == "/srv/a clip.mp4"


@pytest.mark.parametrize(
    ("password", "in_url"),
    [
        ("plain", "plain"),
        ("p@ss/w#rd?:x y", "p%40ss%2Fw%23rd%3F%3Ax%20y"),
        ("p%40ss", "p%40ss"),
        ("100%", "100%25"),
        ("p@ss%2Fword", "p%40ss%252Fword"),  # the @ shows that it is not percent-encoded
        ("[1]", "%5B1%5D"),
        ("pässword", "p%C3%A4ssword"),
        ("yes", "yes"),
        ("x: {y: 1}", "x%3A%20%7By%3A%201%7D"),
    ],
)
def test_a_password_may_hold_any_character(tmp_path: Path, password: str, in_url: str) -> None:
    config = load(tmp_path, GOOD, {"GATE_PASSWORD": password})

    assert config.streams[0].url.reveal() == f"rtsp://user:{in_url}@cam.example:8554/gate"


def test_a_whole_login_or_url_may_come_from_the_environment(tmp_path: Path) -> None:
    text = GOOD.replace("user:${GATE_PASSWORD}@", "${LOGIN}@").replace("file:clips/lobby.mp4", '"${CLIP}"')

    config = load(tmp_path, text, {"LOGIN": "me:p@ss", "CLIP": "/srv/clips/a#b.mp4"})

    assert config.streams[0].url.reveal() == "rtsp://me:p%40ss@cam.example:8554/gate"
    assert config.streams[1].url.reveal() == "/srv/clips/a#b.mp4"


def test_what_the_environment_gives_is_never_read_as_yaml_or_expanded_again(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD.replace("path: model.onnx", 'path: "${MODEL}"'), ENVIRON | {"MODEL": "${HOME}/{a: 1}"})

    assert config.model.path == str(tmp_path / "${HOME}/{a: 1}")


def test_a_doubled_dollar_is_the_character_itself(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD.replace("path: model.onnx", 'path: "$${HOME}$5.onnx"'))

    assert config.model.path == str(tmp_path / "${HOME}$5.onnx")


def test_an_anchor_shares_settings_between_streams(tmp_path: Path) -> None:
    text = GOOD.replace("- {id: lobby,", "- &lobby {id: lobby,").replace(
        "  - {id: archive, url: clips/yesterday.mkv, mode: file, start: 2026-11-20T18:00:00Z}",
        "  - {<<: *lobby, id: hall, fps: 2}",
    )

    lobby, hall = load(tmp_path, text).streams[1:]

    assert hall == msgspec.structs.replace(lobby, id="hall", fps=2.0)


def test_aliases_of_aliases_cost_nothing(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))

    assert problems(tmp_path, bomb) == ["more than 100000 values, aliases counted as often as they are used"]


def test_depth_costs_nothing(tmp_path: Path) -> None:
    assert problems(tmp_path, "[" * 20000) == ["nested too deeply to be a configuration"]


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    assert problems(tmp_path, "#" * (MAX_BYTES + 1)) == ["larger than 1 MiB, which no configuration is"]


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(b"version: 1 # caf\xe9\n")

    with pytest.raises(ConfigError, match=r"site\.yaml: expected UTF-8 text, got byte 0xe9 at offset 16"):
        load_config(path, {})


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        load_config(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="expected a file, got a directory"):
        load_config(tmp_path, {})


def test_all_problems_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = GOOD.replace("version: 1", "version: 2").replace("fps: 10", "fps: x").replace("127.0.0.1:8080", "nowhere")

    assert [problem.partition(": ")[0] for problem in problems(tmp_path, text)] == [
        "version",
        "streams[0].fps",
        "http.listen",
    ]


def test_no_error_shows_what_the_environment_holds(tmp_path: Path) -> None:
    text = GOOD.replace("rtsp://user", "rtps://user").replace("path: model.onnx", 'path: "${URL}"')
    text = text.replace("id: lobby", 'id: "${ID}"').replace('"127.0.0.1:8080"', '"${LISTEN}"')
    text = text.replace("file:clips/lobby.mp4", '"synthetic://street?seed=${SEED}"')
    secret = {name: f"https://hidden-{name.lower()}" for name in ("GATE_PASSWORD", "URL", "ID", "LISTEN", "SEED")}

    said = problems(tmp_path, text, secret)

    assert len(said) == 5
    assert not [line for line in said if "hidden" in line]


def test_a_password_in_the_file_is_allowed_with_a_masked_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load(tmp_path, GOOD.replace("${GATE_PASSWORD}", "hunter2"))

    assert "streams[0].url: a password in clear, rtsp://***@cam.example:8554/gate" in caplog.text
    assert "hunter2" not in caplog.text


def test_the_resolved_configuration_is_whole_and_masked(tmp_path: Path) -> None:
    text = GOOD.replace('"127.0.0.1:8080"', '"127.0.0.1:8080", token: "${TOKEN}"')

    shown = resolved(load(tmp_path, text, ENVIRON | {"TOKEN": "open-sesame"}))

    assert "url: rtsp://***@cam.example:8554/gate" in shown
    assert "frozen_s: 60.0" in shown
    assert "token: '***'" in shown
    assert "open-sesame" not in shown
    assert ENVIRON["GATE_PASSWORD"] not in shown


def test_a_fingerprint_changes_with_what_decides_the_results_and_with_nothing_else(tmp_path: Path) -> None:
    def fingerprint(*changes: tuple[str, str], environ: dict[str, str] | None = None) -> str:
        text = GOOD
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        config = load(tmp_path, text, environ)
        return stream_fingerprint(config, config.streams[2])

    first = fingerprint()
    assert len(first) == 64
    assert first == fingerprint(
        ("clips/yesterday.mkv", "/elsewhere/yesterday.mkv"), ("path: model.onnx", "path: m.onnx")
    )
    assert first == fingerprint(("fps: 10", "fps: 5"), ("max_mb: 64", "max_mb: 32"))
    assert first == fingerprint(environ={"GATE_PASSWORD": "another"})
    assert first != fingerprint(("score: 0.35", "score: 0.36"))
    assert first != fingerprint(("memory_s: 1.0", "memory_s: 2.0"))
    assert first != fingerprint(("T18:00:00Z", "T19:00:00Z"))
    assert first != fingerprint(("mode: file", "mode: file, fps: 5"))


def test_a_configuration_can_be_made_of_values(tmp_path: Path) -> None:
    values = {
        "version": 1,
        "model": {"path": "m.onnx"},
        "streams": [{"id": "a", "url": "a.mp4"}],
        "sinks": [{"kind": "jsonl", "path": "o"}],
    }

    assert make_config(values, name="demo", base=tmp_path).streams[0].mode == "file"
    values["streams"] = [{"id": "a", "url": "rtps://a"}]
    with pytest.raises(ConfigError, match=r"demo: streams\[0\]\.url: expected a path or rtsp://"):
        make_config(values, name="demo", base=tmp_path)
