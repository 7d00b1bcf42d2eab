"""norfair's tracker with our clock, motion filter and distance put in.

Its counters are in frames; ours are in ticks, a microsecond of media time each, so that tracks live and end alike at
any frame rate. In: detections as `Seen`. Out: `tracked_objects`, each a `Followed`. Called from
`stages/track/by_norfair.py`, which alone knows when an object ends.

A confirmed object has the memory's ticks left when it is seen, less what passes. A tentative one gains the time that
has passed when it is seen again and loses it when it is not (norfair's own rule, in time): it is confirmed when it has
gained `confirm_s`, and given up when it has lost as much. norfair's types are wide (points of any number, labels of any
type) where these are narrow; hence the ignored overrides: no object of any other class ever gets in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from norfair.distances import Distance
from norfair.filter import FilterFactory
from norfair.tracker import Detection as NorfairDetection
from norfair.tracker import TrackedObject
from norfair.tracker import Tracker as NorfairBase
from norfair.tracker import _TrackedObjectFactory as NorfairFactory

from stages.options import TrackOptions
from stages.track.association import NO_MATCH, distances, match
from stages.track.motion import BoxFilter, Corners

TICKS_PER_S = 1_000_000


class MediaTime:
    """The limits and the media time of one tracker, in ticks; `frame` counts updates."""

    def __init__(self, options: TrackOptions) -> None:
        self.memory = round(options.memory_s * TICKS_PER_S)
        self.confirm = round(options.confirm_s * TICKS_PER_S)
        self.patience = min(self.confirm, self.memory)
        self.now = 0
        self.step = 0
        self.frame = 0

    def advance(self, elapsed_s: float) -> None:
        self.step = round(elapsed_s * TICKS_PER_S) if math.isfinite(elapsed_s) and elapsed_s > 0.0 else 0
        self.now += self.step
        self.frame += 1


class _Filters(FilterFactory):
    """norfair's way to get our motion filter."""

    def create_filter(self, initial_detection: npt.NDArray[np.float64]) -> BoxFilter:
        x1, y1, x2, y2 = initial_detection.ravel().tolist()
        return BoxFilter((x1, y1, x2, y2))


class Seen(NorfairDetection):
    """One detection, without norfair's checks and copies."""

    def __init__(self, box: Corners, score: float, class_id: int, group: int) -> None:
        self.box = box
        self.score = score
        self.class_id = class_id
        self.label = group
        self.scores = None  # type: ignore[assignment]

    @property
    def absolute_points(self) -> npt.NDArray[np.float64]:
        return np.array(self.box).reshape(2, 2)


class Followed(TrackedObject):
    """One object, its counters in ticks."""

    filter: BoxFilter
    initializing_id: int

    def __init__(self, *, time: MediaTime, initial_detection: Seen, **norfair_arguments: Any) -> None:
        super().__init__(initial_detection=initial_detection, **norfair_arguments)
        self.time = time
        self.score = initial_detection.score
        self.votes = {initial_detection.class_id: initial_detection.score}
        self.first_box = self.last_box = initial_detection.box
        self.first_seen = self.last_seen = time.now
        self.last_frame = time.frame
        self.announced = False
        self.is_initializing = time.confirm > 0
        self.hit_counter = time.patience if self.is_initializing else time.memory

    def tracker_step(self) -> None:
        self.hit_counter -= self.time.step
        self.filter.predict(self.time.step / TICKS_PER_S)

    def hit(self, detection: Seen, period: int = 1) -> None:  # type: ignore[override]
        self.filter.see(detection.box)
        self.last_box = detection.box
        self.last_seen = self.time.now
        self.last_frame = self.time.frame
        self.score = detection.score
        self.votes[detection.class_id] = self.votes.get(detection.class_id, 0.0) + detection.score
        self.hit_counter += 2 * period
        if not self.is_initializing or self.hit_counter >= self.time.patience + self.time.confirm:
            self.is_initializing = False
            self.hit_counter = self.time.memory

    @property
    def unseen(self) -> int:
        """Ticks since it was last seen."""
        return self.time.now - self.last_seen

    @property
    def class_id(self) -> int:
        """The class with most votes, the lower id among equals."""
        return min(self.votes, key=lambda class_id: (-self.votes[class_id], class_id))

    def rescale(self, x_factor: float, y_factor: float) -> None:
        self.filter.rescale(x_factor, y_factor)
        self.first_box = _scaled(self.first_box, x_factor, y_factor)
        self.last_box = _scaled(self.last_box, x_factor, y_factor)


class _Factory(NorfairFactory):
    """Makes our objects; counts for one tracker alone (norfair's own counts for the whole process, too)."""

    def __init__(self, time: MediaTime) -> None:
        super().__init__()
        self._time = time

    def create(self, **norfair_arguments: Any) -> Followed:  # type: ignore[override]
        return Followed(time=self._time, obj_factory=self, **norfair_arguments)

    def get_ids(self) -> tuple[int, int]:
        self.count += 1
        return self.count, self.count


class _Distance(Distance):
    """norfair's way to get our distance."""

    def get_distances(  # type: ignore[override]
        self, objects: Sequence[Followed], candidates: Sequence[Seen]
    ) -> npt.NDArray[np.float64]:
        if not objects or not candidates:
            return np.full((len(candidates), len(objects)), NO_MATCH)
        return distances(
            np.array([candidate.box for candidate in candidates]),
            np.array([followed.filter.box for followed in objects]),
            np.array([followed.filter.reach_px for followed in objects]),
            np.array([candidate.label for candidate in candidates]),
            np.array([followed.label for followed in objects]),
        )


class TickTracker(NorfairBase):
    """norfair's tracker with our distance, objects and filter."""

    tracked_objects: list[Followed]

    def __init__(self, time: MediaTime) -> None:
        # Its constructor takes a distance by name, or a scalar function with a warning; the attribute takes any.
        super().__init__(
            distance_function="iou",
            distance_threshold=1.0,
            hit_counter_max=time.memory + time.confirm + 1,
            initialization_delay=time.confirm,
            filter_factory=_Filters(),
            past_detections_length=0,
        )
        self.distance_function = _Distance()  # type: ignore[assignment]
        self._obj_factory = _Factory(time)

    def match_dets_and_objs(
        self, distance_matrix: npt.NDArray[np.float64], distance_threshold: float
    ) -> tuple[list[int], list[int]]:
        """The same pairs as norfair's, which searches the whole matrix again for each of them."""
        return match(distance_matrix, distance_threshold)


def _scaled(box: Corners, x_factor: float, y_factor: float) -> Corners:
    return (box[0] * x_factor, box[1] * y_factor, box[2] * x_factor, box[3] * y_factor)
