"""Streams over HTTP from a server of the standard library."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from stages.types import ClockKind, Reason, State
from tests.support.http_camera import HttpCamera, jpegs, transport_stream
from tests.support.media import read_number
from tests.support.running import RunningStream

Cameras = Callable[..., HttpCamera]


def split(data: bytes, count: int = 60) -> list[bytes]:
    size = len(data) // count + 1
    return [data[start : start + size] for start in range(0, len(data), size)]


def test_mjpeg_parts_become_frames_at_the_times_of_their_arrival(http_camera: Cameras) -> None:
    camera = http_camera(parts=jpegs(20), fps=50)
    with RunningStream(camera.url("mjpeg")) as stream:
        stream.intake.wait_frames(40)
    frames = stream.intake.frames
    assert all((b - a) % 20 == 1 for a, b in pairwise([read_number(frame.picture) for frame in frames]))
    assert stream.runner.status().codec == "mjpeg"
    planes = frames[0].picture.planes()
    assert getattr(planes, "full_range", None) is True
    assert {frame.clock for frame in frames} == {ClockKind.ARRIVAL}
    late = frames[10:]
    assert all((b.pts - a.pts) * 1000 == pytest.approx(b.mono_ns - a.mono_ns, abs=2000) for a, b in pairwise(late))


def test_mjpeg_that_ends_is_a_lost_connection(http_camera: Cameras) -> None:
    camera = http_camera(parts=jpegs(10), fps=200, close_after=30)
    with RunningStream(camera.url("mjpeg")) as stream:
        assert stream.intake.wait_state(State.WAITING).reason is Reason.EOF
        stream.intake.wait_frames(5, epoch=1)


def test_a_camera_of_huge_pictures_costs_no_memory_and_is_asked_again(http_camera: Cameras) -> None:
    camera = http_camera(parts=jpegs(1, (8320, 4608)), fps=50)
    with RunningStream(camera.url("mjpeg"), read_timeout_s=0.6) as stream:
        change = stream.intake.wait_state(State.WAITING)
    assert change.reason is Reason.CORRUPT
    assert not stream.intake.frames


def test_transport_stream_is_read(http_camera: Cameras, tmp_path: Path) -> None:
    camera = http_camera(pieces=split(transport_stream(tmp_path / "a.ts", frames=60, b_frames=2)), fps=100)
    with RunningStream(camera.url("ts")) as stream:
        stream.intake.wait_frames(50)
    numbers = [read_number(frame.picture) for frame in stream.intake.frames]
    assert all(b - a == 1 for a, b in pairwise(numbers))


def test_transport_stream_whose_codec_changes_is_read_again(http_camera: Cameras, tmp_path: Path) -> None:
    first = transport_stream(tmp_path / "a.ts", frames=60)
    second = transport_stream(tmp_path / "b.ts", frames=250, codec="libx265", first=1000)
    camera = http_camera(pieces=[*split(first), *split(second, 250)], fps=100)
    with RunningStream(camera.url("ts"), read_timeout_s=0.6) as stream:
        change = stream.intake.wait_state(State.WAITING)
    assert change.reason is Reason.CORRUPT
    assert "has its codec changed?" in change.detail
    assert stream.intake.totals.packets_damaged >= 25


@pytest.mark.parametrize(
    ("options", "path", "reason"),
    [
        ({"password": "right"}, "mjpeg", Reason.AUTH),
        ({}, "nothing", Reason.NOT_FOUND),
        ({"status": 403}, "mjpeg", Reason.AUTH),
        ({"status": 503}, "mjpeg", Reason.REFUSED),
    ],
)
def test_refusals_have_their_reasons(
    http_camera: Cameras, options: dict[str, object], path: str, reason: Reason
) -> None:
    with RunningStream(http_camera(**options).url(path, user="viewer:wrong")) as stream:
        assert stream.intake.wait_state(State.WAITING).reason is reason


def test_password_opens_it(http_camera: Cameras) -> None:
    camera = http_camera(parts=jpegs(5), password="p@ss")
    with RunningStream(camera.url("mjpeg", user="viewer:p%40ss")) as stream:
        stream.intake.wait_frames(3)


def test_server_that_sends_no_video_is_corrupt(http_camera: Cameras) -> None:
    camera = http_camera(pieces=[b"<html>no camera here</html>" * 40], close_after=1)
    with RunningStream(camera.url("ts"), open_timeout_s=2) as stream:
        assert stream.intake.wait_state(State.WAITING).reason in (Reason.CORRUPT, Reason.EOF)
