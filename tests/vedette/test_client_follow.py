"""Following frames and events on a real server: starts, resuming, gaps, many streams, bad entries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.published import announce, event, frame, frame_id, publish_event, publish_events, publish_frames
from tests.support.redis_server import RedisServer
from tests.support.subscribers import OpenReader
from vedette import Gap, Received
from vedette.client import BadEntry
from vedette.errors import MessageError, SubscribeError, UsageError
from vedette.messages import UnknownEvent, encode_message


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests of this module, none of which stops it; each finds it empty."""
    server = RedisServer(directory=Path(tmp_path_factory.mktemp("redis")), persistence="none").start()
    yield server
    server.kill()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        client.flushall()
        yield client


def test_frames_come_in_order_with_their_ids_and_types(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_frames(client, 1, 2)

    first, second = open_reader(server.url).frames("gate", start="0", idle_s=0)

    assert first == Received(
        id=frame_id(1), key="vedette:frames:gate", stream="gate", message=frame(1), version=1, redelivered=False
    )
    assert second.message == frame(2)
    assert second.raw == encode_message(frame(2))


def test_dollar_yields_what_comes_after_the_first_wait_and_nothing_older(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_frames(client, 1, 2)
    feed = open_reader(server.url).frames("gate", idle_s=0)
    assert feed.shown() == []

    later = open_reader(server.url).frames("gate", start=feed.last_id)
    publish_frames(client, 3)

    assert later.take_shown(1) == [3]


def test_dollar_knows_the_last_frame_so_that_a_gap_right_after_it_is_seen(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_frames(client, 1, 2)
    reader = open_reader(server.url)
    assert reader.frames("gate", idle_s=0).shown() == []
    publish_frames(client, 5)

    assert reader.frames("gate", start="resume").take_shown(2) == ["3-4 lost", 5]


def test_milliseconds_start_at_a_time_and_include_it(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_frames(client, 1, 2, 3)
    start = frame_id(2).removesuffix("-0")

    assert open_reader(server.url).frames("gate", start=start, idle_s=0).shown() == [2, 3]


def test_an_id_resumes_after_it_and_still_sees_the_gap_behind_it(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_frames(client, 1, 2, 6)

    assert open_reader(server.url).frames("gate", start=frame_id(2), idle_s=0).shown() == ["3-5 lost", 6]


def test_a_feed_tells_where_it_stands_and_another_goes_on_there(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_frames(client, 1, 2, 3)
    publish_frames(client, 1, 2, 3, stream="lobby")
    feed = open_reader(server.url).frames("gate", "lobby", start="0", idle_s=0)
    assert feed.take_shown(4) == [1, 2, 3, 1]

    assert feed.last_ids == {"gate": frame_id(3), "lobby": frame_id(1)}
    assert feed.last_id is None
    assert open_reader(server.url).frames("gate", "lobby", start=feed.last_ids, idle_s=0).shown() == [2, 3]


def test_resuming_after_an_id_that_was_trimmed_says_that_something_may_be_missing(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_frames(client, *range(1, 11), maxlen=3)

    items = list(open_reader(server.url).frames("gate", start=frame_id(2), idle_s=0))

    assert items[0] == Gap(key="vedette:frames:gate", stream="gate", reason="trimmed")
    assert [item.message.n for item in items[1:]] == [8, 9, 10]


def test_a_feed_that_fell_behind_the_cap_counts_what_it_missed(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_frames(client, 1)
    feed = open_reader(server.url).frames("gate", start="0")
    assert feed.take_shown(1) == [1]
    publish_frames(client, *range(2, 11), maxlen=3)

    gap, item = feed.take(2)

    assert gap == Gap(key="vedette:frames:gate", stream="gate", run="run-1", first=2, last=7, count=6, reason="lost")
    assert item.message.n == 8


def test_an_id_that_the_stream_has_not_reached_is_of_another_stream_and_all_is_read(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_frames(client, 1, 2)

    assert open_reader(server.url).frames("gate", start=frame_id(50), idle_s=0).shown() == ["? reset", 1, 2]


def test_a_time_is_no_place_that_a_stream_must_have_come_to(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2)
    reader = open_reader(server.url)
    feed = reader.events(start="9000000000000", idle_s=0.2)  # the year 2255; it is looked at four times
    assert feed.shown() == []
    assert reader.events(start=feed.last_id, idle_s=0).shown() == []


def test_a_stream_that_is_emptied_under_a_connection_is_read_from_its_new_beginning(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    reader = open_reader(server.url)
    frames, events = reader.frames("gate", start="0"), reader.events(start="0")
    publish_frames(client, 50, 51)
    publish_event(client, event(1, "old"), entry_id="900-0")
    assert frames.take_shown(2) == [50, 51]
    assert events.take_shown(1) == [1]

    client.flushall()
    publish_frames(client, 1, 2, run="run-2")
    publish_event(client, event(1, "new"), entry_id="3-0")

    assert frames.take_shown(3) == ["? reset", 1, 2]
    assert events.take_shown(2) == ["? reset", 1]


def test_of_many_quiet_streams_that_are_emptied_every_one_is_read_from_its_new_beginning(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    names = [f"cam-{number}" for number in range(20)]  # more than are asked at one look
    feed = open_reader(server.url).frames(*names, start="0")
    for name in names:
        publish_frames(client, 50, stream=name)
    assert feed.take_shown(20) == [50] * 20

    client.flushall()
    for name in names:
        publish_frames(client, 1, stream=name, run="run-2")

    items = feed.take(40)
    assert {item.stream for item in items if isinstance(item, Gap)} == set(names)
    assert sorted(item.stream for item in items if isinstance(item, Received)) == sorted(names)


def test_a_feed_that_was_never_read_does_not_move_where_another_resumes(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    reader = open_reader(server.url)
    publish_events(client, 1, 2, 3, 4)
    assert reader.events(start="0").take_shown(2) == [1, 2]
    reader.events()
    assert reader.events(start="resume", idle_s=0).shown() == [3, 4]
    assert reader.events(start="resume", idle_s=0).shown() == []


def test_an_id_in_a_stream_that_is_gone_waits_for_its_new_beginning(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    reader = open_reader(server.url)
    assert reader.frames("gate", start=frame_id(50), idle_s=0).shown() == []
    publish_frames(client, 1)

    assert reader.frames("gate", start="resume", idle_s=0).shown() == ["? reset", 1]


def test_a_new_run_and_a_replay_begin_at_one_without_a_gap(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    for position, (run, n) in enumerate([("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 1), ("b", 2)]):
        entry = {"v": "1", "m": encode_message(frame(n, run=run))}
        client.xadd("vedette:frames:gate", entry, id=f"{position + 1}-0")

    assert open_reader(server.url).frames("gate", start="0", idle_s=0).shown() == [1, 2, 1, 2, 1, 2]


def test_a_new_run_that_begins_late_has_a_gap_at_its_beginning(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_frames(client, 1, 2, run="a")
    publish_frames(client, 4, run="b")

    assert open_reader(server.url).frames("gate", start="0", idle_s=0).shown() == [1, 2, "1-3 lost", 4]


def test_all_streams_are_found_and_those_that_appear_later_are_read_from_their_beginning(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    announce(client, "gate")
    publish_frames(client, 1)
    feed = open_reader(server.url).frames(start="0")
    assert [item.stream for item in feed.take(1)] == ["gate"]

    publish_frames(client, 1, 2, stream="lobby")
    announce(client, "lobby")

    assert [(item.stream, item.message.n) for item in feed.take(2)] == [("lobby", 1), ("lobby", 2)]


def test_following_all_streams_waits_for_the_first_one(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    reader = open_reader(server.url)
    assert reader.frames(idle_s=0.05).shown() == []

    feed = reader.frames()
    announce(client, "gate")
    publish_frames(client, 1)
    publish_frames(client, 1, stream="lobby")
    assert reader.frames("lobby", start="0").take_shown(1) == [1]
    announce(client, "lobby")
    later = reader.frames(start="0")
    assert sorted(item.stream for item in later.take(2)) == ["gate", "lobby"]
    feed.close()


def test_a_busy_stream_does_not_hide_new_ones(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    announce(client, "gate")
    feed = open_reader(server.url, block_s=0.01).frames(start="0")
    publish_frames(client, 1)
    assert feed.take_shown(1) == [1]
    publish_frames(client, 1, stream="lobby")
    announce(client, "lobby")

    for n in range(2, 20_000):  # a second and more, and there is always something to read
        publish_frames(client, n)
        if next(feed).stream == "lobby":
            break
    else:
        pytest.fail("the new stream was not seen")


def test_events_of_many_producers_are_counted_apart(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    for producer, n in [("p", 1), ("q", 7), ("p", 2), ("q", 8), ("p", 4), ("q", 9)]:
        publish_events(client, n, producer=producer)

    items = list(open_reader(server.url).events(start="0", idle_s=0))

    gaps = [item for item in items if isinstance(item, Gap)]
    assert gaps == [Gap(key="vedette:events", stream="", producer="p", first=3, last=3, count=1, reason="lost")]
    assert [item.message.n for item in items if isinstance(item, Received)] == [1, 7, 2, 8, 4, 9]
    assert {item.stream for item in items if isinstance(item, Received)} == {"gate"}


def test_an_event_that_is_sent_again_is_yielded_once(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2, 3, 2, 3, 4)
    feed = open_reader(server.url).events(start="0", idle_s=0)

    assert feed.shown() == [1, 2, 3, 4]
    assert feed.repeats == 2


def test_unknown_kinds_of_events_are_yielded_and_counted(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1)
    unknown = b'{"type":"event","kind":"line_crossed","producer":"spool-1","n":3,"stream":"gate","line":"a"}'
    client.xadd("vedette:events", {"v": "2", "m": unknown})

    _, gap, item = open_reader(server.url).events(start="0", idle_s=0)

    assert gap.count == 1
    assert isinstance(item.message, UnknownEvent)
    assert (item.message.kind, item.message.raw, item.version) == ("line_crossed", unknown, 2)


BAD_FIELDS: list[tuple[dict[str, str | bytes], str]] = [
    ({"v": "1"}, "Entry missing required field `m`"),
    ({"m": encode_message(frame(2))}, "Entry missing required field `v`"),
    ({"v": "one", "m": encode_message(frame(2))}, "Expected a schema version in the field `v`, got 'one'"),
    ({"v": "0", "m": encode_message(frame(2))}, "Expected a schema version in the field `v`, got '0'"),
    ({"v": "1", "m": "{"}, "Input data was truncated"),
    ({"v": "1", "m": encode_message(event(2))}, "Expected a frame, got an event of kind TrackStarted"),
    ({"v": "1", "m": b"\xff\xfe"}, "JSON is malformed"),
]


@pytest.mark.parametrize(("fields", "expected"), BAD_FIELDS, ids=[case[1] for case in BAD_FIELDS])
def test_an_entry_that_is_no_message_is_told_counted_and_skipped(
    fields: dict[str, str | bytes], expected: str, server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_frames(client, 1)
    client.xadd("vedette:frames:gate", fields, id=frame_id(2))  # type: ignore[arg-type] # redis-py's own invariant dict
    publish_frames(client, 3)
    told: list[BadEntry] = []
    feed = open_reader(server.url, on_bad=told.append).frames("gate", start="0", idle_s=0)

    assert feed.shown() == [1, "2-2 lost", 3]
    assert feed.bad == 1
    assert [(bad.id, bad.key) for bad in told] == [(frame_id(2), "vedette:frames:gate")]
    assert expected in told[0].error


def test_a_callback_may_raise_and_the_feed_goes_on_after_the_bad_entry(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    client.xadd("vedette:events", {"v": "1", "m": encode_message(frame(1))})
    publish_events(client, 1)

    def refuse(bad: BadEntry) -> None:
        raise MessageError(bad.error)

    feed = open_reader(server.url, on_bad=refuse).events(start="0", idle_s=0)

    with pytest.raises(MessageError, match="Expected an event, got a frame"):
        next(feed)
    assert feed.shown() == [1]


def test_bad_entries_are_logged_when_nobody_is_told(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader, caplog: pytest.LogCaptureFixture
) -> None:
    entry_id = client.xadd("vedette:events", {"v": "1"})

    assert open_reader(server.url).events(start="0", idle_s=0).shown() == []

    assert f"skipped entry {entry_id} of vedette:events: Entry missing required field `m`" in caplog.text


def test_latest_and_streams_answer_at_once(server: RedisServer, client: redis.Redis, open_reader: OpenReader) -> None:
    reader = open_reader(server.url)
    assert reader.ask("latest", "gate") is None
    assert reader.ask("streams") == {}
    publish_frames(client, 1, 2)
    announce(client, "lobby", "gate")

    assert reader.ask("latest", "gate").message == frame(2)
    assert list(reader.ask("streams")) == ["gate", "lobby"]
    assert reader.ask("streams")["gate"].state == "streaming"


def test_a_state_that_is_no_state_is_a_message_error(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    client.hset("vedette:streams", "gate", encode_message(event(1)))

    with pytest.raises(MessageError, match='stream "gate": expected its latest state, got TrackStarted'):
        open_reader(server.url).ask("streams")


def test_another_prefix_is_another_world(server: RedisServer, client: redis.Redis, open_reader: OpenReader) -> None:
    client.xadd("site-2:events", {"v": "1", "m": encode_message(event(5))})
    publish_event(client, event(1))

    assert open_reader(server.url, prefix="site-2").events(start="0", idle_s=0).shown() == [5]


def test_a_key_of_another_type_ends_the_feed_with_one_line(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    client.set("vedette:events", "text")

    with pytest.raises(SubscribeError, match=r"Redis at redis://127.0.0.1:\d+/0 refused: WRONGTYPE") as raised:
        next(open_reader(server.url).events(start="0"))
    assert len(raised.value.lines()) == 1


@pytest.mark.parametrize("start", ["", "now", "-", "1-", "1-2-3", "-5", "1.5", "$1", "٣", f"{2**64}"])
def test_a_start_that_is_none_is_refused_before_anything_is_sent(
    start: str, server: RedisServer, open_reader: OpenReader
) -> None:
    reader = open_reader(server.url)

    with pytest.raises(UsageError, match="start: expected"):
        reader.events(start=start)
    with pytest.raises(UsageError, match="start: expected"):
        reader.frames("gate", start={"gate": start})


def test_what_is_no_text_is_refused_in_words(server: RedisServer, open_reader: OpenReader) -> None:
    reader: Any = open_reader(server.url)

    with pytest.raises(UsageError, match=r"start: expected .*, got 1795197600000") as caught:
        reader.frames(start=1795197600000)
    assert caught.value.hint == "give it as text, in quotes"
    with pytest.raises(UsageError, match=r"frames: expected the ids of streams as text, got \['gate'\]"):
        reader.frames(["gate"])
    with pytest.raises(UsageError, match="expected the URL of a Redis as text, got int"):
        open_reader(5)


def test_the_url_comes_from_the_environment_when_none_is_given(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VEDETTE_REDIS_URL", server.url)
    publish_events(client, 1)

    assert open_reader(None).events(start="0", idle_s=0).shown() == [1]


def test_without_any_url_the_variable_is_named(open_reader: OpenReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VEDETTE_REDIS_URL", raising=False)

    with pytest.raises(UsageError, match="VEDETTE_REDIS_URL"):
        open_reader(None)


def test_what_a_query_in_the_url_asks_of_the_library_does_not_disturb_us(
    server: RedisServer, client: redis.Redis, open_reader: OpenReader
) -> None:
    publish_events(client, 1, 2)
    query = "?protocol=3&decode_responses=True&socket_timeout=0.001&health_check_interval=1&max_connections=1"

    assert open_reader(server.url + query).events(start="0", idle_s=0.05).shown() == [1, 2]
