"""What is said to Redis and what it answers: scripts that are all or nothing, each run by both servers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
import redis

from stages.options import RedisSinkOptions
from stages.sink.entry_id import NONE, EntryId
from stages.sink.redis import Added, EventEntry, Lease, RedisAway, RedisPublisher
from stages.types import StreamId
from tests.support.redis_server import RedisServer, StartRedis, bundled_binary
from vedette.secrets import SecretUrl

CAM = StreamId("cam")
Connect = Callable[..., RedisPublisher]


@pytest.fixture(params=[False, True], ids=["redis-7.0", "redis-6.2"])
def server(request: pytest.FixtureRequest, start_redis: StartRedis) -> RedisServer:
    return start_redis(**({"binary": bundled_binary()} if request.param else {}))


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def connect(server: RedisServer) -> Iterator[Connect]:
    made: list[RedisPublisher] = []
    nonces = itertools.count()

    def connect(owner: str = "us", *, maxlen: int = 1000) -> RedisPublisher:
        options = RedisSinkOptions(url=SecretUrl(server.url), prefix="t", maxlen=maxlen)
        token = f"{owner}:{next(nonces)}"
        made.append(RedisPublisher(options, owner=owner, token=token, lease_ms=60_000, timeout_s=0.5))
        made[-1].connect()
        return made[-1]

    yield connect
    for publisher in made:
        publisher.disconnect()


def test_a_lease_is_taken_kept_held_and_given_back(client: redis.Redis, connect: Connect) -> None:
    ours, theirs = connect("us"), connect("them")
    assert ours.lease([CAM], first=True) == {CAM: Lease("taken")}
    assert ours.lease([CAM], first=False) == {CAM: Lease("kept")}
    (held,) = theirs.lease([CAM], first=True).values()
    assert held.state == "held"
    assert 0 < held.left_ms <= 60_000
    theirs.release([CAM])
    assert client.get("t:lease:cam") == "us:0"
    ours.release([CAM])
    assert theirs.lease([CAM], first=False) == {CAM: Lease("taken")}


def test_an_earlier_life_of_ours_leaves_its_lease_to_us_once(connect: Connect) -> None:
    before, after = connect("us"), connect("us")
    before.lease([CAM], first=True)
    assert after.lease([CAM], first=False)[CAM].state == "held"
    assert after.lease([CAM], first=True) == {CAM: Lease("taken")}
    assert before.lease([CAM], first=False)[CAM].state == "held"


def test_an_owner_that_begins_like_ours_is_another(connect: Connect) -> None:
    connect("us-too").lease([CAM], first=True)
    assert connect("us").lease([CAM], first=True)[CAM].state == "held"


def test_frames_need_the_lease_and_rising_ids(client: redis.Redis, connect: Connect) -> None:
    publisher = connect()
    entries = [(EntryId(1, 0), b"a"), (EntryId(1, 1), b"b")]
    (refused,) = publisher.add_frames({CAM: entries}).values()
    assert refused.count == 0
    assert refused.refusal is not None
    assert refused.refusal.code == "LEASE"
    publisher.lease([CAM], first=True)
    assert publisher.last_ids([CAM]) == {CAM: NONE}
    assert publisher.add_frames({CAM: entries}) == {CAM: Added(2)}
    assert publisher.add_frames({CAM: entries}) == {CAM: Added(2)}
    assert client.xrange("t:frames:cam") == [("1-0", {"v": "1", "m": "a"}), ("1-1", {"v": "1", "m": "b"})]
    (behind,) = publisher.add_frames({CAM: [(EntryId(1, 0), b"another"), (EntryId(2, 0), b"c")]}).values()
    assert behind.count == 0
    assert behind.refusal is not None
    assert behind.refusal.code == "BEHIND"
    assert publisher.last_ids([CAM]) == {CAM: EntryId(1, 1)}


def test_the_last_id_is_known_when_every_entry_is_gone(client: redis.Redis, connect: Connect) -> None:
    publisher = connect()
    publisher.lease([CAM], first=True)
    publisher.add_frames({CAM: [(EntryId(7, 2), b"a")]})
    client.xtrim("t:frames:cam", maxlen=0, approximate=False)
    assert publisher.last_ids([CAM]) == {CAM: EntryId(7, 2)}


def test_frame_streams_are_capped(client: redis.Redis, connect: Connect) -> None:
    publisher = connect(maxlen=100)
    publisher.lease([CAM], first=True)
    for batch in range(20):
        publisher.add_frames({CAM: [(EntryId(batch + 1, k), b"x") for k in range(50)]})
    assert 100 <= client.xlen("t:frames:cam") <= 250


def test_an_event_is_added_once_however_often_it_comes(client: redis.Redis, connect: Connect) -> None:
    publisher = connect()
    events = [EventEntry("p", n, b"event %d" % n, "") for n in (1, 2, 3)]
    assert publisher.add_events(events[:2]) == Added(2)
    assert publisher.add_events(events) == Added(3, repeated=2)
    assert publisher.add_events([EventEntry("q", 1, b"another producer", "")]) == Added(1)
    assert [fields["m"] for _, fields in client.xrange("t:events")] == [
        "event 1",
        "event 2",
        "event 3",
        "another producer",
    ]
    assert client.hgetall("t:producers") == {"p": "3", "q": "1"}


def test_a_refused_event_is_not_passed_by_a_later_one(client: redis.Redis, connect: Connect) -> None:
    publisher = connect()
    client.config_set("maxmemory", 1)
    refused = publisher.add_events([EventEntry("p", n, b"x", "") for n in (1, 2)])
    assert refused.count == 0
    assert refused.refusal is not None
    assert refused.refusal.passes
    assert refused.refusal.code == "OOM"
    client.config_set("maxmemory", 0)
    assert publisher.add_events([EventEntry("p", n, b"x", "") for n in (1, 2)]) == Added(2)


@pytest.mark.parametrize("key", ["t:events", "t:producers", "t:streams"])
def test_a_key_of_the_wrong_type_refuses_the_event_as_a_whole(client: redis.Redis, connect: Connect, key: str) -> None:
    client.set(key, "x")
    refused = connect().add_events([EventEntry("p", 1, b"x", "cam")])
    assert refused.count == 0
    assert refused.refusal is not None
    assert refused.refusal.code == "WRONGTYPE"
    assert not refused.refusal.passes
    assert client.keys("t:*") == [key]


def test_a_state_is_kept_by_whoever_may_publish_the_stream(client: redis.Redis, connect: Connect) -> None:
    ours, theirs = connect("us"), connect("them")
    ours.add_events([EventEntry("us", 1, b"connecting", "cam")])
    ours.lease([CAM], first=True)
    ours.add_events([EventEntry("us", 2, b"streaming", "cam")])
    theirs.add_events([EventEntry("them", 1, b"failed: leased", "cam")])
    assert client.hgetall("t:streams") == {"cam": "streaming"}
    client.delete("t:streams")
    theirs.set_states({CAM: b"no"})
    ours.set_states({CAM: b"yes"})
    assert client.hgetall("t:streams") == {"cam": "yes"}


def test_it_says_who_answered(server: RedisServer, client: redis.Redis, connect: Connect) -> None:
    who = connect().connect()
    assert who.run_id == client.info("server")["run_id"]
    assert who.version == client.info("server")["redis_version"]
    assert who.aof


def test_a_connection_never_renews_itself(server: RedisServer, connect: Connect) -> None:
    publisher = connect()
    publisher.lease([CAM], first=True)
    server.restart(keep_data=False)
    with pytest.raises(RedisAway):
        publisher.lease([CAM], first=True)
    with pytest.raises(RedisAway, match="not connected"):
        publisher.add_events([EventEntry("p", 1, b"x", "")])
    publisher.connect()
    assert publisher.lease([CAM], first=True) == {CAM: Lease("taken")}


def test_what_timed_out_may_have_landed_and_can_be_sent_again(
    server: RedisServer, client: redis.Redis, connect: Connect
) -> None:
    publisher = connect()
    publisher.lease([CAM], first=True)
    server.pause()
    with pytest.raises(RedisAway, match="Timeout"):
        publisher.add_frames({CAM: [(EntryId(1, 0), b"a")]})
    server.resume()
    publisher.connect()
    assert publisher.add_frames({CAM: [(EntryId(1, 0), b"a")]}) == {CAM: Added(1)}
    assert client.xlen("t:frames:cam") == 1
