"""The JSON-lines outlet: order, numbers, a full disk, the end."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.options import JsonlSinkOptions
from stages.sink.jsonl import JsonlFile
from tests.support.outlets import Rig, eventually
from vedette.errors import SinkError
from vedette.messages import FrameMessage, GapEvent, decode_message

StartRig = Callable[..., Rig]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lines.jsonl"


@pytest.fixture
def start_rig(path: Path) -> Iterator[StartRig]:
    rigs: list[Rig] = []

    def start(*, run: str = "run", start: bool = True, **options: object) -> Rig:
        rigs.append(Rig(JsonlSinkOptions(path=str(path), **options), run=run, start=start))  # type: ignore[arg-type]
        return rigs[-1]

    yield start
    for rig in rigs:
        rig.outlet.close(0)
        rig.supervisor.join(timeout_s=20)


class FullDisk:
    """Makes appends fail while it is full, having written half of the line first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        write = os.write

        def half(fd: int, data: bytes) -> int:
            if not self.full:
                return write(fd, data)
            if len(data) > 40:
                return write(fd, bytes(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("stages.sink.jsonl.os.write", half)


def test_frames_and_events_come_out_in_their_order_with_numbers_by_stream(path: Path, start_rig: StartRig) -> None:
    rig = start_rig()
    rig.state("streaming", "cam")
    rig.frame("cam")
    rig.event(1, "cam")
    rig.state("streaming", "file")
    rig.frame("file")
    totals = rig.close()
    messages = [decode_message(line) for line in path.read_bytes().splitlines()]
    assert [(type(m).__name__, m.stream, m.n) for m in messages] == [
        ("StreamState", "cam", 1),
        ("FrameMessage", "cam", 1),
        ("TrackStarted", "cam", 2),
        ("StreamState", "file", 1),
        ("FrameMessage", "file", 1),
    ]
    assert messages[3].producer == "run/file"
    assert totals.delivered == 5
    assert path.read_bytes().endswith(b"\n")


def test_the_same_messages_give_the_same_bytes(path: Path, start_rig: StartRig) -> None:
    texts = []
    for beside in (False, True):
        rig = start_rig()
        for number in range(20):
            rig.frame("file")
            rig.event(number, "file")
            if beside:
                rig.frame("cam")
                rig.event(number, "cam")
        rig.close()
        texts.append([line for line in path.read_bytes().splitlines() if b'"stream":"file"' in line])
        path.unlink()
    assert texts[0] == texts[1]
    assert len(texts[0]) == 40


def test_empty_frames_are_left_out_when_the_sink_says_so(path: Path, start_rig: StartRig) -> None:
    rig = start_rig(empty=False)
    rig.frame(objects=False)
    rig.frame(objects=True)
    assert rig.close().dropped == {"empty": 1}
    assert len(path.read_bytes().splitlines()) == 1


def test_a_full_disk_drops_live_frames_keeps_the_rest_and_leaves_no_half_line(
    path: Path, start_rig: StartRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    rig = start_rig()
    rig.frame("cam")
    rig.wait_for(lambda t: t.delivered == 1)
    disk.full = True
    rig.frames_until_dropped(3)
    rig.frames(3, "file")
    rig.event()
    problem = rig.outlet.problem() or ""
    assert "cannot be written: No space left on device" in problem
    eventually(lambda: len(path.read_bytes().splitlines()) == 1)  # there is half a line while an attempt is made
    disk.full = False
    rig.wait_for(lambda t: not t.waiting)
    eventually(lambda: rig.outlet.problem() is None)
    last = rig.frame("cam")
    totals = rig.close()
    messages = [decode_message(line) for line in path.read_bytes().splitlines()]
    frames = {stream: [m.n for m in messages if isinstance(m, FrameMessage) and m.stream == stream]
              for stream in ("cam", "file")}  # fmt: skip
    assert frames["file"] == [1, 2, 3]
    told = {n for m in messages if isinstance(m, GapEvent) for n in range(m.first or 0, (m.last or 0) + 1)}
    assert told == set(range(1, last + 1)) - set(frames["cam"])
    assert set(totals.dropped) == {"disk"}
    assert len(told) == totals.dropped["disk"]


def test_a_disk_that_stays_full_ends_with_everything_counted(
    path: Path, start_rig: StartRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    disk.full = True
    rig = start_rig()
    rig.frame("cam")
    rig.frame("file")
    rig.event()
    eventually(rig.outlet.problem)
    totals = rig.close(within_s=0.1)
    assert totals.dropped == {"disk": 3}
    assert path.read_bytes() == b""


def test_a_full_queue_drops_its_oldest_live_frames(path: Path, start_rig: StartRig) -> None:
    rig = start_rig(start=False)
    rig.frames(10, "file")
    rig.frames(1030, "cam")
    assert rig.totals.dropped == {"queue_full": 6}
    rig.start()
    rig.close()
    messages = [decode_message(line) for line in path.read_bytes().splitlines()]
    (gap,) = [m for m in messages if isinstance(m, GapEvent)]
    assert (gap.first, gap.last, gap.count) == (1, 6, 6)


def test_what_comes_after_the_end_is_counted(path: Path, start_rig: StartRig) -> None:
    rig = start_rig()
    rig.outlet.close(rig.clock.mono_ns() + 10**9)
    rig.frame()
    rig.event()
    assert rig.close().dropped == {"shutdown": 2}


def test_two_sinks_on_one_file_are_refused(path: Path) -> None:
    file = JsonlFile(str(path))
    with pytest.raises(SinkError, match="in use"):
        Rig(JsonlSinkOptions(path=str(path)))
    file.close()
