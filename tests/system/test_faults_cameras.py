"""What cameras do to a running machine: one run with a stream for each fault, so that each also shows that the others
go on unharmed. The run is stopped at the end and must leave with 0 and a ledger that balances.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.redis_server import RedisServer
from tests.support.rtsp import RtspServer, painted_units
from tests.support.site import Events, Run, Site, assert_whole
from vedette.messages import FrameMessage, StreamState

pytestmark = pytest.mark.system

FPS = 10
SIZES = [(320, 240), (480, 272)]


@dataclass
class Yard:
    """The run and everything that its streams depend on."""

    site: Site
    run: Run
    events: Events
    gate: RtspServer
    door: RtspServer
    house: RtspServer

    def published(self, stream: str) -> list[FrameMessage]:
        return self.site.frames(stream).all()


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    folder = tmp_path_factory.mktemp("cameras")
    small, large = (painted_units(folder, f"{w}x{h}", frames=10, size_wh=(w, h), gop=5) for w, h in SIZES)
    with ExitStack() as stack:
        redis = RedisServer(directory=folder / "redis").start()
        stack.callback(redis.kill)
        gate, door, house = RtspServer(), RtspServer(), RtspServer(user="viewer", password="right")
        for server in (gate, door, house):
            stack.callback(server.kill)
            server.start()
        gate.mount("gate", small, fps=FPS)
        door.mount("door", small, fps=FPS)
        house.mount("steady", small, fps=FPS)
        house.mount("sizes", [small, large], fps=FPS)
        mute = stack.enter_context(socket.socket())
        mute.bind(("127.0.0.1", 0))
        mute.listen(5)
        site = Site(folder, redis)
        run = site.run(
            {"id": "gate", "url": gate.url("gate").reveal()},
            {"id": "door", "url": door.url("door").reveal(), "read_timeout_s": 1},
            {"id": "steady", "url": house.url("steady").reveal()},
            {"id": "sizes", "url": house.url("sizes").reveal()},
            {"id": "mute", "url": f"rtsp://127.0.0.1:{mute.getsockname()[1]}/mute", "open_timeout_s": 1},
            {"id": "locked", "url": house.url("steady", password="${WRONG}").reveal()},
            env={"WRONG": "none-of-the-cameras"},
        )
        events = site.events()
        with run:
            yield Yard(site, run, events, gate, door, house)
            assert run.terminate() == 0, run.log
        events.all()
        run.check(events)
        assert run.sink()["dropped"] == {}
        for name in ("gate", "door", "steady", "sizes"):
            frames = site.frames(name).all()
            assert_whole(frames)
            assert len(frames) == run.stream(name)["published"]


def settled(yard: Yard, stream: str) -> None:
    """Wait until the stream has frames of its first epoch in Redis."""
    yard.events.wait_state(stream, "streaming")
    yard.site.frames(stream).wait_for("frames", lambda frames: len(frames) >= 5)


def again(yard: Yard, stream: str, epoch: int = 1) -> list[FrameMessage]:
    """Wait for frames of the next epoch; returns all of the stream's."""
    frames = yard.site.frames(stream)
    frames.wait_for(f"frames of epoch {epoch}", lambda seen: sum(frame.epoch == epoch for frame in seen) >= 5)
    return frames.messages


def test_camera_that_is_killed_and_comes_back_goes_on_in_a_new_epoch(yard: Yard) -> None:
    settled(yard, "gate")
    yard.gate.kill()
    lost = yard.events.wait_state("gate", "waiting", reason="eof")
    yard.gate.start()
    yard.events.wait_state("gate", "streaming", after=lost)

    frames = again(yard, "gate")
    assert_whole(frames)
    assert {frame.epoch for frame in frames} == {0, 1}
    states = [event for event in yard.events.messages if isinstance(event, StreamState) and event.stream == "gate"]
    assert [event.epoch for event in states] == [0] * (len(states) - 1) + [1]
    assert yard.run.get("/status")[1]["streams"]["gate"]["totals"]["reconnections"] == {"eof": 1}


def test_camera_that_is_stopped_without_closing_stalls_and_comes_back(yard: Yard) -> None:
    settled(yard, "door")
    yard.door.pause()
    stalled = yard.events.wait_state("door", "stalled", reason="stall")
    waiting = yard.events.wait_state("door", "waiting", reason="stall", after=stalled)
    assert yard.events.changes("door")[:4] == ["connecting", "streaming", "stalled(stall)", "waiting(stall)"]
    yard.door.resume()
    yard.events.wait_state("door", "streaming", after=waiting)

    frames = again(yard, "door")
    assert_whole(frames)
    assert {frame.epoch for frame in frames} == {0, 1}
    assert yard.run.get("/status")[1]["streams"]["door"]["totals"]["reconnections"] == {"stall": 1}


def test_camera_that_never_answers_is_tried_again_and_slows_nobody(yard: Yard) -> None:
    first = yard.events.wait_state("mute", "waiting", reason="timeout")
    yard.events.wait_state("mute", "waiting", reason="timeout", after=first)
    settled(yard, "steady")

    assert set(yard.events.changes("mute")) == {"connecting", "waiting(timeout)"}
    detail = yard.events.messages[first - 1].detail
    assert "(limit 1 s)" in detail
    assert "before attempt 2" in detail
    status = yard.run.get("/status")[1]["streams"]
    assert status["mute"]["totals"]["decoded"] == 0
    assert status["steady"]["state"] == "streaming"
    assert yard.events.changes("steady") == ["connecting", "streaming"]
    assert_whole(yard.published("steady"))


def test_wrong_password_is_tried_again_slowly_and_the_process_goes_on(yard: Yard) -> None:
    at = yard.events.wait_state("locked", "waiting", reason="auth")

    assert yard.events.changes("locked") == ["connecting", "waiting(auth)"]
    assert "waiting 3" in yard.events.messages[at - 1].detail, "30 to 33 s: cameras lock accounts"
    assert "none-of-the-cameras" not in yard.run.log
    settled(yard, "steady")
    ready = yard.run.wait_status("readiness", lambda answer: answer["ready"], "/readyz")
    assert "stream locked: waiting (auth)" in ready["reasons"]


def test_change_of_resolution_shows_in_the_messages_and_is_no_reconnection(yard: Yard) -> None:
    settled(yard, "sizes")
    yard.house.switch("sizes", 1)
    frames = yard.site.frames("sizes")
    frames.wait_for("frames of the other size", lambda seen: sum(frame.size == SIZES[1] for frame in seen) >= 5)

    assert_whole(frames.messages)
    assert {frame.epoch for frame in frames.messages} == {0}
    sizes = [frame.size for frame in frames.messages]
    assert sizes == sorted(sizes), "first the one, then the other"
    assert yard.events.changes("sizes") == ["connecting", "streaming"]
    assert yard.run.said("its picture is 480x272 now, it was 320x240")
