"""Six people, one at a time, in a real clip: each is one track from a second after entering to a second before leaving.

When they come and go was looked up by eye (README of the clips). Half of the frames are analysed, to save time;
`VEDETTE_WALKERS_FPS=10` takes all of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.process import VedetteProcess
from tests.support.redis_server import RedisServer
from tests.support.shared import SHARED
from tests.support.system import check_summary, redis_sink, write_config
from vedette import Gap, Subscriber
from vedette.messages import FrameMessage, TrackEnded, TrackStarted

pytestmark = pytest.mark.system

FPS = float(os.environ.get("VEDETTE_WALKERS_FPS", "5"))
FRAMES = 1394
WALKERS_S = [(6.8, 19.3), (23.0, 44.5), (50.8, 69.3), (74.5, 86.3), (92.3, 119.5), (123.5, 136.0)]


@pytest.mark.skipif(SHARED is None, reason="the real clips and teachers are not on this machine")
def test_each_of_six_walkers_keeps_one_id_from_a_second_after_entering_to_a_second_before_leaving(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    assert SHARED is not None
    config = write_config(
        tmp_path,
        model={
            "path": str(SHARED / "teachers" / "yolox_nano_416.onnx"),
            "score": 0.35,
            "nms_iou": 0.65,
            "classes": ["person"],
            "threads": 2,
        },
        track={"memory_s": 1.0, "confirm_s": 0.2},
        streams=[{"id": "walkers", "url": str(SHARED / "clips" / "intel_one-by-one-person-detection.mp4"), "fps": FPS}],
        sinks=[redis_sink(redis_server, tmp_path)],
    )

    with VedetteProcess(config) as vedette:
        assert vedette.wait(120) == 0, vedette.log
    totals = check_summary(vedette.summary).streams["walkers"]
    expected = round(FRAMES * min(1.0, FPS / 10))
    assert (totals.decoded, totals.published, totals.rate_limited) == (FRAMES, expected, FRAMES - expected)

    with Subscriber(redis_server.url) as subscriber:
        received = list(subscriber.frames("walkers", start="0", idle_s=0))
        events = [item.message for item in subscriber.events(start="0", idle_s=0) if not isinstance(item, Gap)]
    frames = [item.message for item in received if not isinstance(item, Gap)]
    assert len(frames) == len(received)
    assert [frame.n for frame in frames] == list(range(1, expected + 1))

    ids = []
    for enters_s, leaves_s in WALKERS_S:
        present = [sure(frame) for frame in frames if enters_s + 1.0 <= media_s(frame) <= leaves_s - 1.0]
        assert len(present[0]) == 1, enters_s
        assert all(tracks == present[0] for tracks in present), enters_s
        ids += present[0]
    assert len(set(ids)) == 6
    # Nobody else is ever there, and the events tell the same story.
    assert set().union(*map(sure, frames)) == set(ids)
    assert [event.track for event in events if isinstance(event, TrackStarted)] == ids
    assert [event.track for event in events if isinstance(event, TrackEnded)] == ids


def media_s(frame: FrameMessage) -> float:
    return frame.pts * frame.time_base[0] / frame.time_base[1]


def sure(frame: FrameMessage) -> set[int]:
    """The tracks of a frame that count: confirmed, or confirmed and not seen at the moment."""
    return {thing.track for thing in frame.objects if thing.state != "tentative"}
