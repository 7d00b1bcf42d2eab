"""What Redis does to a running machine. Live frames are dropped and counted while it is away, and subscribers are told;
files wait and lose nothing; every event is in the stream once, in order, whatever happened in between.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.media import make_clip
from tests.support.redis_server import RedisServer
from tests.support.site import Site, assert_in_order, assert_once_and_in_order, assert_whole, camera, missing, told
from vedette.messages import decode_message

pytestmark = pytest.mark.system

CLIP_FRAMES = 100


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is not over when Redis is struck, and then waits for it."""
    return make_clip(tmp_path_factory.mktemp("redis-faults") / "archive.mkv", frames=CLIP_FRAMES)


@pytest.fixture
def site(tmp_path: Path, redis_server: RedisServer) -> Site:
    return Site(tmp_path, redis_server)


class Both:
    """A run with a camera and a file, followed through what happens to its Redis."""

    def __init__(self, site: Site, clip: Path) -> None:
        self.site = site
        self.run = site.run(camera("gate", fps=10), {"id": "archive", "url": str(clip), "mode": "file"})
        self.follow()

    def follow(self) -> None:
        """Read from the beginning; what was read before is forgotten."""
        self.gate, self.archive = self.site.frames("gate"), self.site.frames("archive")
        self.events = self.site.events()

    def flow(self) -> None:
        """Wait until both streams are in the middle of it."""
        for stream in (self.gate, self.archive):
            stream.wait_for("frames", lambda frames: len(frames) >= 2)

    def away(self) -> int:
        """Wait until Redis is missed, live frames have been dropped and /readyz says so; returns the log's length."""
        at = self.run.wait_log("trying again", "warning")
        self.run.wait_status("drops", lambda status: dropped(status).get("redis_away", 0) >= 3)
        code, ready = self.run.get("/readyz")
        assert code == 503
        assert any(reason.startswith("sink redis: ") for reason in ready["reasons"])
        totals = self.run.get("/status")[1]["streams"]["archive"]["totals"]
        assert totals["published"] < CLIP_FRAMES, "the file waits"
        return at

    def finish(self) -> None:
        """Wait for the gap to be told and for the end of the file, stop, and check what holds in every case."""
        self.run.wait_status("readiness", lambda answer: answer["ready"], "/readyz")
        self.events.wait_for("the end of the file", lambda _: self.events.changes("archive")[-1:] == ["ended(eof)"])
        self.events.wait_for("the gap", lambda _: bool(self.events.gaps("gate")))
        assert self.run.terminate() == 0, self.run.log
        self.run.check(self.events)
        for followed in (self.gate, self.archive, self.events):
            followed.all()
        sink = self.run.sink()
        assert set(sink["dropped"]) == {"redis_away"}
        assert sink["dropped"]["redis_away"] >= 3
        assert sink["spooled"] == 0
        assert self.run.stream("archive")["published"] == CLIP_FRAMES
        assert_once_and_in_order(self.events.messages)
        assert len(self.events.messages) == sink["accepted_events"] + sink["gaps"]
        assert {gap.reason for gap in self.events.gaps()} == {"redis_away"}
        assert sum(gap.count for gap in self.events.gaps("gate")) == sink["dropped"]["redis_away"]
        assert_in_order(self.gate.messages)


def dropped(status: Any) -> dict[str, int]:
    totals: dict[str, int] = status["sinks"]["redis"]["totals"]["dropped"]
    return totals


def test_redis_killed_and_restarted_with_its_data(site: Site, clip: Path) -> None:
    both = Both(site, clip)
    with both.run as run:
        both.flow()
        site.redis.kill()
        at = both.away()
        site.redis.start()
        run.wait_log("connected (Redis", after=at)
        both.finish()

    assert_whole(both.archive.messages)
    assert len(both.archive.messages) == CLIP_FRAMES
    lost = missing(both.gate.messages, run.stream("gate")["published"])
    assert len(lost) == run.sink()["dropped"]["redis_away"]
    assert told(both.events.gaps("gate")) == lost
    assert len(run.said("connected (Redis")) == 2
    assert len(run.said("trying again")) == 1


def test_redis_killed_and_restarted_empty_gets_every_retained_event_again(site: Site, clip: Path) -> None:
    both = Both(site, clip)
    with both.run as run:
        both.flow()
        events_before = both.events.all()
        site.redis.kill()
        at = both.away()
        site.redis.restart(keep_data=False)
        run.wait_log("connected (Redis", after=at)
        both.follow()
        both.finish()

    assert both.events.messages[: len(events_before)] == events_before
    assert run.sink()["resent"] >= len(events_before)
    assert_whole(both.archive.messages, first=None)
    assert both.archive.messages[-1].n == CLIP_FRAMES, "from what Redis had not acknowledged to the end"
    begin = both.gate.messages[0].n
    lost = {n for n in missing(both.gate.messages, run.stream("gate")["published"]) if n >= begin}
    assert lost <= told(both.events.gaps("gate"))
    with site.redis.client() as client:
        states = {name: decode_message(state) for name, state in client.hgetall("vedette:streams").items()}
    assert {name: state.state for name, state in states.items()} == {"gate": "stopped", "archive": "ended"}


def test_redis_that_hangs_for_a_while_loses_nothing_of_a_file(site: Site, clip: Path) -> None:
    both = Both(site, clip)
    with both.run as run:
        both.flow()
        site.redis.pause()
        try:
            at = both.away()
        finally:
            site.redis.resume()
        run.wait_log("connected (Redis", after=at)
        both.finish()

    assert_whole(both.archive.messages)
    assert len(both.archive.messages) == CLIP_FRAMES
    lost = missing(both.gate.messages, run.stream("gate")["published"])
    # What was sent without an answer may have landed, although it counts as dropped.
    assert lost <= told(both.events.gaps("gate"))
    assert len(lost) <= run.sink()["dropped"]["redis_away"]


def test_redis_absent_at_start_and_then_with_another_password(tmp_path: Path, clip: Path) -> None:
    redis = RedisServer(directory=tmp_path / "redis", password="new-password")
    redis.start()
    redis.kill()
    site = Site(tmp_path, redis)
    url = f"redis://:${{REDIS_PASSWORD}}@127.0.0.1:{redis.port}/0"
    try:
        with site.run(camera("gate", fps=10), redis_url=url, env={"REDIS_PASSWORD": "old-password"}) as run:
            run.wait_log("trying again", "warning")
            run.wait_status("drops", lambda status: dropped(status).get("redis_away", 0) >= 3)
            run.wait_status("spooled events", lambda s: s["sinks"]["redis"]["totals"]["spooled"] >= 3)
            redis.start()
            run.wait_log("refused the password", "warning")
            assert run.get("/readyz")[0] == 503
            with redis.client() as client:
                client.config_set("requirepass", "old-password")
            redis.password = "old-password"
            run.wait_log("connected (Redis")
            gate, events = site.frames("gate"), site.events()
            gate.wait_for("frames", lambda frames: len(frames) >= 2)
            events.wait_for("the gap", lambda _: bool(events.gaps("gate")))
            assert run.terminate() == 0, run.log
        run.check(events)
        events.all()
        gate.all()
    finally:
        redis.kill()

    assert "old-password" not in run.log
    assert events.changes("gate") == ["connecting", "streaming", "stopped(operator)"]
    assert_once_and_in_order(events.messages)
    lost = missing(gate.messages, run.stream("gate")["published"])
    assert len(lost) == run.sink()["dropped"]["redis_away"] >= 3
    assert told(events.gaps("gate")) == lost
