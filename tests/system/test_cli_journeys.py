"""What people do with the command line, from end to end: make a clip, check, run, look at what came out, draw it.

Each command is a process of its own, as they start it, unless starting would be most of the work.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.support.media import make_clip
from tests.support.redis_server import RedisServer
from tests.support.shared import SHARED
from tests.support.system import SEED, SEED_MODEL, read_redis, redis_sink, run_vedette, write_config
from vedette.cli.main import main

pytestmark = pytest.mark.system

COMMANDS = [
    "run", "check", "tail", "annotate", "synth", "bench", "bench pipeline", "bench synthetic", "model",
    "model describe", "demo",
]  # fmt: skip


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `vedette synth` makes: three seconds of a street."""
    out = tmp_path_factory.mktemp("synth") / "street"
    words = ("--seconds", "3", "--fps", "10", "--people", "4", "--every", "10", "--json")
    done = run_vedette("synth", out, *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 30
    return out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does_and_how(command: str) -> None:
    done = run_vedette(*command.split(), "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: vedette {command}")
    assert len(done.stdout.splitlines()) > 8
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_from_a_rendered_street_to_what_subscribers_read(
    street: Path, tmp_path: Path, redis_server: RedisServer
) -> None:
    truth = json.loads((street / "annotations.json").read_text())
    assert len(truth["images"]) == len(list((street / "images").iterdir())) == 3
    config = write_config(
        tmp_path,
        model=SEED_MODEL,
        streams=[{"id": "street", "url": str(street / "video.mp4")}],
        sinks=[redis_sink(redis_server, tmp_path), {"kind": "jsonl", "path": "out.jsonl"}],
    )

    check = run_vedette("check", config)
    assert check.returncode == 0, check.stdout + check.stderr
    assert "h264 640x360, 10 fps" in check.stdout

    ran = run_vedette("run", config)
    assert ran.returncode == 0, ran.stderr
    assert "street         30 decoded = 30 published" in ran.stderr
    assert "The ledger balances." in ran.stderr
    assert ran.stdout == ""

    contents = read_redis(redis_server)
    frames = run_vedette("tail", "street", "--config", config, "--from", "start", "--count", "30")
    assert (frames.returncode, frames.stderr) == (0, "")
    assert [line.split()[2] for line in frames.stdout.splitlines()] == ["street"] * 30
    as_json = run_vedette("tail", "--redis", redis_server.url, "--from", "start", "--json", "--count", "30")
    lines = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert [line["message"] for line in lines] == [json.loads(entry.raw) for entry in contents.frames["street"]]
    count = str(len(contents.events))
    events = run_vedette("tail", "--events", "--config", config, "--from", "start", "--json", "--count", count)
    kinds = [json.loads(line)["message"]["kind"] for line in events.stdout.splitlines()]
    assert kinds == [json.loads(entry.raw)["kind"] for entry in contents.events]
    assert (kinds[0], kinds[-1]) == ("run_started", "stream_state")
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == contents.count


def test_model_describe_says_what_a_model_finds() -> None:
    done = run_vedette("model", "describe", SEED, "--json")

    assert done.returncode == 0, done.stderr
    text = json.dumps(json.loads(done.stdout))
    assert '"person", "vehicle", "bike"' in text
    assert "yolo_nas" in text


# ── annotate ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def pictures(video: Path) -> list[npt.NDArray[Any]]:
    """All frames of a video, BGR: decoded to the end, as a player would."""
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def drawn_px(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> int:
    """How many pixels differ by more than encoding makes them differ."""
    assert before.shape == after.shape
    return int(np.count_nonzero(np.abs(before.astype(int) - after).max(axis=2) > 90))


def check_annotated(clip: Path, out: Path, said: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert said.returncode == 0, said.stderr
    assert said.stderr == ""
    before, after = pictures(clip), pictures(out)
    assert said.stdout.startswith(f"{out}: {len(before)} frames, ")
    assert len(after) == len(before)
    with av.open(str(clip)) as one, av.open(str(out)) as other:
        assert one.duration is not None
        assert other.duration is not None
        assert abs(one.duration - other.duration) < 200_000
    drawn = [drawn_px(old, new) for old, new in zip(before, after, strict=True)]
    assert max(drawn) > 300
    cv2.imwrite(str(folder / "frame.png"), after[int(np.argmax(drawn))])  # to look at: pytest keeps the folder
    assert list(out.parent.glob(f".{out.name}*")) == []


def test_annotate_draws_into_a_rendered_video(street: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "street.mp4"

    said = run_vedette("annotate", street / "video.mp4", out, "--score", "0.3")

    check_annotated(street / "video.mp4", out, said, tmp_path)


@pytest.mark.skipif(SHARED is None, reason="the real clips and teachers are not on this machine")
def test_annotate_draws_into_a_real_video(tmp_path: Path) -> None:
    assert SHARED is not None
    clip = SHARED / "clips" / "intel_store-aisle-detection_preview.mp4"
    out = tmp_path / "aisle.mkv"
    model = SHARED / "teachers" / "yolox_nano_416.onnx"

    said = run_vedette("annotate", clip, out, "--model", model, "--score", "0.4")

    check_annotated(clip, out, said, tmp_path)
    assert "3 tracks" in said.stdout


def test_annotate_films_the_synthetic_camera_without_a_file_between(tmp_path: Path) -> None:
    out = tmp_path / "night.mp4"

    status = main(["annotate", "synthetic://street?people=3&seconds=1&fps=10&time=night&size=320x180", str(out)])

    assert status == 0
    assert [picture.shape for picture in pictures(out)] == [(180, 320, 3)] * 10


def test_what_cannot_be_annotated_is_said_in_a_line_and_leaves_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(b"no video " * 1000)
    clip = make_clip(tmp_path / "clip.mp4", frames=5)
    out = tmp_path / "out.mp4"
    before = sorted(tmp_path.iterdir())
    cases: list[tuple[tuple[Any, ...], int, str]] = [
        ((garbage, out), 3, f"SourceError: {garbage}: no readable video file"),
        ((tmp_path / "none.mp4", out), 3, f"SourceError: {tmp_path}/none.mp4: no such file"),
        ((tmp_path, out), 3, f"SourceError: {tmp_path}: expected a file, got a folder"),
        (("synthetic://beach?seconds=1", out), 3, "SourceError: synthetic://: expected the scene to be 'street'"),
        (("synthetic://street", out), 2, "UsageError: IN: expected something that ends, got synthetic://street"),
        (("rtsp://127.0.0.1/x", out), 2, "UsageError: IN: expected a file or synthetic://"),
        ((clip, tmp_path / "out.avi"), 2, "UsageError: OUT: expected a name that ends in .mp4"),
        ((clip, clip), 2, f"UsageError: OUT: {clip} is IN"),
        ((f"file://{clip}", clip), 2, f"UsageError: OUT: {clip} is IN"),
        ((clip, "/proc/out.mp4"), 2, "UsageError: OUT: /proc/out.mp4 cannot be written"),
        ((clip, out, "--score", "2"), 2, "UsageError: --score: expected a number from 0 to 1, got 2"),
        ((clip, out, "--model", garbage), 2, f"ModelError: {garbage}: expected an ONNX file"),
    ]
    for words, status, line in cases:
        ended = main(["annotate", *map(str, words)])
        said, errors = capfd.readouterr()
        first, *rest = errors.splitlines()
        assert (ended, said) == (status, ""), errors
        assert first.startswith(line), first
        assert all(hint.startswith("  hint: ") for hint in rest), errors
        assert len(rest) <= 1
    assert sorted(tmp_path.iterdir()) == before
