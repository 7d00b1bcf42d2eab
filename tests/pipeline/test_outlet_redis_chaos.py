"""Everything at once, in an order that a seed chooses: nothing lost that was promised, nothing twice, all told."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.outlets import Rig, events_in, frames_in, missing, numbers, redis_options, told
from tests.support.redis_server import RedisServer, StartRedis


class Chaos:
    """Publishes and breaks things; whatever the order, Redis keeps its data (AOF)."""

    def __init__(self, seed: int, server: RedisServer, spool: Path) -> None:
        self.random = random.Random(seed)
        self.server = server
        self.options = redis_options(server.url, spool)
        self.rig = Rig(self.options, run="run-0")
        self.runs = 1
        self.is_running = True
        self.is_paused = False
        self.published: dict[str, int] = {"run-0": 0}
        self.lossless: dict[str, int] = {"run-0": 0}
        self.dropped = 0

    def step(self) -> None:
        actions: list[tuple[int, Callable[[], None]]] = [
            (30, self.frames),
            (20, self.events),
            (4, self.settle),
            (2, self.kill),
            (4, self.start),
            (1, self.pause),
            (4, self.resume),
            (3, self.cut),
            (1, self.expire),
            (1, self.renew_process),
        ]
        weights, calls = zip(*actions, strict=True)
        self.random.choices(calls, weights)[0]()

    def frames(self) -> None:
        for _ in range(self.random.randrange(1, 10)):
            self.published[self.rig.run] = self.rig.frame("cam")
        for _ in range(self.random.randrange(3)):
            self.lossless[self.rig.run] = self.rig.frame("file")

    def events(self) -> None:
        for number in range(self.random.randrange(1, 10)):
            self.rig.event(number)

    def settle(self) -> None:
        if self.is_running and not self.is_paused:
            self.rig.wait_for(lambda t: not t.waiting and not t.spooled)

    def kill(self) -> None:
        self.server.kill()
        self.is_running = self.is_paused = False

    def start(self) -> None:
        if not self.is_running:
            self.server.start()
            self.is_running = True

    def pause(self) -> None:
        if self.is_running:
            self.server.pause()
            self.is_paused = True

    def resume(self) -> None:
        if self.is_paused:
            self.server.resume()
            self.is_paused = False

    def cut(self) -> None:
        if self.is_running and not self.is_paused:
            with self.server.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)

    def expire(self) -> None:
        if self.is_running and not self.is_paused:
            with self.server.client() as client:
                client.delete("test:lease:cam", "test:lease:file")

    def renew_process(self) -> None:
        self.settle()
        if self.is_running and not self.is_paused:
            self.end_process()
            self.rig = Rig(self.options, run=f"run-{self.runs}")
            self.runs += 1
            self.published[self.rig.run] = self.lossless[self.rig.run] = 0

    def end_process(self) -> None:
        totals = self.rig.close()
        assert set(totals.dropped) <= {"redis_away", "queue_full"}
        self.dropped += sum(totals.dropped.values())


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_it_adds_up(start_redis: StartRedis, tmp_path: Path, seed: int) -> None:
    chaos = Chaos(seed, start_redis(), tmp_path / "spool")
    for _ in range(60):
        chaos.step()
    chaos.resume()
    chaos.start()
    chaos.settle()
    chaos.end_process()
    # A connection cut at the very end leaves events in the spool, for the next process.
    assert Rig(chaos.options).close().spooled == 0
    with chaos.server.client() as client:
        events = numbers(events_in(client))
        assert events == list(range(1, len(events) + 1))
        lost = 0
        for run, last in chaos.published.items():
            live = [frame.n for frame in frames_in(client, "cam") if frame.run == run]
            assert live == sorted(set(live))
            lost += last - len(live)
            assert [frame.n for frame in frames_in(client, "file") if frame.run == run] == list(
                range(1, chaos.lossless[run] + 1)
            )
        assert lost == chaos.dropped
        if chaos.runs == 1:
            gone = missing(client, "cam", chaos.published["run-0"])
            assert told(client, "cam", "redis_away") | told(client, "cam", "queue_full") == gone
