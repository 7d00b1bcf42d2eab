"""The Redis outlet against a real server: killed, emptied, stopped, full, protected, shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.support.outlets import Rig, events_in, eventually, frames_in, missing, numbers, redis_options, told
from tests.support.redis_server import RedisServer

StartRig = Callable[..., Rig]


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def start_rig(tmp_path: Path) -> Iterator[StartRig]:
    rigs: list[Rig] = []

    def start(server: RedisServer, spool: str = "spool", **changes: object) -> Rig:
        rigs.append(Rig(redis_options(server.url, tmp_path / spool, **changes)))
        return rigs[-1]

    yield start
    for rig in rigs:
        rig.outlet.close(0)
        rig.supervisor.join(timeout_s=20)


def test_frames_and_events_arrive_in_order_and_everything_adds_up(
    redis_server: RedisServer, client: redis.Redis, start_rig: StartRig
) -> None:
    rig = start_rig(redis_server)
    rig.state("streaming")
    rig.frames(20, "cam")
    rig.frames(20, "file")
    for track in range(10):
        rig.event(track)
    totals = rig.close()
    assert numbers(frames_in(client, "cam")) == list(range(1, 21))
    assert numbers(frames_in(client, "file")) == list(range(1, 21))
    events = events_in(client)
    assert numbers(events) == list(range(1, 12))
    assert len({event.producer for event in events}) == 1
    assert totals.delivered == 51
    assert totals.dropped == {}
    assert client.hget("test:streams", "cam") == client.xrange("test:events")[0][1]["m"]
    assert client.hgetall("test:producers") == {events[0].producer: "11"}
    assert client.keys("test:lease:*") == []


def test_entry_ids_follow_the_capture_and_never_go_back(
    redis_server: RedisServer, client: redis.Redis, start_rig: StartRig
) -> None:
    rig = start_rig(redis_server)
    host_ms = rig.clock.wall_ns() // 1_000_000
    past_ms = host_ms - 60_000
    for wall_ms in (0, past_ms, past_ms, past_ms - 500, past_ms + 1, host_ms + 3_600_000):
        rig.frame("file", wall_ns=wall_ms * 1_000_000)
    rig.close()
    ids = [tuple(int(part) for part in name.split("-")) for name, _ in client.xrange("test:frames:file")]
    assert ids[:5] == [(0, 1), (past_ms, 0), (past_ms, 1), (past_ms, 2), (past_ms + 1, 0)]
    assert host_ms <= ids[5][0] <= rig.clock.wall_ns() // 1_000_000 + 1000
    again = start_rig(redis_server)
    again.frame("file", wall_ns=0)
    again.close()
    last = client.xrevrange("test:frames:file", count=1)[0][0]
    assert last == f"{ids[5][0]}-1"


def test_empty_frames_are_left_out_when_the_sink_says_so(
    redis_server: RedisServer, client: redis.Redis, start_rig: StartRig
) -> None:
    rig = start_rig(redis_server, empty=False)
    rig.frame(objects=False)
    rig.frame(objects=True)
    totals = rig.close()
    assert numbers(frames_in(client)) == [2]
    assert totals.dropped == {"empty": 1}
    assert events_in(client) == []


def test_redis_killed_and_back_with_its_data(
    redis_server: RedisServer, client: redis.Redis, start_rig: StartRig
) -> None:
    rig = start_rig(redis_server)
    rig.frames(5)
    rig.event()
    rig.wait_for(lambda t: t.delivered == 6)
    redis_server.kill()
    rig.frames_until_dropped(5)
    rig.frames(5, "file")
    for track in range(5):
        rig.event(track)
    rig.wait_for(lambda t: t.spooled == 5)
    assert "redis" in (rig.outlet.problem() or "")
    redis_server.start()
    rig.wait_for(lambda t: t.gaps and not t.spooled and not t.waiting)
    assert rig.outlet.problem() is None
    last = rig.frame()
    totals = rig.close()
    assert set(totals.dropped) == {"redis_away"}
    assert len(missing(client, "cam", last)) == totals.dropped["redis_away"] >= 5
    assert told(client, "cam", "redis_away") == missing(client, "cam", last)
    assert numbers(frames_in(client, "cam")) == sorted(numbers(frames_in(client, "cam")))
    assert missing(client, "file", 5) == set()
    assert numbers(events_in(client)) == list(range(1, 7 + totals.gaps))


def test_redis_back_empty_gets_the_events_again_once_each_and_the_states(
    redis_server: RedisServer, client: redis.Redis, start_rig: StartRig
) -> None:
    rig = start_rig(redis_server)
    rig.state("streaming")
    for track in range(20):
        rig.event(track)
    rig.frames(3)
    rig.wait_for(lambda t: t.delivered == 24)
    redis_server.restart(keep_data=False)
    rig.event(99)
    rig.wait_for(lambda t: t.delivered >= 25 and t.resent == 21)
    rig.close()
    assert numbers(events_in(client)) == list(range(1, 23))
    assert client.hexists("test:streams", "cam")


def test_redis_that_stops_answering_gives_no_duplicates_and_loses_no_lossless_frame(
    redis_server: RedisServer, client: redis.Redis, start_rig: StartRig
) -> None:
    rig = start_rig(redis_server)
    rig.frames(3, "file")
    rig.wait_for(lambda t: t.delivered == 3)
    redis_server.pause()
    rig.frames(5, "file")
    rig.frame("cam")
    for track in range(5):
        rig.event(track)
    eventually(rig.outlet.problem)
    redis_server.resume()
    rig.wait_for(lambda t: t.delivered >= 13 and not t.waiting)
    rig.frames(2, "file")
    totals = rig.close()
    assert numbers(frames_in(client, "file")) == list(range(1, 11))
    assert len(frames_in(client, "cam")) + totals.dropped.get("redis_away", 0) == 1
    found = numbers(events_in(client))
    assert found == list(range(1, len(found) + 1))
