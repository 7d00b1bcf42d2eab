"""Damaged H.264, H.265, MJPEG and images at our opener and decoder, in a child process.

The child answers with pictures, or with an error of ours in one line. A native crash, an exception of any other kind,
or no answer for a minute is a finding; the input that did it stays in out/fuzz, to be run again with

    echo '{"path": "out/fuzz/…", "mode": "file"}' | python -m tests.fuzz.decode_child
"""

from __future__ import annotations

import contextlib
import json
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.doors import corpus
from tests.support.media import make_clip, painted_frames
from tests.support.system import ROOT

WATCHDOG_S = 60.0
SIZE_WH = (96, 64)
KEPT = ROOT / "out" / "fuzz"


class Child:
    """`decode_child`, started again after a crash, so that Hypothesis can go on and make the input smaller."""

    def __init__(self, folder: Path, kept: Path = KEPT) -> None:
        self._folder = folder
        self._kept = kept
        self._process: subprocess.Popen[str] | None = None

    def tell(self, path: Path, mode: str) -> dict[str, Any]:
        if self._process is None:
            self._stderr = (self._folder / "stderr").open("w")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.decode_child"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"path": str(path), "mode": mode}) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], WATCHDOG_S)
        line = process.stdout.readline() if ready else ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        kept = self._kept / f"{mode}-{path.name}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, kept)
        code = self.close()
        said = (self._folder / "stderr").read_text(errors="replace")[-3000:]
        what = f"ended with {code}" if ready else f"gave no answer within {WATCHDOG_S:.0f} s"
        raise AssertionError(f"the decoder {what} on {kept}:\n{said}")

    def close(self) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        self._stderr.close()
        return process.returncode


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    running = Child(tmp_path_factory.mktemp("child"))
    yield running
    assert running.close() == 0


CLIPS: dict[str, dict[str, Any]] = {
    "clip.h264": {"codec": "libx264"},
    "clip.mp4": {"codec": "libx264", "b_frames": 2},
    "clip.ts": {"codec": "libx264"},
    "clip.hevc": {"codec": "libx265"},
    "clip.mkv": {"codec": "libx265"},
    "clip.mjpeg": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "clip.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
}
STILLS = ("still.jpg", "still.png")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What is damaged, by name; a few kilobytes each."""
    return sound_inputs(tmp_path_factory.mktemp("sound"))


def sound_inputs(folder: Path) -> dict[str, bytes]:
    """The clips and images, by name; they are left in `folder`."""
    for name, how in CLIPS.items():
        make_clip(folder / name, frames=8, size_wh=SIZE_WH, gop=4, **how)
    (frame,) = painted_frames(1, SIZE_WH, pixels="rgb24")
    for name in STILLS:
        frame.to_image().save(folder / name)
    return {name: (folder / name).read_bytes() for name in (*CLIPS, *STILLS)}


_AT = st.floats(0.0, 1.0, exclude_max=True)
_DAMAGE = st.one_of(
    st.tuples(st.just("flip"), _AT, st.integers(0, 7)),
    st.tuples(st.just("set"), _AT, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("insert"), _AT, st.binary(min_size=1, max_size=64)),
    st.tuples(st.just("drop"), _AT, st.integers(1, 2000)),
    st.tuples(st.just("repeat"), _AT, st.integers(1, 2000)),
    st.tuples(st.just("zeros"), _AT, st.integers(1, 200)),
    st.tuples(st.just("cut"), _AT, st.just(0)),
    # The heads are at the front, and what they say of sizes is the most dangerous.
    st.tuples(st.just("set"), _AT.map(lambda at: at / 40), st.binary(min_size=1, max_size=4)),
)


def damaged(data: bytes, damage: list[tuple[str, float, Any]]) -> bytes:
    for kind, where, what in damage:
        at = int(where * len(data))
        match kind:
            case "flip" if data:
                data = data[:at] + bytes([data[at] ^ 1 << what]) + data[at + 1 :]
            case "set":
                data = data[:at] + what + data[at + len(what) :]
            case "insert":
                data = data[:at] + what + data[at:]
            case "drop":
                data = data[:at] + data[at + what :]
            case "repeat":
                data = data[: at + what] + data[at:]
            case "zeros":
                data = data[:at] + bytes(what) + data[at + what :]
            case "cut":
                data = data[:at]
    return data


@pytest.mark.parametrize("name", CLIPS)
def test_a_sound_clip_gives_its_pictures(child: Child, inputs: dict[str, bytes], tmp_path: Path, name: str) -> None:
    """Or what follows would prove nothing."""
    (tmp_path / name).write_bytes(inputs[name])

    for mode in ("file", "live"):
        answer = child.tell(tmp_path / name, mode)
        assert answer["pictures"] == 8, answer
        assert "error" not in answer


@pytest.mark.parametrize("mode", ["file", "live"])
@pytest.mark.parametrize("path", corpus("bitstream"), ids=lambda path: path.name)
def test_what_was_kept_gives_pictures_or_an_error_of_ours(child: Child, path: Path, mode: str) -> None:
    """decoder-cannot-open.avi: with PyAV 19 a traceback, or a segmentation fault, at the second packet."""
    assert "decoder (rawvideo) cannot be opened" in child.tell(path, mode)["error"]


@pytest.mark.parametrize("name", CLIPS)
def test_a_damaged_clip_gives_pictures_or_an_error_of_ours(
    child: Child, inputs: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    seen = {"pictures": 0, "errors": 0}

    @settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(_DAMAGE, min_size=1, max_size=6), st.sampled_from(["file", "live"]))
    def feed(damage: list[tuple[str, float, Any]], mode: str) -> None:
        path = tmp_path / name
        path.write_bytes(damaged(inputs[name], damage))
        answer = child.tell(path, mode)
        seen["pictures"] += answer["pictures"] > 0
        seen["errors"] += "error" in answer

    feed()
    assert seen["pictures"] > 0  # the damage reaches the decoder


@pytest.mark.parametrize("name", STILLS)
def test_a_damaged_image_gives_a_picture_or_an_error_of_ours(
    child: Child, inputs: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(inputs[name])
    assert child.tell(path, "still") == {"pictures": 1}

    @settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(_DAMAGE, min_size=1, max_size=4))
    def feed(damage: list[tuple[str, float, Any]]) -> None:
        path.write_bytes(damaged(inputs[name], damage))
        child.tell(path, "still")

    feed()


def test_a_crash_of_the_child_is_a_finding_and_not_the_end_of_the_tests(tmp_path: Path) -> None:
    """Held against a child that dies: otherwise nobody would know that a crash is seen at all."""
    path = tmp_path / "any"
    path.write_bytes(b"")
    child = Child(tmp_path, kept=tmp_path)

    assert child.tell(path, "file")["pictures"] == 0
    with pytest.raises(AssertionError, match=r"the decoder ended with -6 on .*crash-any:\n.*Aborted"):
        child.tell(path, "crash")
    assert child.tell(path, "file")["pictures"] == 0
    assert child.close() == 0
