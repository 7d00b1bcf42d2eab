"""The tracker on what a real detector saw in real clips (recorded: time, boxes, scores and classes of each frame).

Made from two clips of Intel's sample-videos (CC-BY-4.0) with YOLOX-nano at 416, score 0.35, NMS 0.65. When the people
come and go was looked up by eye.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.options import TrackOptions
from stages.track import build_tracker
from tests.support.walks import detections

DATA = Path(__file__).parent / "data"

WALKERS_S = [(6.8, 19.3), (23.0, 44.5), (50.8, 69.3), (74.5, 86.3), (92.3, 119.5), (123.5, 136.0)]

KEEP: dict[str, Callable[[int], bool]] = {
    "all": lambda _: True,
    "every second": lambda i: i % 2 == 0,
    "every third": lambda i: i % 3 == 0,
    "half at random": lambda i: random.Random(i).random() < 0.5,
}


def follow(name: str, keep: Callable[[int], bool]) -> list[tuple[float, dict[int, tuple[str, str]]]]:
    """For each frame kept: its time and its visible tracks, id to (class, state)."""
    recorded = json.loads((DATA / name).read_text())
    classes = recorded["classes"]
    subject = build_tracker(TrackOptions(memory_s=1.0, confirm_s=0.2), classes)
    frames = []
    last = None
    for i, (time_s, rows) in enumerate(recorded["frames"]):
        if not keep(i):
            continue
        seen = detections([row[:4] for row in rows], [row[4] for row in rows], [row[5] for row in rows])
        update = subject.update(seen, 0.0 if last is None else time_s - last, tuple(recorded["size"]))
        last = time_s
        tracks = {track.id: (classes[track.class_id], track.state) for track in update.tracks}
        frames.append((time_s, {k: v for k, v in tracks.items() if v[1] != "tentative"}))
    return frames


@pytest.mark.parametrize("keep", KEEP.keys())
def test_each_of_six_walkers_keeps_one_id_from_a_second_after_entering_to_a_second_before_leaving(keep: str) -> None:
    frames = follow("one_by_one_yolox_nano.json", KEEP[keep])
    # The detector sees the fifth walker 0.9 s after she enters; at 3.3 frames a second the second sight is too late.
    late_s = 0.3 if keep == "every third" else 0.0

    ids = []
    for enters_s, leaves_s in WALKERS_S:
        present = [set(tracks) for time_s, tracks in frames if enters_s + 1.0 + late_s <= time_s <= leaves_s - 1.0]
        assert present
        assert all(tracks == present[0] for tracks in present)
        assert len(present[0]) == 1
        ids += present[0]
    assert len(set(ids)) == 6
    assert {track for _, tracks in frames for track in tracks} == set(ids)
    assert {tracks[track][0] for _, tracks in frames for track in tracks} == {"person"}


@pytest.mark.parametrize("keep", KEEP.values(), ids=KEEP.keys())
def test_the_parking_lot_has_two_cars_and_a_walker_who_is_followed_all_the_way(keep: Callable[[int], bool]) -> None:
    frames = follow("parking_yolox_nano.json", keep)

    vehicles = {track for _, tracks in frames for track, (name, _) in tracks.items() if name in {"car", "truck", "bus"}}
    assert len(vehicles) == 2
    walker = [
        {track for track, (name, _) in tracks.items() if name == "person"}
        for time_s, tracks in frames
        if 25.8 <= time_s <= 28.5
    ]
    assert all(tracks == walker[0] for tracks in walker)
    assert len(walker[0]) == 1
