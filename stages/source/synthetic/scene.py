"""The scene at a frame: everything that moves, as shapes in the order in which to draw them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.source.synthetic import gait
from stages.source.synthetic.backdrop import Backdrop, render_backdrop
from stages.source.synthetic.bicycle import BAR, PEDAL_M, SADDLE, WHEEL_M, bicycle_shapes
from stages.source.synthetic.camera import F64, street_camera
from stages.source.synthetic.figures import draw_people
from stages.source.synthetic.lamps import lamp_light
from stages.source.synthetic.options import SyntheticOptions
from stages.source.synthetic.shadows import people_shadows, vehicle_shadow
from stages.source.synthetic.shapes import Shape
from stages.source.synthetic.street import BAY
from stages.source.synthetic.traffic import Rider, Traffic, Walker, stride_phase, wheel_turns
from stages.source.synthetic.vehicles import Vehicle, spoke_gaps, spoke_shapes

Kind = Literal["person", "vehicle", "bike"]

_GEAR = 2.4
_SMOOTHED_PX = 1024 * 576
"""Above so many pixels edges are not drawn at double size: they are fine enough, and it costs four times as much."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """One object in one frame: its shapes; by `z` and `depth` (metres) it hides others. `rider`: who is on the bike."""

    id: int
    kind: Kind
    z: float
    depth: float
    shapes: Sequence[Shape]
    rider: int | None = None


@dataclass(frozen=True, slots=True)
class Headlamps:
    """At night: a vehicle's two lamps and the middle of its beam on the road, picture pixels; sizes in pixels."""

    lamps: tuple[tuple[float, float], ...]
    radius_px: float
    red: bool
    beam: tuple[float, float]
    beam_px: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """What there is to draw in a frame: shadows on the ground, things from far to near, lamps over all."""

    drawings: tuple[Drawing, ...]
    shadows: tuple[Shape, ...]
    lamps: tuple[Headlamps, ...]


class Scene:
    """A street with its traffic. Any frame may be asked for at any time; the same options give the same answers."""

    def __init__(self, options: SyntheticOptions) -> None:
        self.options = options
        scale = 2 if options.size_wh[0] * options.size_wh[1] <= _SMOOTHED_PX else 1
        self.camera = street_camera(options.size_wh, scale)
        self.night = options.time == "night"
        self.traffic = Traffic(options, self.camera)
        self._backdrop: Backdrop | None = None
        self._parked: tuple[tuple[Drawing, list[Shape]], ...] | None = None

    @property
    def backdrop(self) -> Backdrop:
        """The empty street, rendered when first asked for."""
        if self._backdrop is None:
            rng = np.random.Generator(np.random.PCG64([self.options.seed, 77]))
            self._backdrop = render_backdrop(self.camera, rng, night=self.night)
        return self._backdrop

    def stage(self, frame: int) -> Stage:
        """Everything in frame number `frame`, in the order in which to draw it."""
        now = frame / self.options.fps
        drawings: list[Drawing] = []
        shadows: list[Shape] = []
        lamps: list[Headlamps] = []
        for drawing, shadow in self._standing():
            drawings.append(drawing)
            shadows.extend(shadow)
        for driver in self.traffic.drivers(now):
            x = driver.x(now)
            if not self._in_view(driver.vehicle, x, driver.z):
                continue
            drawing, shadow = self._vehicle(driver.id, driver.vehicle, x, driver.z, driver.travelled(now))
            drawings.append(drawing)
            shadows.extend(shadow)
            if self.night:
                lamps.append(self._headlamps(driver.vehicle, x, driver.z, driver.direction))
        self._people(now, drawings, shadows)
        drawings.sort(key=lambda drawing: (-drawing.z, -drawing.depth, drawing.id))
        return Stage(tuple(drawings), tuple(shadows), tuple(lamps))

    def _light(self, x: float, z: float) -> F64:
        return lamp_light(np.array(x), np.array(z)) * 1.1 if self.night else np.ones(3)

    def _standing(self) -> tuple[tuple[Drawing, list[Shape]], ...]:
        """The parked vehicles, which look the same in each frame."""
        if self._parked is None:
            parked = self.traffic.parked
            self._parked = tuple(self._vehicle(id_, vehicle, x, BAY, 0.0) for id_, vehicle, x in parked)
        return self._parked

    def _in_view(self, vehicle: Vehicle, x: float, z: float) -> bool:
        near, far = (self.camera.ground_view(z + side * vehicle.width_m / 2) for side in (-1, 1))
        half = vehicle.length_m / 2 + 1.0
        return x + half > min(near[0], far[0]) and x - half < max(near[1], far[1])

    def _vehicle(self, id_: int, vehicle: Vehicle, x: float, z: float, metres: float) -> tuple[Drawing, list[Shape]]:
        """A vehicle and its shadow."""
        base = np.array([x, 0.0, z])
        light = self._light(x, z)
        more = np.concatenate([vehicle.shadow, spoke_gaps(vehicle, metres)])
        shapes, extra = vehicle.mesh.shapes(self.camera, base, light, more)
        ground = len(vehicle.shadow)
        shapes.extend(spoke_shapes(extra[ground:], light))
        depth = float(self.camera.project(base)[1])
        return Drawing(id_, "vehicle", z, depth, shapes), vehicle_shadow(extra[:ground], night=self.night)

    def _headlamps(self, vehicle: Vehicle, x: float, z: float, direction: int) -> Headlamps:
        # the camera looks along +x: who drives towards -x shows the lamps, the others their tail lights
        end = -vehicle.length_m / 2
        spots = np.array([(x + end, 0.68, z + side * vehicle.width_m * 0.4) for side in (-1.0, 1.0)])
        xy, depth = self.camera.project(spots)
        beam, far = self.camera.project(np.array([x + direction * (vehicle.length_m / 2 + 3.2), 0.0, z]))
        scale = self.camera.focal_px / float(far)
        return Headlamps(
            tuple((float(px), float(py)) for px, py in xy),
            self.camera.focal_px / float(depth.mean()) * 0.55,
            direction > 0,
            (float(beam[0]), float(beam[1])),
            (scale * 2.9, scale * 0.75),
        )

    def _people(self, now: float, drawings: list[Drawing], shadows: list[Shape]) -> None:
        """Walkers, and riders with their bicycles."""
        walkers, riders = self.traffic.walkers(now), self.traffic.riders(now)
        everyone: list[Walker | Rider] = [*walkers, *riders]
        if not everyone:
            return
        parts = [_walking(walkers, now)] if walkers else []
        parts += [_riding(riders, now)] if riders else []
        heading = np.array([0.0 if trip.direction > 0 else math.pi for trip in everyone])
        base = np.array([(trip.x(now), 0.0, trip.z) for trip in everyone])
        world = gait.place(np.concatenate(parts), base, heading)
        light = lamp_light(base[:, 0], base[:, 2]) * 1.1 if self.night else np.ones((len(everyone), 3))
        figures = draw_people(self.camera, [trip.person for trip in everyone], world, heading, light)
        depths = self.camera.project(base)[1].tolist()
        for i, trip in enumerate(everyone):
            if isinstance(trip, Rider):
                roll = wheel_turns(trip.travelled(now), WHEEL_M)
                crank = trip.phase + roll / _GEAR
                bike = bicycle_shapes(self.camera, base[i], trip.direction, crank, roll, trip.frame_colour, light[i])
                # a touch behind the rider, whose nearer leg hides the frame
                drawings.append(Drawing(trip.bike_id, "bike", trip.z + 0.01, depths[i], bike, trip.id))
            drawings.append(Drawing(trip.id, "person", trip.z, depths[i], figures[i]))
        shadows.extend(people_shadows(self.camera, world, night=self.night))


def _walking(walkers: Sequence[Walker], now: float) -> F64:
    people = [walker.person for walker in walkers]
    swing = np.array([(person.swing, person.swing) for person in people])
    bend = np.full((len(people), 2), 14.0)
    for i, walker in enumerate(walkers):
        # the bag is on the near side, and keeps that arm quiet
        near = 1 if walker.direction > 0 else 0
        if walker.person.bag in ("handbag", "shopping"):
            swing[i, near] *= 0.35
        if walker.person.bag == "shopping":
            bend[i, near] = 4.0
    return gait.walk(
        np.array([stride_phase(walker, now) for walker in walkers]),
        np.array([walker.amount(now) for walker in walkers]),
        swing,
        bend,
        np.array([person.height_m for person in people]),
        np.array([person.build for person in people]),
    )


def _riding(riders: Sequence[Rider], now: float) -> F64:
    people = [rider.person for rider in riders]
    return gait.ride(
        np.array([rider.phase + wheel_turns(rider.travelled(now), WHEEL_M) / _GEAR for rider in riders]),
        np.array([person.height_m for person in people]),
        np.array([person.build for person in people]),
        SADDLE,
        BAR,
        PEDAL_M,
    )
