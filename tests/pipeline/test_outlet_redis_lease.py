"""Who may write a frame stream: one process at a time, and a successor soon."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis

from stages.sink.redis import Lease, RedisPublisher
from stages.types import StreamId
from tests.support.outlets import (
    MS,
    QUICK,
    Rig,
    events_in,
    eventually,
    frames_in,
    missing,
    numbers,
    redis_options,
    told,
)
from tests.support.redis_server import RedisServer

StartRig = Callable[..., Rig]
StartChild = Callable[..., "Child"]
LONG = dataclasses.replace(QUICK, lease_ns=60_000 * MS)


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def start_rig(tmp_path: Path, redis_server: RedisServer) -> Iterator[StartRig]:
    rigs: list[Rig] = []

    def start(spool: str = "spool", **options: object) -> Rig:
        rigs.append(Rig(redis_options(redis_server.url, tmp_path / spool), **options))  # type: ignore[arg-type]
        return rigs[-1]

    yield start
    for rig in rigs:
        rig.outlet.close(0)
        rig.supervisor.join(timeout_s=20)


class Child:
    """The process of tests/support/outlet_child.py."""

    def __init__(self, url: str, spool: Path, lease_ms: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.outlet_child", url, str(spool), str(lease_ms)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []

    def read_until(self, word: str) -> str:
        """Read its lines up to the next that begins with `word`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if line.startswith(word):
                return line.strip()
        pytest.fail(f"the child ended without {word!r}: {self.lines[-5:]}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        if not self.process.stdout.closed:
            self.lines += self.process.stdout.read().split("\n")
            self.process.stdout.close()


@pytest.fixture
def start_child(tmp_path: Path, redis_server: RedisServer) -> Iterator[StartChild]:
    children: list[Child] = []

    def start(spool: str, lease_ms: int) -> Child:
        children.append(Child(redis_server.url, tmp_path / spool, lease_ms))
        return children[-1]

    yield start
    for child in children:
        child.end()


def test_a_second_deployment_is_refused_after_one_expiry_and_the_first_is_not_disturbed(
    client: redis.Redis, start_rig: StartRig
) -> None:
    first = start_rig("one", run="first")
    first.frame()
    first.wait_for(lambda t: t.delivered == 1)
    second = start_rig("two", run="second")
    second.frame()
    second.wait_for(lambda t: t.dropped)
    second.frame("file")
    assert "another process holds the lease of cam" in (second.outlet.problem() or "")
    second.wait_for(lambda t: set(second.leased) == {"cam", "gate", "file"})
    second.frame()
    totals = second.close()
    assert set(totals.dropped) == {"leased"}
    assert totals.delivered == totals.gaps
    first.frame()
    assert set(first.close().dropped) == set()
    assert {frame.run for frame in frames_in(client)} == {"first"}
    assert first.leased == []


def test_a_lease_left_by_a_dead_process_is_waited_for_and_taken(client: redis.Redis, start_rig: StartRig) -> None:
    rig = start_rig(start=False)
    for stream in ("cam", "gate", "file"):
        client.set(f"test:lease:{stream}", "somebody:else", px=2000)
    rig.start()
    rig.frames_until_dropped(1)
    rig.frame("file")
    rig.wait_for(lambda t: t.delivered >= 1)
    rig.wait_for(lambda t: "lease" not in (rig.outlet.problem() or ""))
    last = rig.frame()
    totals = rig.close()
    assert rig.leased == []
    assert set(totals.dropped) == {"leased"}
    assert missing(client, "file", 1) == set()
    assert last in numbers(frames_in(client))
    assert told(client, "cam", "leased") == missing(client, "cam", last)


def test_a_lease_that_is_told_of_late_is_waited_for_as_well(
    client: redis.Redis, start_rig: StartRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is slow when the first question is asked: what is left then counts from the answer."""
    ask = RedisPublisher.lease
    asked = []

    def ask_late(publisher: RedisPublisher, streams: Sequence[StreamId], *, first: bool) -> dict[StreamId, Lease]:
        if first and not asked:
            asked.append(streams)
            left_ms = client.pttl("test:lease:cam")
            eventually(lambda: client.pttl("test:lease:cam") < left_ms - 200)
        return ask(publisher, streams, first=first)

    monkeypatch.setattr(RedisPublisher, "lease", ask_late)
    rig = start_rig(start=False)
    client.set("test:lease:cam", "somebody:else", px=2000)
    rig.start()
    rig.frames_until_dropped(1)
    rig.wait_for(lambda t: "lease" not in (rig.outlet.problem() or ""))
    last = rig.frame()
    rig.close()
    assert asked
    assert rig.leased == []
    assert last in numbers(frames_in(client))


def test_a_lease_taken_away_stops_the_stream_and_nothing_of_it_is_written(
    client: redis.Redis, start_rig: StartRig
) -> None:
    rig = start_rig()
    rig.frame("cam")
    rig.frame("gate")
    rig.wait_for(lambda t: t.delivered == 2)
    client.set("test:lease:cam", "somebody:else", px=60_000)
    rig.frame("cam")
    rig.wait_for(lambda t: rig.leased == ["cam"])
    rig.frame("cam")
    rig.frame("gate")
    totals = rig.close()
    assert numbers(frames_in(client, "cam")) == [1]
    assert numbers(frames_in(client, "gate")) == [1, 2]
    assert totals.dropped == {"leased": 2}
    assert client.get("test:lease:cam") == "somebody:else"
    assert client.get("test:lease:gate") is None


def test_a_lease_that_ran_out_unnoticed_is_taken_again(client: redis.Redis, start_rig: StartRig) -> None:
    rig = start_rig()
    rig.frame("file")
    rig.wait_for(lambda t: t.delivered == 1)
    client.delete("test:lease:file")
    rig.frame("file")
    rig.close()
    assert missing(client, "file", 2) == set()
    assert rig.leased == []


def test_killed_and_started_again_at_once_it_has_its_own_lease_and_its_events(
    client: redis.Redis, start_rig: StartRig, start_child: StartChild
) -> None:
    child = start_child("spool", 60_000)
    child.read_until("frame 20")
    eventually(lambda: client.pttl("test:lease:cam") > 30_000)
    child.end()
    promised = max(int(line.split()[1]) for line in child.lines if line.startswith("spooled "))
    rig = start_rig("spool", times=LONG, run="successor")
    rig.frame()
    totals = rig.close()
    assert rig.leased == []
    assert totals.dropped == {}
    assert totals.delivered == totals.recovered + 1
    events = numbers(events_in(client))
    assert events == list(range(1, len(events) + 1))
    assert len(events) >= promised
    assert frames_in(client)[-1].run == "successor"


def test_a_paused_process_whose_lease_went_to_another_writes_nothing_more(
    client: redis.Redis, start_rig: StartRig, start_child: StartChild
) -> None:
    child = start_child("paused", 400)
    child.read_until("frame 5")
    eventually(lambda: client.exists("test:lease:cam"))
    os.kill(child.process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.process.pid, os.WSTOPPED | os.WNOWAIT)
    rig = start_rig("other", run="other")
    rig.frame("file")
    rig.wait_for(lambda t: rig.outlet.problem() is None)
    assert rig.leased == []
    rig.frame()
    rig.wait_for(lambda t: numbers(frames_in(client)) and frames_in(client)[-1].run == "other")
    before = len(frames_in(client))
    os.kill(child.process.pid, signal.SIGCONT)
    assert child.read_until("leased") == "leased cam"
    child.process.wait()
    rig.frame()
    rig.close()
    assert [frame.run for frame in frames_in(client)][before:] == ["other"]
    assert rig.leased == []


def test_a_copy_of_the_spool_cannot_write_beside_the_original(
    client: redis.Redis, start_rig: StartRig, tmp_path: Path
) -> None:
    start_rig("one").close()
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "id").write_bytes((tmp_path / "one" / "id").read_bytes())
    original = start_rig("one", run="original")
    original.frame()
    original.wait_for(lambda t: t.delivered == 1)
    copy = start_rig("two", run="copy")
    copy.frame()
    copy.wait_for(lambda t: t.delivered == 1)
    original.frame()
    original.wait_for(lambda t: "cam" in original.leased)
    original.close()
    copy.frame()
    copy.close()
    assert [frame.run for frame in frames_in(client)] == ["original", "copy", "copy"]
    assert copy.leased == []


def test_the_latest_state_is_the_successors_as_soon_as_it_has_the_lease(
    client: redis.Redis, start_rig: StartRig
) -> None:
    first = start_rig("one", run="first", times=LONG)
    first.state("streaming")
    first.wait_for(lambda t: t.delivered == 1)
    second = start_rig("two", run="second", times=LONG)
    second.state("streaming")
    second.wait_for(lambda t: t.delivered == 1)
    assert "first" in str(client.hget("test:streams", "cam")), "while another has the lease, so is the state"
    first.close()
    eventually(lambda: "second" in str(client.hget("test:streams", "cam")))
    second.close()
