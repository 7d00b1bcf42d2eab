"""`vedette demo`, as `make demo` runs it: in a terminal and without one, with rendered cameras, a file, another model.

Nothing may be left behind: no redis-server, no folder.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.media import make_clip
from tests.support.shared import SHARED
from tests.support.system import run_vedette, write_config

pytestmark = pytest.mark.system

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ENDS = "published|rate-limited|superseded|failed|abandoned|in flight"
_ROW = re.compile(
    rf"(?P<name>\S+) +(?P<decoded>\d+) decoded = "
    rf"(?P<ends>\d+ published(?: \+ \d+ (?:{_ENDS})(?: \([^)]*\))?)*)"
)
_EVENT = re.compile(r"^ +\d\d:\d\d:\d\d\.\d +\S+ +.*(appeared|left after)", re.MULTILINE)
CAMERAS = ["market-street", "station-road", "night-shift"]


class Demo:
    """Runs demos whose temporary files are in a folder of their own, and looks what is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tmp"
        self.folder.mkdir()
        self.env = {**os.environ, "TMPDIR": str(self.folder), "TERM": "xterm-256color"}

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        done = run_vedette("demo", *words, env=self.env)
        self.check_nothing_is_left()
        return done

    def run_until(self, until: Callable[[str], bool], *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run it without a terminal and without an end; Ctrl-C when `until` is true of what it printed."""
        command = [sys.executable, "-m", "vedette", "demo", "--duration", "0", *map(str, words)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        shown, interrupted = "", False
        with subprocess.Popen(command, env=self.env, text=True, **pipes) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                for line in process.stdout:
                    shown += line
                    if not interrupted and until(shown):
                        interrupted = True
                        process.send_signal(signal.SIGINT)
                said = process.stderr.read()
                status = process.wait(60)
            finally:
                process.kill()
        self.check_nothing_is_left()
        return subprocess.CompletedProcess(command, status, shown, said)

    def run_in_terminal(
        self, *words: str, columns: int = 100, rows: int = 30, until: Callable[[str], bool] = lambda _: False
    ) -> tuple[int, str]:
        """Run it in a pseudo-terminal to its end; Ctrl-C when `until` is true. Exit status, and all that was shown."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        command = [sys.executable, "-m", "vedette", "demo", *words]
        process = subprocess.Popen(command, env=self.env, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        shown = ""
        interrupted = False
        try:
            while True:
                try:
                    piece = os.read(master, 65536)
                except OSError:  # how Linux says that the other end is closed
                    break
                if not piece:
                    break
                shown += _ESCAPE.sub("", piece.decode(errors="replace"))
                if not interrupted and until(shown):
                    interrupted = True
                    process.send_signal(signal.SIGINT)
            status = process.wait(60)
        finally:
            process.kill()
            process.wait()
            os.close(master)
        self.check_nothing_is_left()
        return status, shown.replace("\r", "")

    def check_nothing_is_left(self) -> None:
        assert list(self.folder.iterdir()) == []
        for process in Path("/proc").glob("[0-9]*/cwd"):
            try:
                where = process.readlink()
            except OSError:
                continue
            assert not str(where).startswith(str(self.folder)), f"{process.parent.name} still runs in {where}"


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return Demo(tmp_path)


def check_balanced(shown: str, streams: list[str]) -> None:
    """The summary names every stream, with frames, and balances."""
    text = " ".join(shown.split())
    rows = {match["name"]: match for match in _ROW.finditer(text)}
    assert sorted(rows) == sorted(streams), shown
    for name, row in rows.items():
        counts = {end: int(count) for count, end in re.findall(rf"(\d+) ({_ENDS})", row["ends"])}
        assert int(row["decoded"]) == sum(counts.values()) > 0, name
        assert counts["published"] > 0, name
        assert "in flight" not in counts, name
    assert "The ledger balances." in text
    total = re.search(r"The subscriber got (\d+) events\.", text)
    accepted = re.search(r"frames \+ (\d+) events", text)
    assert total is not None
    assert accepted is not None
    assert int(total[1]) == int(accepted[1]) > 0


def all_publish(shown: str) -> bool:
    """Whether the table has had a row for each camera in which it streams and has published."""
    return all(re.search(rf"{name} +streaming +\d+\.\d +\d+ +\d+ +\d+ +[1-9]", shown) for name in CAMERAS)


def all_see(shown: str) -> bool:
    """Whether each camera has had a line with objects in it, and an event has been shown."""
    seen = (rf"\d s  {name} +streaming .* [1-9]\d* objects +[1-9]\d* published" for name in CAMERAS)
    return all(re.search(line, shown) for line in seen) and _EVENT.search(shown) is not None


def test_without_a_terminal_it_prints_lines_and_a_balanced_summary(demo: Demo) -> None:
    done = demo.run_until(all_see)

    assert done.returncode == 0, done.stderr
    assert all_see(done.stdout), done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "blocked" not in done.stderr
    check_balanced(done.stderr, CAMERAS)
    for name in (*CAMERAS, "together"):
        assert re.search(rf"  {name} +precision \d\.\d\d, recall \d\.\d\d +\(\d+ found", done.stderr), done.stderr


def test_in_a_terminal_it_shows_a_live_table_with_events_until_ctrl_c(demo: Demo) -> None:
    status, shown = demo.run_in_terminal(
        "--duration", "0", until=lambda text: "appeared" in text and text.count("streaming") > 30 and all_publish(text)
    )

    assert status == 0, shown
    for title in ("stream", "state", "fps", "p50 ms", "objects", "published", "superseded"):
        assert title in shown
    assert re.search(r"market-street +streaming +\d+\.\d +\d+ +\d+ +\d+ +\d+ +\d+", shown)
    assert re.search(r"What a subscriber sees at redis://127\.0\.0\.1:\d+/0, \d+ events so far", shown)
    assert "Traceback" not in shown
    check_balanced(shown, CAMERAS)


def test_in_a_small_terminal_no_line_is_cut_but_the_events(demo: Demo) -> None:
    status, shown = demo.run_in_terminal(
        "--duration", "0", columns=80, rows=16, until=lambda text: text.count("streaming") > 40 and all_publish(text)
    )

    assert status == 0, shown
    assert "superseded" in shown
    assert "stopped" in shown
    check_balanced(shown, CAMERAS)


@pytest.mark.skipif(SHARED is None, reason="the real clips and teachers are not on this machine")
def test_it_takes_a_real_clip_and_another_model(demo: Demo) -> None:
    assert SHARED is not None
    clip = SHARED / "clips" / "intel_store-aisle-detection_preview.mp4"
    model = SHARED / "teachers" / "yolox_nano_416.onnx"

    def sees(shown: str) -> bool:
        return re.search(r"person #\d+ (appeared|left)", shown) is not None

    done = demo.run_until(sees, "--source", clip, "--model", model)

    assert done.returncode == 0, done.stderr
    assert sees(done.stdout)
    check_balanced(done.stderr, ["source"])


def test_it_takes_a_configuration_whose_sinks_give_way_and_plain_means_lines(demo: Demo, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=20, fps=10)
    corner = {"id": "corner", "url": str(clip), "mode": "live", "loop": True}
    config = write_config(tmp_path, streams=[corner], sinks=[{"kind": "jsonl", "path": "never.jsonl"}])

    status, shown = demo.run_in_terminal("--plain", "--duration", "2", "--config", str(config))

    assert status == 0, shown
    assert not (tmp_path / "never.jsonl").exists()
    assert "p50 ms" not in shown
    assert re.search(r"s  corner +stopped", shown)
    assert re.search(r"corner +run [0-9a-f]{12} began", shown)
    check_balanced(shown, ["corner"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--source", "no/such/clip.mp4", "--duration", "1"), "not_found"),
        (("--source", "rtsp://user:hunter2@127.0.0.1/x"), "holds a password"),
        (("--duration", "-1"), "--duration: expected seconds, 0 (for ever) to 10000000, got -1"),
        (("--duration", "soon"), "--duration"),
        (("--model", "no/such/model.onnx"), "no/such/model.onnx"),
        (("--source", "a.mp4", "--config", "b.yaml"), "not allowed with"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(demo: Demo, words: tuple[str, ...], says: str) -> None:
    done = demo.run(*words)

    assert done.returncode in (2, 3)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
