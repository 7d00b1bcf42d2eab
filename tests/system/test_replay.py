"""A file's messages are the same, byte for byte, whenever it is run and whatever runs beside it.

The same file alone, and again beside four live streams and itself at another rate; in Redis and in JSON lines.
"""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import pytest

from tests.support.outlets import eventually
from tests.support.process import VedetteProcess
from tests.support.redis_server import RedisServer, StartRedis
from tests.support.shared import SHARED
from tests.support.system import RedisContents, check_summary, read_redis, redis_sink, street_clip, write_config

pytestmark = pytest.mark.system

FRAME = b'{"type":"frame"'
_STREET = "synthetic://street?people=5&vehicles=1&fps=8&size=320x180&seed="
CAMERAS: list[dict[str, Any]] = [{"id": f"camera-{seed}", "url": f"{_STREET}{seed}"} for seed in range(1, 5)]
_OWN = re.compile(rb'"producer":"[^"]*","n":\d+,')


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds in which a walker, a car and a cyclist come and go."""
    folder = tmp_path_factory.mktemp("clip")
    if SHARED is None:
        return street_clip(folder, seconds=8)
    parking = SHARED / "clips" / "intel_person-bicycle-car-detection.mp4"
    return cut(parking, folder / "parking.mkv", from_s=24.0, to_s=34.3)


def cut(clip: Path, out: Path, *, from_s: float, to_s: float) -> Path:
    """Copy the packets from the first key frame at `from_s` or later until `to_s`."""
    with av.open(str(clip)) as source, av.open(str(out), "w") as copy:
        video: Any = source.streams.video[0]
        stream = copy.add_stream_from_template(video)
        begun = False
        for packet in source.demux(video):
            if packet.pts is None or not from_s <= packet.pts * video.time_base < to_s:
                continue
            begun = begun or packet.is_keyframe
            if begun:
                packet.stream = stream
                copy.mux(packet)
    return out


def run_files(
    folder: Path, server: RedisServer, clip: Path, files: dict[str, dict[str, Any]], *, gate: RedisServer | None
) -> tuple[RedisContents, dict[str, list[bytes]]]:
    """Run `files` (stream to its further options) until they are over; with a `gate` beside CAMERAS.

    The gate is one more sink, which stands still until every stream has begun: a file waits for its slowest sink.
    Returns what Redis holds, and the JSON lines of each stream.
    """
    folder.mkdir()
    lines = folder / "detections.jsonl"
    streams = [{"id": name, "url": str(clip), "mode": "file", **options} for name, options in files.items()]
    sinks = [redis_sink(server, folder, prefix=folder.name), {"kind": "jsonl", "path": str(lines)}]
    if gate is not None:
        streams += CAMERAS
        sinks.append(redis_sink(gate, folder / "gate"))
    config = write_config(
        folder,
        streams=streams,
        track={"memory_s": 0.5, "confirm_s": 0.2},
        sinks=sinks,
    )
    begun = {stream["id"] for stream in streams}
    with ExitStack() as at_the_end:
        if gate is not None:
            gate.pause()
            at_the_end.callback(gate.resume)
        vedette = at_the_end.enter_context(VedetteProcess(config))
        if gate is not None:
            eventually(lambda: begun <= {stream for stream, _ in frames_of(lines)}, within_s=60.0)
            gate.resume()
        for name in files:
            vedette.wait_log(name, "ended")
        if gate is not None:
            vedette.terminate()
        assert vedette.wait() == 0, vedette.log
    check_summary(vedette.summary)
    by_stream: dict[str, list[bytes]] = {}
    for line in lines.read_bytes().splitlines():
        by_stream.setdefault(json.loads(line)["stream"], []).append(line)
    if gate is not None:
        order = [stream for stream, _ in frames_of(lines)]
        whole = order[order.index("whole") : len(order) - order[::-1].index("whole")]
        assert set(whole) == begun, "not all ran at the same time"
    return read_redis(server, folder.name), by_stream


def frames_of(lines: Path) -> list[tuple[str, bytes]]:
    """The frames that stand whole in a file of JSON lines by now, in order, each with its stream."""
    if not lines.exists():
        return []
    whole, _, _ = lines.read_bytes().rpartition(b"\n")
    return [(json.loads(line)["stream"], line) for line in whole.splitlines() if line.startswith(FRAME)]


def test_a_file_gives_the_same_messages_byte_for_byte_alone_and_beside_four_live_streams(
    tmp_path: Path, redis_server: RedisServer, start_redis: StartRedis, clip: Path
) -> None:
    files: dict[str, dict[str, Any]] = {"whole": {}, "limited": {"fps": 5, "start": "2026-11-20T18:00:00Z"}}

    alone = {
        name: run_files(tmp_path / f"{name}-alone", redis_server, clip, {name: options}, gate=None)
        for name, options in files.items()
    }
    beside = run_files(tmp_path / "beside", redis_server, clip, files, gate=start_redis(persistence="none"))

    for name in files:
        contents, lines = alone[name]
        again, lines_again = beside
        frames = [entry.raw for entry in contents.frames[name]]
        assert len(frames) > 10
        assert any(message.objects for message in contents.messages(name))
        assert [entry.raw for entry in again.frames[name]] == frames

        events = events_of(contents, name)
        assert len(events) >= 4  # run_started, connecting, streaming, ended
        assert b'"kind":"track_ended"' in b"".join(events)
        assert events_of(again, name) == events

        assert lines_again[name] == lines[name]
        assert [line for line in lines[name] if line.startswith(FRAME)] == frames
        assert [line for line in lines[name] if b'"producer":' in line] != []
        assert len(lines[name]) == len(frames) + len(events)
    assert alone["whole"][0].messages("whole")[0].run != alone["limited"][0].messages("limited")[0].run


def events_of(contents: RedisContents, stream: str) -> list[bytes]:
    """The stream's events as they are in Redis, without what is the producer's: its name and its count."""
    found = []
    for entry in contents.events:
        if entry.message.stream == stream:
            bare, replaced = _OWN.subn(b"", entry.raw)
            assert replaced == 1, entry.raw
            found.append(bare)
    return found
