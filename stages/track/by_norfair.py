"""A tracker that counts in seconds, made of norfair's.

In:  one frame's Detections, the media time since the last one, the picture's size. Out: TrackUpdate.
Called from the finish thread through `stages.types.Tracker`; imports norfair, so import it late.

norfair decides which detection belongs to which object, confirmed objects first, and keeps the objects (`ticks.py`).
A confirmed track ends when it has not been seen for more than `memory_s`; one that is only tentative is given up
sooner. The id of a track is norfair's `initializing_id`, which counts from 1 in each tracker; tentative ones have it.

Classes: detectors call one object car in this frame and truck in the next, so detections match within groups of
classes that get mixed up (`association.class_groups`), never across them; of two boxes of a group in the same place
the better one counts. A track's class is the one with most votes, each weighing as much as its score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from norfair.tracker import Detection as NorfairDetection

from engines.types import Detections
from stages.options import TrackOptions
from stages.track.association import class_groups, pairwise_iou
from stages.track.motion import Corners
from stages.track.ticks import TICKS_PER_S, Followed, MediaTime, Seen, TickTracker
from stages.types import EndedTrack, Track, TrackId, TrackUpdate

# Boxes of one group but of two classes that overlap this much are one object with two names (guess: NMS, which looks at
# one class at a time, is usually at 0.65).
_SAME_PLACE_IOU = 0.75

_INFINITE = math.inf


class NorfairTracker:
    """Follows the objects of one stream (`stages.types.Tracker`).

    `TrackUpdate.tracks` are in the order of their ids: the tracks seen in this frame, tentative or confirmed, with the
    box that was seen (the motion filter's lags by several percent when somebody starts or stops), and the confirmed
    ones that were not (`coasted`), where the motion filter expects them while that is in the picture. Tentative tracks
    that were not seen are not shown, and come back under the same id if they are seen again in time.
    """

    def __init__(self, options: TrackOptions, classes: Sequence[str]) -> None:
        self._time = MediaTime(options)
        self._norfair = TickTracker(self._time)
        self._groups = class_groups(classes)
        self._size_wh = (0, 0)

    def update(self, detections: Detections, elapsed_s: float, size_wh: tuple[int, int]) -> TrackUpdate:
        """Take one frame's detections, `elapsed_s` of media time after the last; less than 0 counts as 0."""
        self._time.advance(elapsed_s)
        self._fit(size_wh)
        ended = self.end("gap") if self._time.step > self._time.memory else self._forget()
        self._norfair.update(self._seen(detections), period=self._time.step)
        # norfair forgets at its next update; a tentative track that was given up shall not wait for that.
        self._norfair.tracked_objects = [
            followed
            for followed in self._norfair.tracked_objects
            if not followed.is_initializing or followed.hit_counter >= 0
        ]
        tracks: list[Track] = []
        started: list[Track] = []
        for followed in sorted(self._norfair.tracked_objects, key=lambda followed: followed.initializing_id):
            track = self._track(followed)
            if track is None:
                continue
            tracks.append(track)
            if track.state == "confirmed" and not followed.announced:
                followed.announced = True
                started.append(track)
        return TrackUpdate(tracks=tuple(tracks), started=tuple(started), ended=ended)

    def end(self, reason: Literal["gap", "stream_ended"]) -> tuple[EndedTrack, ...]:
        """End all tracks; the ids of later ones still never repeat."""
        followed, self._norfair.tracked_objects = self._norfair.tracked_objects, []
        return self._ended(followed, reason)

    def _forget(self) -> tuple[EndedTrack, ...]:
        """Drop what has been unseen for longer than the memory, before this frame can match it."""
        over = [followed for followed in self._norfair.tracked_objects if followed.unseen > self._time.memory]
        if over:
            self._norfair.tracked_objects = [
                followed for followed in self._norfair.tracked_objects if followed.unseen <= self._time.memory
            ]
        return self._ended(over, "lost")

    def _ended(
        self, objects: Sequence[Followed], reason: Literal["lost", "gap", "stream_ended"]
    ) -> tuple[EndedTrack, ...]:
        return tuple(
            EndedTrack(
                id=TrackId(followed.initializing_id),
                class_id=followed.class_id,
                first_xyxy_px=followed.first_box,
                last_xyxy_px=followed.last_box,
                seen_s=(followed.last_seen - followed.first_seen) / TICKS_PER_S,
                reason=reason,
            )
            for followed in sorted(objects, key=lambda followed: followed.initializing_id)
            if not followed.is_initializing
        )

    def _track(self, followed: Followed) -> Track | None:
        """The object as this frame's message shows it; None if it does not."""
        seen = followed.last_frame == self._time.frame
        if not seen and followed.is_initializing:
            return None
        box = _clipped(followed.last_box if seen else followed.filter.box, self._size_wh)
        if not seen and (box[0] >= box[2] or box[1] >= box[3]):
            return None
        state: Literal["tentative", "confirmed", "coasted"]
        state = ("tentative" if followed.is_initializing else "confirmed") if seen else "coasted"
        return Track(
            id=TrackId(followed.initializing_id),
            class_id=followed.class_id,
            score=followed.score,
            xyxy_px=box,
            state=state,
            age_ms=round((self._time.now - followed.first_seen) / 1000),
        )

    def _seen(self, detections: Detections) -> list[NorfairDetection]:
        """The detections as norfair takes them, less those that are no boxes and the second names of one object."""
        class_ids = detections.class_ids.tolist()
        groups = [self._groups[i] if 0 <= i < len(self._groups) else i for i in class_ids]
        seen: list[Seen] = [
            Seen((x1, y1, x2, y2), score, class_id, group)
            for (x1, y1, x2, y2), score, class_id, group in zip(
                detections.xyxy_px.tolist(), detections.scores.tolist(), class_ids, groups, strict=True
            )
            if -_INFINITE < x1 <= x2 < _INFINITE and -_INFINITE < y1 <= y2 < _INFINITE and math.isfinite(score)
        ]
        if len(set(groups)) < len(set(class_ids)):
            seen = [one for one, is_second in zip(seen, _second_names(seen), strict=True) if not is_second]
        return [*seen]

    def _fit(self, size_wh: tuple[int, int]) -> None:
        """Take what is remembered into the pixels of a picture of another size: the view is the same."""
        if size_wh != self._size_wh:
            x_factor = size_wh[0] / max(self._size_wh[0], 1)
            y_factor = size_wh[1] / max(self._size_wh[1], 1)
            for followed in self._norfair.tracked_objects:
                followed.rescale(x_factor, y_factor)
            self._size_wh = size_wh


def _second_names(seen: Sequence[Seen]) -> list[bool]:
    """Which boxes lie where a better one of their group, but of another class, is; the first is better among equals."""
    xyxy = np.array([one.box for one in seen]).reshape(-1, 4)
    class_ids, groups = np.array([one.class_id for one in seen]), np.array([one.label for one in seen])
    rank = np.empty(len(seen), np.int64)
    rank[np.argsort([-one.score for one in seen], kind="stable")] = np.arange(len(seen))
    same_place = pairwise_iou(xyxy, xyxy) >= _SAME_PLACE_IOU
    same_place &= (groups[:, None] == groups[None, :]) & (class_ids[:, None] != class_ids[None, :])
    second: list[bool] = (same_place & (rank[None, :] < rank[:, None])).any(axis=1).tolist()
    return second


def _clipped(box: Corners, size_wh: tuple[int, int]) -> Corners:
    width, height = float(size_wh[0]), float(size_wh[1])
    return (
        min(max(box[0], 0.0), width),
        min(max(box[1], 0.0), height),
        min(max(box[2], 0.0), width),
        min(max(box[3], 0.0), height),
    )
