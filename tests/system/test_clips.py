"""The real clips, all at once over RTSP and one as a file, published to Redis: everything is accounted for.

`VEDETTE_CLIPS_SECONDS=60 pytest --log-cli-level=info …` runs it for a minute and shows the ledger.
Where the clips are not at hand, rendered streets take their place.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.clock import SystemClock
from tests.support.process import VedetteProcess
from tests.support.redis_server import RedisServer, free_port
from tests.support.rtsp import RtspServer, units_of
from tests.support.shared import SHARED
from tests.support.system import (
    check_status,
    check_summary,
    http_json,
    read_redis,
    redis_sink,
    street_clip,
    write_config,
)
from vedette import Gap, Subscriber
from vedette.messages import RunStarted

logger = logging.getLogger(__name__)

pytestmark = pytest.mark.system

SECONDS = float(os.environ.get("VEDETTE_CLIPS_SECONDS", "12"))

CLIPS = {
    "one-by-one": ("intel_one-by-one-person-detection.mp4", 10.0),
    "parking": ("intel_person-bicycle-car-detection.mp4", 12.0),
    "road": ("intel_car-detection.mp4", 12.5),
    "retail": ("nvidia_retail-aisle-1080p.mp4", 30.0),
    "aisle": ("intel_store-aisle-detection_preview.mp4", 15.0),
}


def clips(folder: Path) -> dict[str, tuple[Path, float]]:
    """Stream to clip and the rate at which a camera would send it."""
    if SHARED is not None:
        return {name: (SHARED / "clips" / file, fps) for name, (file, fps) in CLIPS.items()}
    return {name: (street_clip(folder, seed=seed), 10.0) for seed, name in enumerate(CLIPS, 1)}


def test_every_ledger_balances_and_redis_holds_exactly_what_was_delivered(
    tmp_path: Path, redis_server: RedisServer, rtsp_servers: Callable[..., RtspServer]
) -> None:
    cameras = rtsp_servers()
    streams: list[dict[str, Any]] = []
    for name, (clip, fps) in clips(tmp_path).items():
        cameras.mount(name, units_of(clip, tmp_path / f"{name}.units"), fps=fps)
        # One without a limit: what it supersedes has to be in the ledger, too.
        limit = {} if name == "aisle" else {"fps": 4}
        streams.append({"id": name, "url": cameras.url(name).reveal(), **limit})
    archive = SHARED / "clips" / CLIPS["road"][0] if SHARED else street_clip(tmp_path, seed=9)
    streams.append({"id": "archive", "url": str(archive), "mode": "file"})
    port = free_port()
    config = write_config(
        tmp_path,
        streams=streams,
        sinks=[redis_sink(redis_server, tmp_path)],
        http={"listen": f"127.0.0.1:{port}"},
    )
    clock = SystemClock()
    followed = []

    with VedetteProcess(config) as vedette, Subscriber(redis_server.url, block_s=0.1) as subscriber:
        vedette.wait_log("archive", "streaming")
        end_ns = clock.mono_ns() + int(SECONDS * 1e9)
        status = {}
        for item in subscriber.frames(start="0"):
            assert not isinstance(item, Gap)
            followed.append(item)
            if len(followed) % 50 == 0 or clock.mono_ns() >= end_ns:
                status = http_json(f"http://127.0.0.1:{port}/status")
                check_status(status)
            if clock.mono_ns() >= end_ns and status["streams"]["archive"]["state"] == "ended":
                break
        vedette.terminate()
    assert vedette.returncode == 0, vedette.log

    ledger = check_summary(vedette.summary)
    logger.info("%s", json.dumps(vedette.summary["ledger"], indent=1))
    for name, stream in ledger.streams.items():
        assert stream.published > 0, name
        assert stream.failed == {} or set(stream.failed) == {"no_timestamp"}, name
        if name not in {"aisle", "archive"}:
            assert stream.rate_limited > 0, name
    whole = ledger.streams["archive"]
    assert whole.decoded == whole.published
    assert (whole.superseded, whole.rate_limited, whole.failed, whole.abandoned) == (0, 0, {}, 0)

    sink = ledger.sinks["redis"]
    contents = read_redis(redis_server)
    assert {name: len(entries) for name, entries in contents.frames.items()} == {
        name: stream.published for name, stream in ledger.streams.items()
    }
    assert len(contents.events) == ledger.events == sink.accepted_events
    assert (sink.delivered, sink.dropped, sink.spooled, sink.gaps) == (contents.count, {}, 0, 0)

    for name, entries in contents.frames.items():
        assert isinstance(contents.events_of(name)[0], RunStarted), name
        assert contents.states[name].state == ("ended" if name == "archive" else "stopped")
        clock_names = {entry.message.clock for entry in entries}
        assert clock_names <= ({"file"} if name == "archive" else {"arrival", "rtcp"})
    # What a subscriber saw meanwhile is the beginning of what is there.
    for name, entries in contents.frames.items():
        seen = [item.raw for item in followed if item.stream == name]
        assert seen == [entry.raw for entry in entries][: len(seen)], name
