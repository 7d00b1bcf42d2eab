"""Servers that die, stall, come back without their data; feeds that are closed, cancelled and interrupted."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import threading
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support.published import announce, event, frame, publish_event, publish_events, publish_frames
from tests.support.redis_server import RedisServer, StartRedis, free_port
from tests.support.subscribers import OpenReader
from vedette import AsyncSubscriber, Gap, Subscriber
from vedette.client import LinkChange, follow, group
from vedette.errors import SubscribeError, UsageError, VedetteError


def test_a_server_that_is_killed_and_comes_back_with_its_data_costs_nothing(
    redis_server: RedisServer, open_reader: OpenReader
) -> None:
    changes: list[LinkChange] = []
    with redis_server.client() as client:
        publish_frames(client, 1, 2)
        client.config_set("appendfsync", "always")
        feed = open_reader(redis_server.url, on_link=changes.append).frames("gate", start="0")
        assert feed.take_shown(2) == [1, 2]
        publish_frames(client, 3)

    redis_server.restart()
    with redis_server.client() as client:
        publish_frames(client, 4)

    assert feed.take_shown(2) == [3, 4]
    assert [change.up for change in changes] == [False, True]
    assert f"Redis at {redis_server.url} cannot be reached: " in changes[0].text


def test_a_feed_started_while_the_server_is_away_waits_for_it(
    redis_server: RedisServer, open_reader: OpenReader
) -> None:
    with redis_server.client() as client:
        publish_frames(client, 1)
    redis_server.kill()
    started = threading.Event()

    def restart(change: LinkChange) -> None:
        if not change.up and not started.is_set():
            started.set()
            redis_server.start()

    feed = open_reader(redis_server.url, on_link=restart).frames("gate", start="0")

    assert feed.take_shown(1) == [1]


def test_a_server_that_comes_back_empty_is_read_from_its_beginning_with_a_gap(
    redis_server: RedisServer, open_reader: OpenReader
) -> None:
    with redis_server.client() as client:
        publish_frames(client, 50, 51)
        feed = open_reader(redis_server.url).frames("gate", start="0")
        assert feed.take_shown(2) == [50, 51]

    redis_server.restart(keep_data=False)
    with redis_server.client() as client:
        publish_frames(client, 1, 2, run="run-2")

    assert feed.take_shown(3) == ["? reset", 1, 2]


def test_an_empty_server_whose_frames_continue_the_run_shows_exactly_what_is_missing(
    redis_server: RedisServer, open_reader: OpenReader
) -> None:
    reader = open_reader(redis_server.url)
    with redis_server.client() as client:
        publish_frames(client, 1, 2)
        feed = reader.frames("gate", start="0")
        assert feed.take_shown(2) == [1, 2]

    redis_server.restart(keep_data=False)
    with redis_server.client() as client:
        publish_frames(client, 5, 6)

    gap, *items = feed.take(3)
    assert (gap.first, gap.last, gap.count, gap.run) == (3, 4, 2, "run-1")
    assert [item.message.n for item in items] == [5, 6]


def test_another_stream_under_the_same_ids_is_not_mistaken_for_the_old_one(
    redis_server: RedisServer, open_reader: OpenReader
) -> None:
    with redis_server.client() as client:
        publish_frames(client, 1, 2, 3)
        feed = open_reader(redis_server.url).frames("gate", start="0")
        assert feed.take_shown(3) == [1, 2, 3]

    redis_server.restart(keep_data=False)
    with redis_server.client() as client:
        publish_frames(client, 1, 2, 3, 4, run="another-model")

    assert feed.take_shown(5) == ["? reset", 1, 2, 3, 4]


def test_a_server_that_lost_its_last_second_is_followed_from_what_both_still_know(
    start_redis: StartRedis, open_reader: OpenReader
) -> None:
    server = start_redis(persistence="rdb")
    with server.client() as client:
        publish_frames(client, 1, 2, 3)
        client.save()
        publish_frames(client, 4, 5)
        feed = open_reader(server.url).frames("gate", start="0")
        assert feed.take_shown(5) == [1, 2, 3, 4, 5]

    _restart_from_rdb(server)
    with server.client() as client:
        assert client.xlen("vedette:frames:gate") == 3
        publish_frames(client, 6, 7)

    assert feed.take_shown(2) == [6, 7]


def test_events_sent_again_after_the_server_lost_them_are_yielded_once(
    start_redis: StartRedis, open_reader: OpenReader
) -> None:
    server = start_redis(persistence="none")
    with server.client() as client:
        publish_events(client, 1, 2, 3)
        feed = open_reader(server.url).events(start="0")
        assert feed.take_shown(3) == [1, 2, 3]

    server.restart(keep_data=False)
    with server.client() as client:
        publish_events(client, 2, 3, 4)

    gap, item = feed.take(2)
    assert gap == Gap(key="vedette:events", stream="", reason="reset") or gap.reason == "trimmed"
    assert item.message.n == 4


def test_a_stalled_server_is_waited_for_and_nothing_is_lost(
    redis_server: RedisServer, open_reader: OpenReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vedette.client.wire.ANSWER_S", 0.1)
    changes: list[LinkChange] = []

    def wake(change: LinkChange) -> None:
        changes.append(change)
        redis_server.resume()

    with redis_server.client() as client:
        publish_frames(client, 1)
        feed = open_reader(redis_server.url, on_link=wake).frames("gate", start="0")
        assert feed.take_shown(1) == [1]
        publish_frames(client, 2)
        redis_server.pause()

        assert feed.take_shown(1) == [2]
    assert not changes[0].up
    assert "imeout" in changes[0].text


def test_a_member_whose_server_is_killed_goes_on_and_acknowledges_what_it_could_not(
    redis_server: RedisServer, open_reader: OpenReader
) -> None:
    with redis_server.client() as client:
        client.config_set("appendfsync", "always")
        publish_events(client, 1, 2, 3)
        feed = open_reader(redis_server.url).group("alarms", start="0").events(idle_s=0.2)
        assert feed.take_shown(2) == [1, 2]

    redis_server.restart()

    items = list(feed)
    assert [(item.message.n, item.redelivered) for item in items] == [(3, True)]
    with redis_server.client() as client:
        assert client.xpending("vedette:events", "alarms")["pending"] == 0


def test_an_ack_while_the_server_is_away_is_made_up_for(redis_server: RedisServer, open_reader: OpenReader) -> None:
    with redis_server.client() as client:
        client.config_set("appendfsync", "always")
        publish_events(client, 1, 2)
        feed = open_reader(redis_server.url).group("alarms", start="0").events(auto_ack=False, idle_s=0.2)
        items = feed.take(2)

    redis_server.kill()
    feed.ack(*items)
    redis_server.start()

    assert list(feed) == []
    with redis_server.client() as client:
        assert client.xpending("vedette:events", "alarms")["pending"] == 0


def test_a_group_on_a_server_that_comes_back_empty_is_made_anew(
    redis_server: RedisServer, open_reader: OpenReader
) -> None:
    with redis_server.client() as client:
        publish_events(client, 1, 2)
    feed = open_reader(redis_server.url).group("alarms", start="0").events()
    assert feed.take_shown(2) == [1, 2]

    redis_server.restart(keep_data=False)
    with redis_server.client() as client:
        publish_events(client, 3)

    assert feed.take_shown(2) == ["? reset", 3]


def test_single_questions_find_a_restarted_server_and_fail_clearly_without_one(
    redis_server: RedisServer, open_reader: OpenReader
) -> None:
    reader = open_reader(redis_server.url)
    with redis_server.client() as client:
        announce(client, "gate")
    assert list(reader.ask("streams")) == ["gate"]

    redis_server.restart(keep_data=False)
    assert reader.ask("streams") == {}
    redis_server.kill()

    with pytest.raises(
        SubscribeError, match=r"Redis at redis://127.0.0.1:\d+/0 cannot be reached: Error 111"
    ) as raised:
        reader.ask("latest", "gate")
    assert len(raised.value.lines()) == 1


def test_a_wrong_password_ends_the_feed_and_is_shown_nowhere(
    start_redis: StartRedis, open_reader: OpenReader, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_redis(password="right")
    url = server.url.replace(":right@", ":hunter%2F2@")
    caplog.set_level(logging.DEBUG)

    for ask in (
        lambda: next(open_reader(url).events(start="0")),
        lambda: next(open_reader(url).group("g").events()),
        lambda: open_reader(url).ask("streams"),
    ):
        with pytest.raises(
            SubscribeError, match=r"Redis at redis://\*\*\*@127.0.0.1:\d+/0 refused: .*password"
        ) as raised:
            ask()
        assert raised.value.hint == "check the password in the URL"
        assert raised.value.exit_status == 2
        assert "hunter" not in _all_texts(raised.value)
    assert "hunter" not in repr(open_reader(url).subscriber)
    assert "hunter" not in caplog.text


def test_a_password_is_used_and_masked_in_the_report_of_an_outage(
    start_redis: StartRedis, open_reader: OpenReader, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_redis(password="hunter2", persistence="none")
    with server.client() as client:
        publish_events(client, 1)
    feed = open_reader(server.url).events(start="0")
    assert feed.take_shown(1) == [1]

    server.restart()
    with server.client() as client:
        publish_events(client, 2)
    feed.take(1)

    assert "Redis at redis://***@127.0.0.1" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter/2@127.0.0.1:6379/0",
        "redis://:hunter#2@127.0.0.1:6379/0",
        "redis://:hunter2@127.0.0.1:port/0",
        "redis://:hunter2@127.0.0.1:99999/0",
        "redis://:hunter2@[127.0.0.1/0",
        "redis://:hunter2@/0",
        "redis://:hunter2@127.0.0.1:6379/zero",
        "http://:hunter2@127.0.0.1",
        ":hunter2@127.0.0.1",
        "redis://:hunter2@127.0.0.1:6379/0?socket_timeout=hunter2",
        "redis://127.0.0.1:6379/0?password=hunter2&nonsense=1",
        "rediss://:hunter2@127.0.0.1:6379/0?ssl_cert_reqs=hunter2",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_showing_it(url: str, open_reader: OpenReader) -> None:
    with pytest.raises((UsageError, SubscribeError)) as raised:
        open_reader(url)

    assert "hunter" not in _all_texts(raised.value)
    assert raised.value.exit_status == 2


def test_unix_sockets_are_followed_too(start_redis: StartRedis, open_reader: OpenReader) -> None:
    server = start_redis(unix=True)
    with server.client() as client:
        publish_events(client, 1)

    assert open_reader(server.url).events(start="0", idle_s=0).shown() == [1]


def test_rediss_verifies_the_certificate_unless_told_otherwise(
    start_redis: StartRedis, open_reader: OpenReader, tmp_path: Path
) -> None:
    certificate, key = _certificate(tmp_path)
    server = start_redis(tls=(certificate, key, certificate))
    with server.client() as client:
        publish_event(client, event(1))

    with pytest.raises(SubscribeError, match="certificate verify failed"):
        open_reader(server.url).ask("streams")
    assert open_reader(server.url, tls_ca=str(certificate)).events(start="0", idle_s=0).shown() == [1]
    assert open_reader(server.url, tls_verify=False).events(start="0", idle_s=0).shown() == [1]


def test_closing_from_another_thread_ends_the_iteration(redis_server: RedisServer) -> None:
    subscriber = Subscriber(redis_server.url, block_s=0.05)
    waiting = [subscriber.frames("gate"), subscriber.frames(), subscriber.events(), subscriber.group("g").events()]
    ends: list[list[Any]] = []
    threads = [threading.Thread(target=lambda feed=feed: ends.append(list(feed))) for feed in waiting]
    for thread in threads:
        thread.start()

    subscriber.close()
    for thread in threads:
        thread.join(timeout=30)

    assert ends == [[], [], [], []]


def test_closing_ends_a_back_off_at_once() -> None:
    down = threading.Event()
    subscriber = Subscriber(f"redis://127.0.0.1:{free_port()}/0", on_link=lambda _: down.set())
    feed = subscriber.events()
    ends: list[list[Any]] = []
    thread = threading.Thread(target=lambda: ends.append(list(feed)))
    thread.start()
    assert down.wait(30)

    subscriber.close()
    thread.join(timeout=30)

    assert ends == [[]]


def test_a_closed_feed_stays_closed(redis_server: RedisServer, open_reader: OpenReader) -> None:
    with redis_server.client() as client:
        publish_events(client, 1, 2)
    feed = open_reader(redis_server.url).events(start="0")
    assert feed.take_shown(1) == [1]

    feed.close()
    feed.close()

    assert list(feed) == []


def test_an_interrupt_while_waiting_loses_nothing(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with Subscriber(redis_server.url, block_s=0.05) as subscriber, redis_server.client() as client:
        feed = subscriber.frames("gate", start="0")
        publish_frames(client, 1)
        assert next(feed).message.n == 1  # type: ignore[union-attr] # no gap can come first
        execute = feed._wire.execute

        def interrupted(*args: Any) -> Any:
            feed._wire._connection.send_command(*args)
            feed._wire.execute = execute  # type: ignore[method-assign] # as it was
            raise KeyboardInterrupt

        monkeypatch.setattr(feed._wire, "execute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(feed)
        publish_frames(client, 2)

        assert next(feed).message == frame(2)  # type: ignore[union-attr] # no gap can come here


def test_an_interrupt_while_an_entry_is_read_loses_nothing(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Subscriber(redis_server.url, block_s=0.05) as subscriber, redis_server.client() as client:
        publish_frames(client, 1, 2, 3)
        feeds = [subscriber.frames("gate", start="0"), subscriber.group("g", start="0").frames("gate")]
        for feed, module in zip(feeds, (follow, group), strict=True):
            assert next(feed).message.n == 1  # type: ignore[union-attr] # no gap can come first
            read_frame = module.read_frame

            def interrupted(*args: Any, module: Any = module, read_frame: Any = read_frame, **named: Any) -> NoReturn:
                module.read_frame = read_frame  # as it was
                raise KeyboardInterrupt

            monkeypatch.setattr(module, "read_frame", interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(feed)

            assert [next(feed).message.n for _ in range(2)] == [2, 3]  # type: ignore[union-attr] # no gap can come here


def test_a_server_that_is_away_is_told_of_once_whatever_the_start(open_reader: OpenReader) -> None:
    changes: list[LinkChange] = []
    enough = threading.Event()
    port = free_port()
    with Subscriber(f"redis://127.0.0.1:{port}/0", on_link=changes.append) as subscriber:
        feed = subscriber.events(start="0")
        attempts = 0
        execute = feed._wire.execute

        def counted(*args: Any) -> Any:
            nonlocal attempts
            attempts += 1
            if attempts == 4:
                enough.set()
            return execute(*args)

        feed._wire.execute = counted  # type: ignore[method-assign] # the same, counted
        thread = threading.Thread(target=lambda: list(feed))
        thread.start()
        assert enough.wait(30)
        feed.close()
        thread.join()
    assert [change.up for change in changes] == [False]


def test_a_server_that_refuses_for_now_is_waited_for(redis_server: RedisServer, open_reader: OpenReader) -> None:
    changes: list[LinkChange] = []
    with redis_server.client() as client:
        publish_events(client, 1)

        def back(change: LinkChange) -> None:
            changes.append(change)
            if not change.up:
                client.config_set("min-replicas-to-write", 0)

        client.config_set("min-replicas-to-write", 1)  # a group is written to, and refused: NOREPLICAS
        feed = open_reader(redis_server.url, on_link=back).group("g", start="0").events()
        assert feed.take_shown(1) == [1]
    assert [change.up for change in changes] == [False, True]
    assert "NOREPLICAS" in changes[0].text


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_cannot_be_read_are_named_before_anything_is_tried(
    content: str | None, tmp_path: Path, open_reader: OpenReader
) -> None:
    authorities = tmp_path / "ca.pem"
    if content is not None:
        authorities.write_text(content)
    with pytest.raises(UsageError, match=r"tls_ca: expected a PEM file of authorities, got .*ca\.pem: ") as raised:
        open_reader("rediss://user:secret@127.0.0.1:1/0", tls_ca=str(authorities))
    assert "secret" not in str(raised.value)


def test_cancelling_a_task_loses_nothing_and_closing_ends_the_others(redis_server: RedisServer) -> None:
    async def cancel_and_go_on() -> list[Any]:
        async with AsyncSubscriber(redis_server.url, block_s=0.05) as subscriber:
            feed = subscriber.frames("gate", start="0")
            members = subscriber.group("g", start="0").frames("gate")
            with redis_server.client() as client:
                seen: list[Any] = []
                for n in range(1, 6):
                    for waiting in (feed, members):
                        task = asyncio.ensure_future(anext(waiting))
                        await asyncio.sleep(0)
                        task.cancel()
                        with pytest.raises(asyncio.CancelledError):
                            await task
                    publish_frames(client, n)
                    seen.append((await anext(feed)).message.n)
                    seen.append((await anext(members)).message.n)
            end = asyncio.ensure_future(_collect(feed))
            await asyncio.sleep(0)
            await subscriber.close()
            seen.append(await end)
            return seen

    assert asyncio.run(cancel_and_go_on()) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, []]


def test_two_tasks_cannot_iterate_one_feed(redis_server: RedisServer) -> None:
    async def both() -> None:
        async with AsyncSubscriber(redis_server.url, block_s=0.05) as subscriber:
            feed = subscriber.events()
            first = asyncio.ensure_future(anext(feed))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task"):
                await anext(feed)
            await feed.close()
            with pytest.raises(StopAsyncIteration):
                await first

    asyncio.run(both())


async def _collect(feed: Any) -> list[Any]:
    return [item async for item in feed]


def _all_texts(error: BaseException | None) -> str:
    """Everything that a traceback of `error` would print of exceptions."""
    texts = []
    while error is not None:
        texts.append(f"{error!r} {error} {error.lines() if isinstance(error, VedetteError) else ''}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(texts)


def _certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    certificate, key = directory / "cert.pem", directory / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *more], check=True, capture_output=True)
    return certificate, key


def _restart_from_rdb(server: RedisServer) -> None:
    """Kill -9 and start again with what `SAVE` wrote last."""
    server.kill()
    server.start()
