"""Who is on the street when: schedules that can be asked for any moment.

Every walker, vehicle and cyclist has a slot; when the one in it has left the view the next enters, with a new id. What
a slot holds at a time follows from seed, slot and generation alone, so that a frame may be skipped at no cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from stages.source.synthetic import street
from stages.source.synthetic.bicycle import FRAMES
from stages.source.synthetic.camera import Camera, Colour
from stages.source.synthetic.options import SyntheticOptions
from stages.source.synthetic.vehicles import Model, Vehicle, build_vehicle
from stages.source.synthetic.wardrobe import Person, dress_person

_WALKER, _DRIVER, _RIDER, _PARKED = range(4)
_LONGEST_M = 10.5
_CAR_M = 5.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """One crossing of the view: when it begins and ends (seconds), along which line, which way, how fast."""

    id: int
    begins_s: float
    ends_s: float
    x0: float
    z: float
    direction: int
    speed_mps: float
    phase: float

    def x(self, now_s: float) -> float:
        return self.x0 + self.direction * self.travelled(now_s)

    def travelled(self, now_s: float) -> float:
        return self.speed_mps * (now_s - self.begins_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walker(Trip):
    """A person on foot; in the `pause` (begin, end; seconds of the trip) the person stands still."""

    person: Person
    pause: tuple[float, float]

    def travelled(self, now_s: float) -> float:
        spent = now_s - self.begins_s
        begin, end = self.pause
        return self.speed_mps * (spent - min(max(spent - begin, 0.0), end - begin))

    def amount(self, now_s: float) -> float:
        """1 while walking, 0 while standing, in between while starting and stopping."""
        spent = now_s - self.begins_s
        begin, end = self.pause
        if end <= begin:
            return 1.0
        return min(1.0, max(0.0, (begin - spent) / 0.3, (spent - end) / 0.3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver(Trip):
    vehicle: Vehicle


@dataclass(frozen=True, slots=True, kw_only=True)
class Rider(Trip):
    """A cyclist: `id` is the person's, `bike_id` the bicycle's."""

    bike_id: int
    person: Person
    frame_colour: Colour


AnyTrip = TypeVar("AnyTrip", Walker, Driver, Rider)


@dataclass(slots=True)
class _Slot(Generic[AnyTrip]):
    """A succession of trips; `make` gives the trip of a generation, told when the one before has ended."""

    make: Callable[[int, float | None], AnyTrip]
    _generation: int = field(default=-1)
    _trip: AnyTrip | None = field(default=None)

    def at(self, now_s: float) -> AnyTrip:
        if self._trip is None or now_s < self._trip.begins_s:
            self._generation, self._trip = 0, self.make(0, None)
        while now_s >= self._trip.ends_s:
            self._generation += 1
            self._trip = self.make(self._generation, self._trip.ends_s)
        return self._trip


class Traffic:
    """All that moves, at any time from 0 on."""

    def __init__(self, options: SyntheticOptions, camera: Camera) -> None:
        self._options, self._camera = options, camera
        self._night = options.time == "night"
        self._parked_count = options.parked
        self._ids = options.people + options.vehicles + 2 * options.bikes + options.parked
        self._walkers = [_Slot(self._walker(slot)) for slot in range(options.people)]
        lanes = ((street.NEAR_LANE, 1), (street.FAR_LANE, -1))
        self._drivers = [_Slot(self._driver(slot, lanes[slot % 2])) for slot in range(options.vehicles)]
        paths = ((street.BIKE_LANE, 1), (street.BAY_LINE - 0.35, -1))
        self._riders = [_Slot(self._rider(slot, paths[slot % 2])) for slot in range(options.bikes)]
        self.parked: tuple[tuple[int, Vehicle, float], ...] = tuple(
            self._park(number) for number in range(options.parked)
        )

    def walkers(self, now_s: float) -> list[Walker]:
        return [slot.at(now_s) for slot in self._walkers]

    def drivers(self, now_s: float) -> list[Driver]:
        return [slot.at(now_s) for slot in self._drivers]

    def riders(self, now_s: float) -> list[Rider]:
        return [slot.at(now_s) for slot in self._riders]

    def _rng(self, kind: int, slot: int, generation: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self._options.seed, kind, slot, generation]))

    def _id(self, slot: int, generation: int) -> int:
        return 1 + slot + generation * self._ids

    def _walker(self, slot: int) -> Callable[[int, float | None], Walker]:
        # every second one on either pavement, each on a track of its own
        low, high = street.NEAR_WALK if slot % 2 == 0 else street.FAR_WALK
        count = (self._options.people + 1 - slot % 2) // 2
        share = ((slot // 2) * 0.618034 + 0.31) % 1.0

        def make(generation: int, begins_s: float | None) -> Walker:
            rng = self._rng(_WALKER, slot, generation)
            chance = [float(value) for value in rng.random(6)]
            z = low + (high - low) * min(1.0, max(0.0, share + (chance[0] - 0.5) * 0.12))
            left, right = self._camera.ground_view(z)
            left, right = left - 0.55, right + 0.55
            direction = 1 if chance[1] < 0.5 else -1
            speed = 1.05 + 0.5 * chance[2]
            walking = (right - left) / speed
            stands = chance[3] < 0.14
            begin = walking * (0.3 + 0.4 * chance[4])
            pause = (begin, begin + 2.0 + 3.0 * chance[5]) if stands else (0.0, 0.0)
            lasts = walking + pause[1] - pause[0]
            if begins_s is None:
                begins_s = -lasts * (((slot // 2) + chance[4] * 0.7) / max(1, count))
            return Walker(
                id=self._id(slot, generation),
                begins_s=begins_s,
                ends_s=begins_s + lasts,
                x0=left if direction > 0 else right,
                z=z,
                direction=direction,
                speed_mps=speed,
                phase=chance[5],
                person=dress_person(rng),
                pause=pause,
            )

        return make

    def _lane(
        self,
        kind: int,
        lane: tuple[float, int],
        count: int,
        slot: int,
        longest: float,
        least_gap: float,
        low: float,
        high: float,
    ) -> tuple[float, float, float, float]:
        """(speed, period, delay, x at the entry): equal for all of a lane but the delay, so that nobody is run into."""
        z, direction = lane
        left, right = self._camera.ground_view(z)
        speed = low + (high - low) * float(self._rng(kind, 1000 + (direction > 0), 0).random())
        length = max(right - left + longest, count * least_gap)
        period = length / speed
        jitter = float(self._rng(kind, 2000 + slot, 0).random())
        free = max(0.0, length / count - least_gap) / speed
        delay = -period * (slot // 2 + 0.35) / count - jitter * free * 0.5
        return speed, period, delay, left if direction > 0 else right

    def _driver(self, slot: int, lane: tuple[float, int]) -> Callable[[int, float | None], Driver]:
        count = (self._options.vehicles + 1 - slot % 2) // 2
        left, right = self._camera.ground_view(lane[0])
        long_ones = (right - left + _LONGEST_M) / count >= _LONGEST_M + 2.5
        longest = _LONGEST_M if long_ones else _CAR_M
        speed, period, delay, edge = self._lane(_DRIVER, lane, count, slot, longest, longest + 2.5, 4.6, 6.4)

        def make(generation: int, begins_s: float | None) -> Driver:
            rng = self._rng(_DRIVER, slot, generation)
            model: Model | None = None
            if not long_ones:
                model = ("hatchback", "saloon", "estate", "van")[int(rng.integers(4))]
            vehicle = build_vehicle(rng, lane[1], model, night=self._night)
            begins = delay if begins_s is None else begins_s
            return Driver(
                id=self._id(self._options.people + slot, generation),
                begins_s=begins,
                ends_s=begins + period,
                x0=edge - lane[1] * vehicle.length_m / 2,
                z=lane[0],
                direction=lane[1],
                speed_mps=speed,
                phase=0.0,
                vehicle=vehicle,
            )

        return make

    def _rider(self, slot: int, lane: tuple[float, int]) -> Callable[[int, float | None], Rider]:
        count = (self._options.bikes + 1 - slot % 2) // 2
        speed, period, delay, edge = self._lane(_RIDER, lane, count, slot, 1.9, 3.2, 2.6, 3.6)

        def make(generation: int, begins_s: float | None) -> Rider:
            rng = self._rng(_RIDER, slot, generation)
            begins = delay if begins_s is None else begins_s
            first = self._options.people + self._options.vehicles + 2 * slot
            return Rider(
                id=self._id(first, generation),
                bike_id=self._id(first + 1, generation),
                begins_s=begins,
                ends_s=begins + period,
                x0=edge - lane[1] * 0.9,
                z=lane[0],
                direction=lane[1],
                speed_mps=speed,
                phase=float(rng.random()),
                person=dress_person(rng, rider=True),
                frame_colour=FRAMES[int(rng.integers(len(FRAMES)))],
            )

        return make

    def _park(self, number: int) -> tuple[int, Vehicle, float]:
        rng = self._rng(_PARKED, number, 0)
        model: Model = ("hatchback", "saloon", "estate")[int(rng.integers(3))]
        first = self._options.people + self._options.vehicles + 2 * self._options.bikes
        return self._id(first + number, 0), build_vehicle(rng, -1, model), street.PARKED_X[number]


def stride_phase(walker: Walker, now_s: float) -> float:
    """Turns of the gait cycle since the trip began."""
    return walker.phase + walker.travelled(now_s) / walker.person.stride_m


def wheel_turns(metres: float, radius_m: float) -> float:
    return metres / (2 * math.pi * radius_m)
