"""The tracker as the pipeline sees it: ids, states and ends, in seconds of media time."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.types import Detections
from stages.options import TrackOptions
from stages.track import build_tracker
from stages.types import Tracker, TrackUpdate
from tests.support.walks import CROSSING, SIZE_WH, detections, frame_times, sightings

BOX = (100.0, 100.0, 160.0, 260.0)
NOTHING = Detections.empty()


def tracker(*, memory_s: float = 1.0, confirm_s: float = 0.2, classes: tuple[str, ...] = ("person", "car")) -> Tracker:
    return build_tracker(TrackOptions(memory_s=memory_s, confirm_s=confirm_s), classes)


def seen_for(subject: Tracker, duration_s: float, fps: float, box: tuple[float, ...] = BOX) -> TrackUpdate:
    """Show one still object for that long; return the last update."""
    update = subject.update(detections([box]), 0.0, SIZE_WH)
    for _ in range(round(duration_s * fps)):
        update = subject.update(detections([box]), 1.0 / fps, SIZE_WH)
    return update


# ── the same at any rate ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("fps", "keep", "memory_s"),
    [(25, 1.0, 1.0), (10, 1.0, 1.0), (4, 1.0, 1.0), (25, 0.5, 1.0), (10, 0.5, 1.0), (4, 0.5, 3.0)],
)
def test_one_walk_gives_the_same_number_of_ids_at_any_rate(fps: int, keep: float, memory_s: float, seed: int) -> None:
    # At 4 frames a second with half of them gone, gaps longer than a second come up; hence the longer memory there.
    subject = tracker(memory_s=memory_s)
    last = 0.0
    started = []
    for time_s, seen, _ in sightings(CROSSING, frame_times(10.0, fps, keep=keep, seed=seed), seed=seed):
        started += subject.update(seen, time_s - last, SIZE_WH).started
        last = time_s

    assert len({track.id for track in started}) == len(started) == len(CROSSING)


@pytest.mark.parametrize("fps", [25, 10, 4])
def test_crossing_walkers_keep_their_ids(fps: int) -> None:
    subject = tracker()
    last = 0.0
    owners: dict[int, Counter[int]] = defaultdict(Counter)
    for time_s, seen, who in sightings(CROSSING, frame_times(10.0, fps)):
        update = subject.update(seen, time_s - last, SIZE_WH)
        last = time_s
        for track in update.tracks:
            if track.state == "confirmed":
                off = np.abs(seen.xyxy_px - np.array(track.xyxy_px, np.float32)).sum(axis=1)
                owners[track.id][who[int(off.argmin())]] += 1

    assert len(owners) == len(CROSSING)
    assert all(len(owner) == 1 for owner in owners.values())


@pytest.mark.parametrize("fps", [25, 12.5, 10, 4, 2, 30000 / 1001])
@pytest.mark.parametrize("memory_s", [0.7, 1.0, 2.5])
def test_a_track_ends_within_one_frame_of_its_memory(fps: float, memory_s: float) -> None:
    subject = tracker(memory_s=memory_s)
    seen_for(subject, 3.0, fps)

    unseen_s = 0.0
    while not (ended := subject.update(NOTHING, 1.0 / fps, SIZE_WH).ended):
        unseen_s += 1.0 / fps
        assert unseen_s <= memory_s + 1.5e-6 * fps * memory_s

    assert unseen_s + 1.0 / fps > memory_s
    assert [(track.id, track.reason) for track in ended] == [(1, "lost")]
    assert ended[0].seen_s == pytest.approx(round(3.0 * fps) / fps, abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_a_track_ends_within_one_frame_of_its_memory_with_half_of_the_frames_gone(seed: int) -> None:
    subject = tracker()
    last = 0.0
    for time_s in frame_times(3.0, 10.0, keep=0.5, seed=seed):
        subject.update(detections([BOX]), time_s - last, SIZE_WH)
        last = time_s
    last_seen = last

    for time_s in (last_seen + t for t in frame_times(4.0, 10.0, keep=0.5, seed=seed + 100)[1:]):
        before, last = last, time_s
        if subject.update(NOTHING, time_s - before, SIZE_WH).ended:
            break

    assert before - last_seen <= 1.0 + 1e-5
    assert last - last_seen > 1.0 - 1e-5


def test_the_memory_is_the_same_after_a_short_sight_as_after_a_long_one() -> None:
    for duration_s in (0.3, 20.0):
        subject = tracker()
        seen_for(subject, duration_s, 10.0)
        updates = [subject.update(NOTHING, 0.1, SIZE_WH) for _ in range(12)]
        assert [len(update.ended) for update in updates].index(1) == 10


# ── states ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fps", [25, 10, 5])
def test_a_track_is_tentative_until_it_was_seen_for_confirm_s(fps: int) -> None:
    subject = tracker(confirm_s=0.4)
    updates = [subject.update(detections([BOX]), 1.0 / fps if i else 0.0, SIZE_WH) for i in range(fps)]

    states = [update.tracks[0].state for update in updates]
    first = states.index("confirmed")
    assert first == round(0.4 * fps)
    assert states == ["tentative"] * first + ["confirmed"] * (fps - first)
    assert [i for i, update in enumerate(updates) if update.started] == [first]
    assert updates[first].started == updates[first].tracks
    assert {track.id for update in updates for track in update.tracks} == {1}
    assert [update.tracks[0].age_ms for update in updates] == [round(1000 * i / fps) for i in range(fps)]


def test_with_confirm_s_zero_a_track_counts_at_first_sight() -> None:
    update = tracker(confirm_s=0.0).update(detections([BOX]), 0.0, SIZE_WH)

    assert [track.state for track in update.tracks] == ["confirmed"]
    assert update.started == update.tracks


def test_a_flicker_is_never_confirmed_and_soon_given_up() -> None:
    subject = tracker()
    subject.update(detections([BOX]), 0.0, SIZE_WH)
    quiet = [subject.update(NOTHING, 0.1, SIZE_WH) for _ in range(3)]
    again = subject.update(detections([BOX]), 0.1, SIZE_WH)

    assert all(not update.tracks and not update.ended for update in quiet)
    assert [track.id for track in again.tracks] == [2]


def test_a_tentative_track_survives_one_missed_frame() -> None:
    subject = tracker()
    subject.update(detections([BOX]), 0.0, SIZE_WH)
    subject.update(NOTHING, 0.1, SIZE_WH)

    assert [track.id for track in subject.update(detections([BOX]), 0.1, SIZE_WH).tracks] == [1]


def test_a_confirmed_track_that_is_not_seen_coasts_where_it_was_going() -> None:
    subject = tracker()
    for i in range(21):
        left = 100.0 + 10.0 * i
        subject.update(detections([(left, 100.0, left + 60.0, 260.0)], [0.7]), 0.1 if i else 0.0, SIZE_WH)

    (track,) = subject.update(NOTHING, 0.5, SIZE_WH).tracks

    assert track.state == "coasted"
    assert track.score == pytest.approx(0.7)
    assert track.age_ms == 2500
    assert track.xyxy_px == pytest.approx((350.0, 100.0, 410.0, 260.0), abs=4.0)


def test_a_coasting_box_is_clipped_and_not_shown_once_it_has_left_the_picture() -> None:
    subject = tracker(memory_s=3.0)
    for i in range(21):
        left = 1000.0 + 10.0 * i
        subject.update(detections([(left, 100.0, left + 60.0, 260.0)]), 0.1 if i else 0.0, SIZE_WH)

    (cut,) = subject.update(NOTHING, 0.5, SIZE_WH).tracks
    assert cut.xyxy_px[2] == SIZE_WH[0]
    assert cut.xyxy_px[0] < SIZE_WH[0]
    gone = subject.update(NOTHING, 2.0, SIZE_WH)
    assert gone.tracks == gone.ended == ()
    assert len(subject.update(NOTHING, 1.0, SIZE_WH).ended) == 1


def test_a_seen_box_is_the_one_that_was_seen() -> None:
    subject = tracker()
    seen_for(subject, 1.0, 10.0)

    (track,) = subject.update(detections([(110.0, 104.0, 170.0, 262.0)]), 0.1, SIZE_WH).tracks

    assert track.xyxy_px == (110.0, 104.0, 170.0, 262.0)


# ── gaps and ends ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_gap_shorter_than_the_memory_is_bridged() -> None:
    subject = tracker()
    seen_for(subject, 1.0, 10.0)

    update = subject.update(detections([BOX]), 0.95, SIZE_WH)

    assert [(track.id, track.state) for track in update.tracks] == [(1, "confirmed")]
    assert not update.ended


def test_a_gap_longer_than_the_memory_ends_all_tracks_with_that_reason() -> None:
    subject = tracker()
    seen_for(subject, 1.0, 10.0)

    update = subject.update(detections([BOX]), 1.05, SIZE_WH)

    assert [(track.id, track.reason, track.seen_s) for track in update.ended] == [(1, "gap", 1.0)]
    assert [(track.id, track.state) for track in update.tracks] == [(2, "tentative")]


@pytest.mark.parametrize("reason", ["gap", "stream_ended"])
def test_end_tells_of_confirmed_tracks_only_and_ids_go_on(reason: str) -> None:
    subject = tracker()
    for i in range(8):
        moved = (BOX[0] + 5.0 * i, BOX[1], BOX[2] + 5.0 * i, BOX[3])
        others = [(900.0, 100.0, 950.0, 200.0)] if i == 7 else []
        subject.update(detections([moved, *others]), 0.1 if i else 0.0, SIZE_WH)

    ended = subject.end(reason)  # type: ignore[arg-type]

    assert [(track.id, track.reason) for track in ended] == [(1, reason)]
    assert ended[0].first_xyxy_px == BOX
    assert ended[0].last_xyxy_px == (BOX[0] + 35.0, BOX[1], BOX[2] + 35.0, BOX[3])
    assert ended[0].seen_s == pytest.approx(0.7)
    assert subject.end(reason) == ()  # type: ignore[arg-type]
    assert [track.id for track in subject.update(detections([BOX]), 0.1, SIZE_WH).tracks] == [3]


@pytest.mark.parametrize("elapsed_s", [0.0, -5.0, float("nan"), float("inf")])
def test_time_that_does_not_pass_is_tolerated(elapsed_s: float) -> None:
    subject = tracker()
    seen_for(subject, 1.0, 10.0)

    update = subject.update(detections([BOX]), elapsed_s, SIZE_WH)

    assert [(track.id, track.state, track.age_ms) for track in update.tracks] == [(1, "confirmed", 1000)]


def test_an_unseen_track_coasts_in_a_frame_of_no_duration() -> None:
    subject = tracker()
    seen_for(subject, 1.0, 10.0)

    assert [track.state for track in subject.update(NOTHING, 0.0, SIZE_WH).tracks] == ["coasted"]


def test_a_picture_of_another_size_does_not_end_a_track() -> None:
    subject = tracker()
    seen_for(subject, 1.0, 10.0)

    half = subject.update(detections([tuple(edge / 2.0 for edge in BOX)]), 0.1, (SIZE_WH[0] // 2, SIZE_WH[1] // 2))

    assert [(track.id, track.state) for track in half.tracks] == [(1, "confirmed")]
    assert subject.end("stream_ended")[0].first_xyxy_px == tuple(edge / 2.0 for edge in BOX)


# ── classes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

CLASSES = ("person", "car", "bus", "truck", "bicycle", "motorcycle")


def test_a_track_keeps_its_id_when_the_detector_flips_between_car_and_truck() -> None:
    subject = tracker(classes=CLASSES)
    flips = [(1, 0.5), (3, 0.6), (1, 0.5), (1, 0.5), (3, 0.9), (2, 0.4)]
    updates = [
        subject.update(detections([BOX], [score], [class_id]), 0.1 if i else 0.0, SIZE_WH)
        for i, (class_id, score) in enumerate(flips)
    ]

    assert [[track.id for track in update.tracks] for update in updates] == [[1]] * 6
    # Votes: car 0.5, 0.5, 1.0, 1.5, 1.5, 1.5; truck 0, 0.6, 0.6, 0.6, 1.5, 1.5; equal votes go to the lower id.
    assert [update.tracks[0].class_id for update in updates] == [1, 3, 1, 1, 1, 1]


def test_one_vehicle_with_two_names_is_one_track() -> None:
    subject = tracker(classes=CLASSES)
    near = (BOX[0] + 2.0, BOX[1], BOX[2] + 2.0, BOX[3])
    for i in range(6):
        update = subject.update(detections([BOX, near], [0.8, 0.5], [1, 3]), 0.1 if i else 0.0, SIZE_WH)

    assert [(track.id, track.class_id, track.score) for track in update.tracks] == [(1, 1, pytest.approx(0.8))]


def test_a_person_is_never_matched_with_a_bicycle_nor_dropped_for_it() -> None:
    subject = tracker(classes=CLASSES)
    for i in range(6):
        update = subject.update(detections([BOX, BOX], [0.8, 0.5], [0, 4]), 0.1 if i else 0.0, SIZE_WH)
    alone = subject.update(detections([BOX], [0.5], [4]), 0.1, SIZE_WH)

    assert [(track.id, track.class_id) for track in update.tracks] == [(1, 0), (2, 4)]
    assert [(track.id, track.state) for track in alone.tracks] == [(1, "coasted"), (2, "confirmed")]


# ── determinism and abuse ────────────────────────────────────────────────────────────────────────────────────────────


def test_two_trackers_in_turns_give_the_same_bit_for_bit() -> None:
    first, second, other = tracker(), tracker(), tracker()
    times = frame_times(8.0, 10.0, keep=0.7, seed=5)
    last = 0.0
    for time_s, seen, _ in sightings(CROSSING, times, jitter=0.06, miss=0.2, seed=9):
        elapsed_s, last = time_s - last, time_s
        one = first.update(seen, elapsed_s, SIZE_WH)
        other.update(detections([BOX]), elapsed_s * 1.7, SIZE_WH)
        assert repr(second.update(seen, elapsed_s, SIZE_WH)) == repr(one)
    assert repr(first.end("stream_ended")) == repr(second.end("stream_ended"))


def test_detections_are_not_written_to() -> None:
    seen = detections([BOX, (5.0, 5.0, 90.0, 60.0)])
    for array in (seen.xyxy_px, seen.scores, seen.class_ids):
        array.flags.writeable = False
    subject = tracker()

    for _ in range(4):
        subject.update(seen, 0.1, SIZE_WH)


EDGE = st.one_of(st.sampled_from([0.0, 1.0, 640.0, 1280.0]), st.floats(-50.0, 1400.0, width=32))
ANY_EDGE = st.one_of(EDGE, st.floats(width=32, allow_nan=True, allow_infinity=True))
ROWS = st.lists(
    st.tuples(st.lists(ANY_EDGE, min_size=4, max_size=4), st.floats(0.0, 1.0, width=32), st.integers(0, 6)), max_size=12
)
FRAMES = st.lists(
    st.tuples(ROWS, st.integers(1, 3), st.one_of(st.sampled_from([0.0, 0.04, 0.1, 0.5, 1.0, 1.01]), st.floats(0, 5))),
    max_size=12,
)


@settings(max_examples=80, deadline=None)
@given(frames=FRAMES, confirm_s=st.sampled_from([0.0, 0.2, 3.0]), memory_s=st.sampled_from([0.05, 1.0]))
def test_no_boxes_break_it_and_ids_never_repeat(
    frames: list[tuple[list[tuple[list[float], float, int]], int, float]], confirm_s: float, memory_s: float
) -> None:
    subject = tracker(confirm_s=confirm_s, memory_s=memory_s, classes=CLASSES)
    over: set[int] = set()
    started: set[int] = set()
    highest = 0
    for rows, repeats, elapsed_s in frames:
        many = rows * repeats
        update = subject.update(
            detections([row[0] for row in many], [row[1] for row in many], [row[2] for row in many]), elapsed_s, SIZE_WH
        )
        ids = [track.id for track in update.tracks]
        assert ids == sorted(set(ids))
        over |= {track.id for track in update.ended}
        assert over.isdisjoint(ids)
        assert started.isdisjoint(track.id for track in update.started)
        assert {track.id for track in update.started} <= set(ids)
        started |= {track.id for track in update.started}
        assert over <= started
        new = [track_id for track_id in ids if track_id > highest]
        assert all(track.state != "coasted" for track in update.tracks if track.id in new)
        highest = max([highest, *ids])
        for track in update.tracks:
            x1, y1, x2, y2 = track.xyxy_px
            assert 0.0 <= x1 <= x2 <= SIZE_WH[0]
            assert 0.0 <= y1 <= y2 <= SIZE_WH[1]
    over |= {track.id for track in subject.end("stream_ended")}
    assert over == started


def test_norfair_is_imported_only_when_a_tracker_is_made() -> None:
    script = "import sys, stages.track; sys.exit('norfair' in sys.modules or 'scipy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
