"""The spool's thread in an outlet: Redis and the disk fail, each by itself, and neither holds up the other."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.spool import Directory
from tests.support.outlets import Rig, events_in, eventually, frames_in, numbers, redis_options
from tests.support.redis_server import RedisServer
from vedette.messages import GapEvent

StartRig = Callable[..., Rig]


class SpoolDisk:
    """Stands between the spool and the disk: makes fsync wait, or fail as on a full or a broken disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: int | None = None
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.waiting = threading.Event()
        fsync, pwrite = os.fsync, os.pwrite

        def slow_fsync(fd: int) -> None:
            if not self.goes_on.is_set():
                self.waiting.set()
                self.goes_on.wait(30)
            fsync(fd)

        def failing_pwrite(fd: int, data: bytes, offset: int) -> int:
            if self.error is not None:
                pwrite(fd, bytes(data)[: len(data) // 2], offset)
                raise OSError(self.error, os.strerror(self.error))
            return pwrite(fd, data, offset)

        monkeypatch.setattr("pipeline.spool.directory.os.fsync", slow_fsync)
        monkeypatch.setattr("pipeline.spool.directory.os.pwrite", failing_pwrite)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SpoolDisk:
    return SpoolDisk(monkeypatch)


@pytest.fixture
def start_rig(tmp_path: Path, redis_server: RedisServer) -> Iterator[StartRig]:
    rigs: list[Rig] = []

    def start() -> Rig:
        rigs.append(Rig(redis_options(redis_server.url, tmp_path / "spool")))
        return rigs[-1]

    yield start
    for rig in rigs:
        rig.outlet.close(0)
        rig.supervisor.join(timeout_s=20)


def test_a_disk_that_hangs_does_not_hold_up_frames(
    redis_server: RedisServer, start_rig: StartRig, disk: SpoolDisk
) -> None:
    rig = start_rig()
    rig.event(1)
    rig.wait_for(lambda t: t.delivered == 1)
    disk.goes_on.clear()
    rig.event(2)
    eventually(disk.waiting.is_set)
    rig.frames(20)
    rig.wait_for(lambda t: t.delivered == 21)
    assert rig.totals.waiting == 1
    disk.goes_on.set()
    assert rig.close().delivered == 22


def test_a_redis_that_hangs_does_not_hold_up_promises(redis_server: RedisServer, start_rig: StartRig) -> None:
    rig = start_rig()
    rig.frame("file")
    rig.wait_for(lambda t: t.delivered == 1)
    redis_server.pause()
    rig.frame("file")
    for number in range(10):
        rig.event(number)
    rig.wait_for(lambda t: t.spooled == 10)
    redis_server.resume()
    assert rig.close().delivered == 12


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_nothing_drops_new_events_says_so_and_recovers(
    redis_server: RedisServer, start_rig: StartRig, disk: SpoolDisk, number: int
) -> None:
    rig = start_rig()
    rig.event(1)
    rig.wait_for(lambda t: t.delivered == 1)
    disk.error = number
    rig.event(2)
    rig.event(3)
    rig.wait_for(lambda t: t.dropped == {"spool_error": 2})
    says = f"cannot be written: {os.strerror(number)}: new events are dropped"
    eventually(lambda: says in (rig.outlet.problem() or ""))  # a moment after the drop is counted
    rig.frame()
    rig.wait_for(lambda t: t.delivered == 2)
    disk.error = None
    rig.wait_for(lambda t: t.gaps == 1 and t.delivered == 3)
    assert rig.outlet.problem() is None
    rig.event(4)
    rig.close()
    with redis_server.client() as client:
        events = events_in(client)
        assert numbers(events) == [1, 2, 3]
        gap = events[1]
        assert isinstance(gap, GapEvent)
        assert (gap.what, gap.count, gap.reason, gap.stream) == ("events", 2, "spool_error", "cam")
        assert numbers(frames_in(client)) == [1]


@pytest.mark.parametrize("how", ["gone", "unreadable"])
def test_a_segment_that_cannot_be_read_holds_back_nothing_behind_it(
    redis_server: RedisServer, start_rig: StartRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    unreadable: set[str] = set()

    class BadSector(Directory):
        def read(self, name: str, offset: int, size: int) -> bytes:
            if name in unreadable:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(name, offset, size)

    monkeypatch.setattr("pipeline.outlet.Directory", BadSector)
    redis_server.stop()
    rig = start_rig()
    for number in range(2000):  # more than is read ahead, in several segments
        rig.event(number)
    rig.wait_for(lambda t: t.spooled == 2000)
    segment = sorted((tmp_path / "spool").glob("*.v1"))[2]
    if how == "gone":
        segment.unlink()
    else:
        unreadable.add(segment.name)
    redis_server.start()
    rig.wait_for(lambda t: t.spooled == 0 and t.gaps == 1)
    rig.event(5000)
    lost = rig.totals.dropped["spool_error"]
    rig.wait_for(lambda t: t.delivered == 2002 - lost)
    assert 0 < lost < 1000
    assert rig.outlet.problem() is None
    rig.close()
    with redis_server.client() as client:
        (gap,) = [event for event in events_in(client) if isinstance(event, GapEvent)]
    assert (gap.what, gap.count, gap.reason) == ("events", lost, "spool_damaged")


def test_damage_found_at_the_start_is_logged_and_told(
    redis_server: RedisServer, start_rig: StartRig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.stop()
    rig = start_rig()
    for number in range(3):
        rig.event(number)
    rig.wait_for(lambda t: t.spooled == 3)
    rig.close()
    (segment,) = (tmp_path / "spool").glob("*.v1")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(data)
    redis_server.start()
    rig = start_rig()
    totals = rig.close()
    assert totals.recovered == 2
    assert totals.delivered == 3
    with redis_server.client() as client:
        events = events_in(client)
    assert numbers(events) == [1, 3, 4]
    gap = events[-1]
    assert isinstance(gap, GapEvent)
    assert (gap.what, gap.count, gap.first, gap.last, gap.reason) == ("events", 1, 2, 2, "spool_damaged")
    lost = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage().partition(": ")[2] for record in lost] == [
        f"events 2 of {events[0].producer} to 2 are lost"
    ]


def test_many_events_at_once_are_all_there_in_order(redis_server: RedisServer, start_rig: StartRig) -> None:
    rig = start_rig()
    for number in range(3000):
        rig.event(number)
    totals = rig.close()
    assert totals.delivered == 3000
    with redis_server.client() as client:
        assert numbers(events_in(client)) == list(range(1, 3001))
