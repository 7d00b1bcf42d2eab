"""A camera's password stays inside: not in errors, not in our log, not in what FFmpeg prints itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av.logging
import pytest

from stages.source import av_compat
from tests.support.rtsp import RtspServer, self_signed

_PROGRAM = """
import logging, sys, threading
logging.basicConfig(level=1, stream=sys.stdout)
from pipeline.clock import SystemClock
from pipeline.stream import StreamRunner
from stages.options import StreamOptions
from stages.types import State
from tests.support.intake import RecordingIntake
from tests.support.running import RunningStream
for number, url in enumerate(sys.stdin.read().split()):
    with RunningStream(url, open_timeout_s=1, read_timeout_s=1) as stream:
        change = stream.intake.wait_until("an end", lambda: any(
            change.state in (State.WAITING, State.FAILED) or change.state is State.STREAMING
            for change in stream.intake.changes))
        print(number, [str(change) for change in stream.intake.changes], stream.runner.status())
"""


def test_ffmpegs_own_log_is_off() -> None:
    assert av_compat.MAJOR >= 18
    assert av.logging.get_level() is None


def test_password_is_nowhere_whatever_goes_wrong(
    rtsp_servers: Callable[..., RtspServer], painted_h264: Path, tmp_path: Path
) -> None:
    password = "hunter2+zebra"
    plain = rtsp_servers(user="viewer", password=password)
    plain.mount("gate", painted_h264, fps=50)
    digest = rtsp_servers(user="viewer", password=password, digest=True)
    digest.mount("gate", painted_h264, fps=50)
    secure = rtsp_servers(user="viewer", password=password, certificate=self_signed(tmp_path))
    secure.mount("gate", painted_h264, fps=50)
    gone = rtsp_servers(user="viewer", password=password)
    gone.kill()
    urls = [
        plain.url("gate"),
        plain.url("nowhere"),
        plain.url("gate", password=password + "x"),
        digest.url("gate", password=password + "x"),
        secure.url("gate"),
        gone.url("gate"),
    ]
    shown = [url.reveal() for url in urls]
    shown += [f"http://viewer:{password}@127.0.0.1:{plain.port}/a", f"rtsp://viewer:{password}@no-such.invalid/a"]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input="\n".join(shown),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("WAITING") >= 6
    for text in (done.stdout, done.stderr):
        assert "hunter2" not in text
        assert "zebra" not in text


@pytest.mark.parametrize("password", ["p@ss:word/1", "a b", "%41%42"])
def test_masked_url_is_what_is_shown(password: str) -> None:
    from urllib.parse import quote

    from tests.support.running import RunningStream

    url = f"rtsp://viewer:{quote(password, safe='')}@127.0.0.1:9/gate"
    stream = RunningStream(url)
    shown = str(stream.runner.status())
    assert "rtsp://***@127.0.0.1:9/gate" in shown
    assert password not in shown
    assert quote(password, safe="") not in shown
