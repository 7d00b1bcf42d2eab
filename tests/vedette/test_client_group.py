"""Consumer groups on real servers: shares, acknowledging, taking over from the dead, at least once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.published import announce, frame_id, publish_events, publish_frames
from tests.support.redis_server import RedisServer, bundled_binary, debian_binary
from tests.support.subscribers import OpenReader, shown
from vedette import Gap
from vedette.errors import UsageError


@pytest.fixture(scope="module", params=["debian", "bundled"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Redis 7.0 and 6.2, which tell of trimmed entries in different ways; no test of this module stops it."""
    binary = debian_binary() if request.param == "debian" else bundled_binary()
    directory = Path(tmp_path_factory.mktemp("redis"))
    server = RedisServer(directory=directory, persistence="none", binary=binary).start()
    yield server
    server.kill()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        client.flushall()
        yield client


def _ids(client: redis.Redis) -> list[bytes]:
    return [entry_id for entry_id, _ in client.xrange("vedette:events")]


def _pending(client: redis.Redis, key: str = "vedette:events", group: str = "alarms") -> int:
    count: int = client.xpending(key, group)["pending"]
    return count


def test_two_members_share_the_events_between_them(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, *range(1, 41))
    first = open_reader(server.url).group("alarms", consumer="a", start="0").events(idle_s=0)
    second = open_reader(server.url).group("alarms", consumer="b", start="0").events(idle_s=0)

    taken_first = first.take_shown(1)
    taken_second = second.take_shown(1)
    taken_first += first.shown()
    taken_second += second.shown()

    assert sorted([*taken_first, *taken_second]) == list(range(1, 41))
    assert taken_first
    assert taken_second
    assert _pending(client) == 0


def test_an_item_is_acknowledged_when_the_next_is_asked_for(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2, 3)
    feed = open_reader(server.url).group("alarms", start="0").events()

    feed.take(2)
    assert _pending(client) == 2  # the second, which is being processed, and the third, which was fetched with them
    feed.take(1)
    assert _pending(client) == 1


def test_without_auto_ack_only_ack_acknowledges(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2, 3)
    feed = open_reader(server.url).group("alarms", start="0").events(auto_ack=False, idle_s=0)

    items = feed.take(3)
    assert list(feed) == []
    assert _pending(client) == 3
    feed.ack(items[0], items[2])

    assert _pending(client) == 1


def test_a_member_that_comes_back_under_its_name_gets_first_what_it_had_not_finished(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2, 3)
    open_reader(server.url).group("alarms", consumer="a", start="0").events().take(2)
    publish_events(client, 4)

    items = list(open_reader(server.url).group("alarms", consumer="a").events(idle_s=0))

    assert [(item.message.n, item.redelivered) for item in items] == [(2, True), (3, True), (4, False)]
    assert _pending(client) == 0


def test_what_a_dead_member_left_is_taken_over_by_another(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2, 3)
    open_reader(server.url).group("alarms", consumer="dead", start="0").events().take(2)

    items = list(open_reader(server.url).group("alarms", consumer="alive", claim_idle_s=0).events(idle_s=0))

    assert [(item.message.n, item.redelivered) for item in items] == [(2, True), (3, True)]
    assert _pending(client) == 0


def test_what_a_member_is_still_working_on_is_left_to_it(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2)
    open_reader(server.url).group("alarms", consumer="slow", start="0").events().take(1)

    assert open_reader(server.url).group("alarms", consumer="quick").events(idle_s=0).shown() == []


def test_a_waiting_member_takes_over_as_soon_as_the_other_counts_as_dead(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2)
    open_reader(server.url).group("alarms", consumer="dead", start="0").events().take(1)

    waiting = open_reader(server.url).group("alarms", consumer="alive", claim_idle_s=0.1).events()

    assert waiting.take_shown(2) == [1, 2]


def test_a_member_does_not_take_over_from_itself_what_it_is_working_on(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2)
    feed = open_reader(server.url).group("alarms", start="0", claim_idle_s=0).events(auto_ack=False, idle_s=0)

    assert feed.shown() == [1, 2]


def test_what_another_member_took_while_it_waited_is_left_to_that_one(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2, 3, 4)
    slow = open_reader(server.url).group("alarms", consumer="slow", start="0", claim_idle_s=0).events(idle_s=0)
    assert slow.take_shown(1) == [1]  # and has fetched the others
    quick = open_reader(server.url).group("alarms", consumer="quick", claim_idle_s=0).events(idle_s=0)
    assert quick.take_shown(3) == [1, 2, 3]

    # What it fetched is another's by now. That it takes these over in turn, at once, is what it was told to do above.
    assert all(item.redelivered for item in slow)
    assert quick.shown() == []
    assert _pending(client) == 0


def test_an_item_that_waited_for_its_turn_counts_as_fetched_when_it_is_handed_out(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2)
    feed = open_reader(server.url).group("alarms", consumer="a", start="0", claim_idle_s=0.0).events(auto_ack=False)
    assert feed.take_shown(1) == [1]
    client.execute_command("XCLAIM", "vedette:events", "alarms", "a", 0, *_ids(client), "IDLE", 60_000, "JUSTID")
    assert feed.take_shown(1) == [2]

    idle = [entry["time_since_delivered"] for entry in client.xpending_range("vedette:events", "alarms", "-", "+", 9)]
    assert idle[0] >= 60_000 > idle[1]


def test_what_was_trimmed_while_a_member_works_on_it_is_not_missing(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2)
    feed = open_reader(server.url).group("alarms", start="0", claim_idle_s=0).events(auto_ack=False, idle_s=0)
    held = feed.take(2)
    client.xtrim("vedette:events", maxlen=0, approximate=False)

    assert feed.shown() == []
    feed.ack(*held)
    assert _pending(client) == 0


def test_pending_entries_that_were_trimmed_are_a_gap_and_pending_no_more(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2, 3)
    open_reader(server.url).group("alarms", consumer="dead", start="0").events(auto_ack=False).take(3)
    client.xtrim("vedette:events", maxlen=1, approximate=False)

    items = list(open_reader(server.url).group("alarms", consumer="alive", claim_idle_s=0).events(idle_s=0))

    assert sum(item.count for item in items if isinstance(item, Gap)) == 2
    assert {item.reason for item in items if isinstance(item, Gap)} == {"trimmed"}
    assert shown(item for item in items if not isinstance(item, Gap)) == [3]
    assert _pending(client) == 0


def test_own_pending_entries_that_were_trimmed_are_a_gap_too(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2)
    open_reader(server.url).group("alarms", consumer="a", start="0").events(auto_ack=False).take(2)
    client.xtrim("vedette:events", maxlen=1, approximate=False)

    items = list(open_reader(server.url).group("alarms", consumer="a").events(idle_s=0))

    assert items[0] == Gap(key="vedette:events", stream="", count=1, reason="trimmed")
    assert shown(items[1:]) == [2]
    assert _pending(client) == 0


def test_frames_of_many_streams_are_shared_and_new_streams_joined(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    announce(client, "gate")
    publish_frames(client, 1)
    feed = open_reader(server.url).group("count", start="0").frames()
    assert [(item.stream, item.id) for item in feed.take(1)] == [("gate", frame_id(1))]

    publish_frames(client, 1, 2, stream="lobby")
    announce(client, "lobby")

    assert [(item.stream, item.message.n) for item in feed.take(2)] == [("lobby", 1), ("lobby", 2)]


def test_a_new_group_begins_where_it_is_told_and_an_old_one_where_it_stood(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_frames(client, 1, 2, 3)
    reader = open_reader(server.url)

    assert reader.group("new").frames("gate", idle_s=0).shown() == []
    assert reader.group("old", start=frame_id(1)).frames("gate", idle_s=0).shown() == [2, 3]
    assert reader.group("old", start="0").frames("gate", idle_s=0).shown() == []


def test_a_bad_entry_is_told_and_does_not_come_again(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    client.xadd("vedette:events", {"v": "1"})
    publish_events(client, 1)
    told: list[str] = []
    reader = open_reader(server.url, on_bad=lambda bad: told.append(bad.error))

    assert reader.group("alarms", start="0").events(idle_s=0).shown() == [1]
    assert told == ["Entry missing required field `m`"]
    assert _pending(client) == 0


def test_a_group_that_was_destroyed_is_made_again_and_reads_all_that_is_there(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1)
    feed = open_reader(server.url).group("alarms", start="0").events()
    assert feed.take_shown(1) == [1]

    client.delete("vedette:events")
    publish_events(client, 2)

    assert feed.take_shown(2) == ["? reset", 2]


def test_members_have_names_of_their_own_unless_they_are_given_one(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    reader = open_reader(server.url)

    assert reader.group("alarms", consumer="a").group.consumer == "a"
    assert reader.group("alarms").group.consumer != reader.group("alarms").group.consumer


@pytest.mark.parametrize(
    ("name", "start", "expected"),
    [("", "$", "group: expected a name"), ("g", "resume", "a group always resumes"), ("g", "x", "start: expected")],
)
def test_a_group_that_cannot_be_is_refused(
    name: str, start: str, expected: str, server: RedisServer, open_reader: OpenReader
) -> None:
    with pytest.raises(UsageError, match=expected):
        open_reader(server.url).group(name, start=start)
