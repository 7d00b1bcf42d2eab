"""What is done to the process itself: asked to stop, killed, paused while another takes over."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.media import make_clip
from tests.support.redis_server import RedisServer
from tests.support.site import (
    Site,
    assert_in_order,
    assert_once_and_in_order,
    assert_whole,
    camera,
    looping,
    missing,
    told,
)
from vedette.messages import RunStarted, StreamState, decode_message

pytestmark = pytest.mark.system


@pytest.fixture
def site(tmp_path: Path, redis_server: RedisServer) -> Site:
    return Site(tmp_path, redis_server)


@pytest.fixture
def mute() -> Iterator[str]:
    """The URL of a camera that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        yield f"rtsp://127.0.0.1:{listener.getsockname()[1]}/mute"


def test_sigterm_under_load_drains_in_order(site: Site, mute: str) -> None:
    clip = make_clip(site.folder / "archive.mkv", frames=500)
    streams = [camera(f"cam-{seed}", fps=25, seed=seed) for seed in (1, 2)]
    archive = {"id": "archive", "url": str(clip), "mode": "file"}
    blocked = {"id": "mute", "url": mute, "open_timeout_s": 600}
    run = site.run(*streams, archive, blocked, sinks=[{"kind": "jsonl", "path": "out.jsonl"}], shutdown_s=10)
    names = ("cam-1", "cam-2", "archive")
    with run:
        for name in names:
            site.frames(name).wait_for("frames", lambda frames: len(frames) >= 5)
        assert run.terminate() == 0, run.log

    events = site.events()
    run.check(events)
    assert_once_and_in_order(events.messages)
    assert run.summary["left_behind"] == ["source:mute"]
    assert len(run.said("source:mute", "left behind")) == 1
    assert events.changes("mute") == ["connecting", "stopped(operator)"]
    lines = (site.folder / "out.jsonl").read_text().splitlines()
    assert len(lines) == run.sink("jsonl")["delivered"]
    assert run.sink("jsonl")["dropped"] == run.sink()["dropped"] == {}
    for name in names:
        assert events.changes(name)[-1] == "stopped(operator)"
        frames = site.frames(name).all()
        assert_whole(frames)
        assert len(frames) == run.stream(name)["published"]
    assert run.stream("archive")["published"] < 500


def test_second_sigterm_ends_at_once(site: Site, mute: str) -> None:
    blocked = {"id": "mute", "url": mute, "open_timeout_s": 600}
    with site.run(camera("gate"), blocked, shutdown_s=600) as run:
        run.wait_log("stream gate", "streaming")
        run.signal(signal.SIGTERM)
        run.wait_log("stream gate", "stopped (operator)")
        run.signal(signal.SIGTERM)
        assert run.wait() == 128 + signal.SIGTERM
    assert "Traceback" not in run.log


def test_killed_and_started_again_delivers_what_was_promised_and_goes_on(site: Site) -> None:
    gate = looping("gate", make_clip(site.folder / "gate.mkv", frames=10))
    with site.run(gate) as first:
        frames = site.frames("gate")
        frames.wait_for("frames", lambda seen: len(seen) >= 3)
        site.redis.kill()
        first.wait_log("trying again", "warning")
        status = first.wait_status("spooled events", lambda now: now["sinks"]["redis"]["totals"]["spooled"] >= 2)
        first.kill()
    site.redis.start()
    with site.run(gate) as second:
        frames.wait_for("frames of the next run", lambda seen: len({frame.run for frame in seen}) == 2)
        assert second.terminate() == 0, second.log
    second.check()
    events, runs = site.events().all(), list(dict.fromkeys(frame.run for frame in frames.all()))

    assert second.said("events wait from before")
    assert not second.said("another process"), "its own lease is no obstacle"
    assert second.sink()["recovered"] >= status["sinks"]["redis"]["totals"]["spooled"]
    assert second.sink()["dropped"] == {}
    assert len({event.producer for event in events}) == 1
    assert_once_and_in_order(events)
    assert [event.run for event in events if isinstance(event, RunStarted)] == runs
    assert_in_order([frame for frame in frames.messages if frame.run == runs[0]])
    assert_whole([frame for frame in frames.messages if frame.run == runs[1]])


def test_process_that_slept_through_its_lease_writes_nothing_any_more(site: Site) -> None:
    gate = camera("gate", fps=10)
    frames, events = site.frames("gate"), site.events()
    with site.run(gate, name="sleeper") as sleeper:
        frames.wait_for("frames", lambda seen: len(seen) >= 3)
        sleeper.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WNOWAIT)
        with site.redis.client() as client:
            client.pexpire("vedette:lease:gate", 120_000)  # however long the heir takes to start
        with site.run(gate, name="heir") as heir:
            heir.wait_log("stream gate: another process holds its lease; waiting")
            heir.wait_status(
                "word of the other's lease",
                lambda now: "another process holds the lease of gate" in (now["sinks"]["redis"]["problem"] or ""),
            )
            heir.wait_status("drops", lambda now: now["sinks"]["redis"]["totals"]["dropped"].get("leased", 0) >= 1)
            with site.redis.client() as client:
                client.pexpire("vedette:lease:gate", 500)  # the 10 s of a lease, in less of a test's time
            frames.wait_for("frames of the heir", lambda seen: len({frame.run for frame in seen}) == 2)
            sleeper.signal(signal.SIGCONT)
            assert sleeper.wait() == 3, sleeper.log
            count = len(frames.all())
            frames.wait_for("more of the heir's", lambda seen: len(seen) >= count + 3)
            with site.redis.client() as client:
                state = decode_message(client.hget("vedette:streams", "gate"))
            assert heir.terminate() == 0, heir.log
    sleeper.check()
    heir.check()
    events.all()

    runs = list(dict.fromkeys(frame.run for frame in frames.all()))
    assert [frame.run for frame in frames.messages] == sorted((f.run for f in frames.messages), key=runs.index)
    assert_whole([frame for frame in frames.messages if frame.run == runs[0]])
    assert_in_order([frame for frame in frames.messages if frame.run == runs[1]])
    assert sleeper.summary["failed"] == {"gate": "leased"}
    assert set(sleeper.sink()["dropped"]) <= {"leased"}
    assert set(heir.sink()["dropped"]) == {"leased"}, "what came while it waited"
    assert_once_and_in_order(events.messages)
    told_by = {run: [e for e in events.messages if isinstance(e, StreamState) and e.run == run] for run in runs}
    assert [event.state for event in told_by[runs[0]]] == ["connecting", "streaming", "failed"]
    assert [event.state for event in told_by[runs[1]]] == ["connecting", "streaming", "stopped"]
    assert (state.run, state.state) == (runs[1], "streaming"), "the latest state is the heir's"
    lost = missing([frame for frame in frames.messages if frame.run == runs[1]], heir.stream("gate")["published"])
    assert lost <= told([gap for gap in events.gaps("gate") if gap.run == runs[1]])
