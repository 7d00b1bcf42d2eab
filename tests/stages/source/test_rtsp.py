"""Streams from a real RTSP server (GStreamer's), and what is done to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.clock import SystemClock
from stages.options import StreamOptions, TlsOptions
from stages.source import av_connection
from stages.source.av_open import open_input
from stages.source.probe import probe
from stages.types import ClockKind, Reason, State
from tests.support.media import read_number
from tests.support.rtsp import RtspServer, painted_units, self_signed
from tests.support.running import RunningStream
from vedette.errors import SourceError

Servers = Callable[..., RtspServer]
FPS = 50
"""The painted clip is served at 50 frames a second: the tests need frames, not seconds."""


@pytest.fixture
def camera(rtsp_server: RtspServer, painted_h264: Path) -> RtspServer:
    rtsp_server.mount("gate", painted_h264, fps=FPS)
    return rtsp_server


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        yield listener.getsockname()[1]


def follows(numbers: list[int], length: int = 50) -> bool:
    """Whether each frame is the one after the last, in a clip that repeats."""
    return all((later - earlier) % length == 1 for earlier, later in pairwise(numbers))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_frames_come_in_order_with_rising_times(camera: RtspServer, transport: str) -> None:
    with RunningStream(camera.url("gate"), transport=transport) as stream:
        stream.intake.wait_frames(80)
    frames = stream.intake.frames
    assert follows([read_number(frame.picture) for frame in frames])
    assert {later.pts - earlier.pts for earlier, later in pairwise(frames)} == {90_000 // FPS}
    assert all(earlier.wall_ns < later.wall_ns for earlier, later in pairwise(frames))
    assert [frame.seq for frame in frames] == list(range(frames[0].seq, frames[0].seq + len(frames)))
    assert stream.intake.states == [
        (State.CONNECTING, None),
        (State.STREAMING, None),
        (State.STOPPED, Reason.OPERATOR),
    ]


@pytest.mark.parametrize(
    ("codec", "clip"),
    [
        ("hevc", {"codec": "libx265"}),
        ("mjpeg", {"codec": "mjpeg", "pixels": "yuvj420p"}),
        ("h264", {"codec": "libx264", "b_frames": 2}),
    ],
)
def test_other_codecs_and_reordered_frames(
    rtsp_server: RtspServer, tmp_path: Path, codec: str, clip: dict[str, object]
) -> None:
    rtsp_server.mount("cam", painted_units(tmp_path, codec, frames=50, **clip), fps=FPS)
    with RunningStream(rtsp_server.url("cam")) as stream:
        stream.intake.wait_frames(60)
    assert stream.runner.status().codec == codec
    assert follows([read_number(frame.picture) for frame in stream.intake.frames])


def test_cameras_clock_is_taken_from_its_reports(camera: RtspServer) -> None:
    with RunningStream(camera.url("gate")) as stream:
        rtcp = ClockKind.RTCP
        stream.intake.wait_until("RTCP", lambda: sum(frame.clock is rtcp for frame in stream.intake.frames) > 10)
    frames = stream.intake.frames
    reported = [frame for frame in frames if frame.clock is ClockKind.RTCP]
    assert frames[0].clock is ClockKind.ARRIVAL
    assert all(frame.clock_error_ms < 1000 for frame in reported)
    assert {round((b.wall_ns - a.wall_ns) / 1e6) for a, b in pairwise(reported[3:])} <= {19, 20, 21}


def test_camera_whose_clock_is_off_is_named_and_not_believed(rtsp_server: RtspServer, painted_h264: Path) -> None:
    rtsp_server.mount("off", painted_h264, fps=FPS, clock_off=True)
    with RunningStream(rtsp_server.url("off")) as stream:
        stream.intake.wait_until("a note", lambda: stream.runner.status().note != "")
        note = stream.runner.status().note
    assert note.startswith("the camera's clock is ")
    assert {frame.clock for frame in stream.intake.frames} == {ClockKind.ARRIVAL}


def test_fps_is_kept_from_the_first_second_on(camera: RtspServer) -> None:
    with RunningStream(camera.url("gate"), fps=10) as stream:
        stream.intake.wait_frames(20)
    frames = stream.intake.frames
    assert all(later.mono_ns - earlier.mono_ns > 25_000_000 for earlier, later in pairwise(frames))
    steps = [later.pts - earlier.pts for earlier, later in pairwise(frames)][2:]
    assert sum(steps) / len(steps) == pytest.approx(9000, rel=0.15)
    assert stream.intake.totals.rate_limited >= 60


def test_nonkey_gives_key_frames_only(camera: RtspServer) -> None:
    with RunningStream(camera.url("gate"), decode="nonkey") as stream:
        stream.intake.wait_frames(6)
    assert {read_number(frame.picture) % 10 for frame in stream.intake.frames} == {0}


def test_a_large_camera_is_decoded_by_two_threads_in_order(camera: RtspServer, tmp_path: Path) -> None:
    camera.mount("large", painted_units(tmp_path, "large", frames=20, size_wh=(2720, 1530)), fps=10)
    threads = {}
    for name in ("gate", "large"):
        opened = open_input(StreamOptions(id="cam", url=camera.url(name)), SystemClock())
        threads[name] = opened.video.codec_context.thread_count
        opened.container.close()
    assert threads == {"gate": 1, "large": 2}
    with RunningStream(camera.url("large")) as stream:
        stream.intake.wait_frames(10)
    assert follows([read_number(frame.picture) for frame in stream.intake.frames], 20)


def test_packets_without_a_picture_are_no_life_sign(
    rtsp_server: RtspServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(av_connection._NO_PICTURE_S, "nonkey", 0.2)
    rtsp_server.mount("gate", painted_units(tmp_path, "rare", frames=400, gop=400), fps=FPS)
    with RunningStream(rtsp_server.url("gate"), decode="nonkey", read_timeout_s=0.3) as stream:
        change = stream.intake.wait_state(State.WAITING)
    assert change.reason is Reason.STALL
    assert "packets come, but no picture" in change.detail


def test_probe_tells_codec_and_size(camera: RtspServer) -> None:
    options = StreamOptions(id="cam", url=camera.url("gate"))
    result = probe(options, SystemClock(), threading.Event())
    assert (result.codec, result.size_wh) == ("h264", (320, 240))


# ── who may ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("digest", [False, True])
def test_password_with_odd_characters_opens_the_camera(rtsp_servers: Servers, painted_h264: Path, digest: bool) -> None:
    server = rtsp_servers(user="vie wer", password="p@ss/w:rd?#", digest=digest)
    server.mount("gate", painted_h264, fps=FPS)
    with RunningStream(server.url("gate")) as stream:
        stream.intake.wait_frames(5)


@pytest.mark.parametrize("user", ["viewer", ""])
def test_wrong_or_no_password_is_auth(rtsp_servers: Servers, painted_h264: Path, user: str) -> None:
    server = rtsp_servers(user="viewer", password="right")
    server.mount("gate", painted_h264, fps=FPS)
    with RunningStream(server.url("gate", user=user, password="wrong")) as stream:
        change = stream.intake.wait_state(State.WAITING)
    assert change.reason is Reason.AUTH
    assert "waiting 3" in change.detail


def test_own_certificate_opens_with_its_authority_or_unchecked_and_not_else(
    rtsp_servers: Servers, painted_h264: Path, tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path)
    server = rtsp_servers(certificate=certificate, user="viewer", password="right")
    server.mount("gate", painted_h264, fps=FPS)
    for tls in (TlsOptions(ca=str(certificate.ca)), TlsOptions(verify=False)):
        with RunningStream(server.url("gate"), tls=tls) as stream:
            stream.intake.wait_frames(5)
    with RunningStream(server.url("gate")) as stream:
        change = stream.intake.wait_state(State.WAITING)
    assert change.reason is Reason.REFUSED
    assert "no secure connection" in change.detail
    assert "tls.ca" in change.detail


def test_path_that_is_not_there_is_not_found_and_tried_again(camera: RtspServer) -> None:
    with RunningStream(camera.url("nowhere")) as stream:
        assert stream.intake.wait_state(State.WAITING).reason is Reason.NOT_FOUND


def test_host_without_a_camera_is_refused(silent_port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with RunningStream(f"rtsp://127.0.0.1:{port}/gate") as stream:
        assert stream.intake.wait_state(State.WAITING).reason is Reason.REFUSED


def test_name_that_does_not_resolve_is_unresolved() -> None:
    with RunningStream("rtsp://no-such-camera.invalid/gate") as stream:
        change = stream.intake.wait_state(State.WAITING)
    assert change.reason is Reason.UNRESOLVED
    assert "no-such-camera.invalid" in change.detail


def test_camera_that_never_answers_is_a_timeout(silent_port: int) -> None:
    with RunningStream(f"rtsp://127.0.0.1:{silent_port}/gate", open_timeout_s=0.5) as stream:
        change = stream.intake.wait_state(State.WAITING)
    assert change.reason is Reason.TIMEOUT
    assert "(limit 0.5 s)" in change.detail


# ── what happens to it ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_camera_that_dies_and_comes_back_is_streamed_again(camera: RtspServer, transport: str) -> None:
    with RunningStream(camera.url("gate"), transport=transport) as stream:
        stream.intake.wait_frames(10)
        camera.kill()
        lost = stream.intake.wait_state(State.WAITING)
        camera.start()
        stream.intake.wait_frames(10, epoch=1)
    assert lost.reason is Reason.EOF
    frames = stream.intake.frames
    assert {frame.epoch for frame in frames} == {0, 1}
    assert [frame.seq for frame in frames] == sorted(frame.seq for frame in frames)
    assert stream.intake.totals.reconnections == {"eof": 1}


def test_camera_that_comes_back_with_another_codec_is_streamed_again(camera: RtspServer, tmp_path: Path) -> None:
    with RunningStream(camera.url("gate")) as stream:
        stream.intake.wait_frames(10)
        camera.kill()
        camera.forget("gate")
        camera.start()
        camera.mount("gate", painted_units(tmp_path, "hevc", frames=50, codec="libx265", size_wh=(640, 480)), fps=FPS)
        stream.intake.wait_frames(10, epoch=1)
        status = stream.runner.status()
    assert (status.codec, status.size_wh) == ("hevc", (640, 480))


def test_camera_that_hangs_is_stalled_and_streamed_again_when_it_goes_on(camera: RtspServer) -> None:
    with RunningStream(camera.url("gate"), read_timeout_s=0.7, open_timeout_s=2) as stream:
        stream.intake.wait_frames(10)
        camera.pause()
        stalled = stream.intake.wait_state(State.STALLED)
        assert stream.intake.wait_state(State.WAITING).reason is Reason.STALL
        camera.resume()
        stream.intake.wait_frames(10, epoch=1)
    assert stalled.reason is Reason.STALL
    assert "(limit 0.7 s)" in stalled.detail
    assert stream.intake.totals.reconnections == {"stall": 1}


def test_camera_that_hangs_before_it_is_opened_is_a_timeout(camera: RtspServer) -> None:
    camera.pause()
    with RunningStream(camera.url("gate"), open_timeout_s=0.7) as stream:
        change = stream.intake.wait_state(State.WAITING)
        camera.resume()
        stream.intake.wait_frames(5)
    assert change.reason is Reason.TIMEOUT


def test_resolution_that_changes_goes_on_in_the_same_epoch(
    rtsp_server: RtspServer, painted_h264: Path, tmp_path: Path
) -> None:
    large = painted_units(tmp_path, "large", frames=50, size_wh=(640, 480), gop=10)
    rtsp_server.mount("cam", [painted_h264, large], fps=FPS)
    with RunningStream(rtsp_server.url("cam")) as stream:
        stream.intake.wait_frames(10)
        rtsp_server.switch("cam", 1)
        stream.intake.wait_until("640x480", lambda: stream.intake.frames[-1].picture.size_wh == (640, 480))
        stream.intake.wait_frames(len(stream.intake.frames) + 10)
    frames = stream.intake.frames
    assert {frame.epoch for frame in frames} == {0}
    assert read_number(frames[-1].picture) > 0
    assert follows([read_number(frame.picture) for frame in frames[-5:]])
    assert stream.runner.status().size_wh == (640, 480)


def test_packets_that_get_lost_do_not_end_the_stream(rtsp_server: RtspServer, painted_h264: Path) -> None:
    rtsp_server.mount("radio", painted_h264, fps=FPS, drop=True)
    with RunningStream(rtsp_server.url("radio"), transport="udp") as stream:
        stream.intake.wait_frames(30)
        rtsp_server.drop("radio", 0.1)
        totals = stream.intake.ledger.totals
        stream.intake.wait_until(
            "damage", lambda: totals().streams["cam"].packets_damaged + totals().streams["cam"].packets_lost > 0
        )
        rtsp_server.drop("radio", 0.0)
        stream.intake.wait_frames(len(stream.intake.frames) + 30)
    assert {frame.epoch for frame in stream.intake.frames} == {0}


def test_still_picture_is_frozen_and_not_reconnected(rtsp_server: RtspServer, tmp_path: Path) -> None:
    still = painted_units(tmp_path, "still", frames=50, still=True, gop=250)
    rtsp_server.mount("still", still, fps=FPS)
    with RunningStream(rtsp_server.url("still"), frozen_s=0.5) as stream:
        change = stream.intake.wait_state(State.STREAMING, Reason.FROZEN)
        assert stream.runner.status().frozen
    assert change.frozen
    assert stream.intake.totals.reconnections == {}


def test_thirty_two_cameras_are_served_by_one_server(rtsp_server: RtspServer, painted_h264: Path) -> None:
    streams = []
    for index in range(32):
        rtsp_server.mount(f"cam{index}", painted_h264, fps=10)
        streams.append(RunningStream(rtsp_server.url(f"cam{index}"), fps=5))
    for stream in streams:
        stream.__enter__()
    for stream in streams:
        stream.intake.wait_frames(3)
    for stream in streams:
        stream.stop.set()
    for stream in streams:
        stream.__exit__(None, None, None)


def test_error_of_a_probe_has_no_password(rtsp_servers: Servers) -> None:
    server = rtsp_servers(user="viewer", password="hunter2")
    options = StreamOptions(id="cam", url=server.url("gate", password="hunter3"))
    with pytest.raises(SourceError) as caught:
        probe(options, SystemClock(), threading.Event())
    assert "hunter" not in "".join(caught.value.lines())
    assert caught.value.__cause__ is None
