"""The scene at a frame: everything that moves as shapes in drawing order, and the exact truth about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.source.synthetic import gait
from stages.source.synthetic.backdrop import Backdrop, lamp_light, render_backdrop
from stages.source.synthetic.bicycle import BAR, PEDAL_M, SADDLE, WHEEL_M, bicycle_shapes
from stages.source.synthetic.camera import F64, street_camera
from stages.source.synthetic.figures import draw_people
from stages.source.synthetic.mesh import SUN
from stages.source.synthetic.options import SyntheticOptions
from stages.source.synthetic.shapes import CONVEX, Shape
from stages.source.synthetic.street import BAY
from stages.source.synthetic.traffic import Rider, Traffic, Walker, stride_phase, wheel_turns
from stages.source.synthetic.vehicles import Vehicle

Kind = Literal["person", "vehicle", "bike"]

_SPOKES = 5
_GEAR = 2.4


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """One object in one frame: shapes in canvas coordinates; `z` says what hides what."""

    id: int
    kind: Kind
    z: float
    depth: float
    shapes: Sequence[Shape]
    rider: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Shadow:
    """A shadow on the ground: lines (points, width) and outlines, in canvas pixels' fixed point."""

    shapes: Sequence[Shape]


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
    """What there is to draw in a frame, far things first."""

    drawings: tuple[Drawing, ...]
    shadows: tuple[Shadow, ...]
    lamps: tuple[Headlamps, ...]


class Scene:
    """A street with its traffic. Any frame may be asked for at any time; the same options give the same answers."""

    def __init__(self, options: SyntheticOptions) -> None:
        self.options = options
        # beyond a quarter of a million pixels the picture is fine enough without smoothing its edges twice over
        scale = 2 if options.size_wh[0] * options.size_wh[1] <= 1024 * 576 else 1
        self.camera = street_camera(options.size_wh, scale)
        self.night = options.time == "night"
        self.traffic = Traffic(options, self.camera)
        self._backdrop: Backdrop | None = None

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
        shadows: list[Shadow] = []
        lamps: list[Headlamps] = []
        self._vehicles(now, drawings, shadows, lamps)
        self._people(now, drawings, shadows)
        drawings.sort(key=lambda drawing: (-drawing.z, -drawing.depth, drawing.id))
        return Stage(tuple(drawings), tuple(shadows), tuple(lamps))

    def _light(self, x: float, z: float) -> F64:
        if not self.night:
            return np.ones(3)
        return lamp_light(np.array(x), np.array(z)) * 1.1

    def _vehicles(self, now: float, drawings: list[Drawing], shadows: list[Shadow], lamps: list[Headlamps]) -> None:
        for id_, vehicle, x in self.traffic.parked:
            self._vehicle(id_, vehicle, x, BAY, -1, 0.0, drawings, shadows)
        for driver in self.traffic.drivers(now):
            x = driver.x(now)
            visible = self._vehicle(
                driver.id, driver.vehicle, x, driver.z, driver.direction, driver.travelled(now), drawings, shadows
            )
            if self.night and visible:
                lamps.append(self._headlamps(driver.vehicle, x, driver.z, driver.direction))

    def _vehicle(
        self,
        id_: int,
        vehicle: Vehicle,
        x: float,
        z: float,
        direction: int,
        metres: float,
        drawings: list[Drawing],
        shadows: list[Shadow],
    ) -> bool:
        base = np.array([x, 0.0, z])
        left, right = self.camera.ground_view(z - vehicle.width_m / 2)
        far_left, far_right = self.camera.ground_view(z + vehicle.width_m / 2)
        if x + vehicle.length_m / 2 < min(left, far_left) - 1 or x - vehicle.length_m / 2 > max(right, far_right) + 1:
            return False
        light = self._light(x, z)
        shapes = vehicle.mesh.shapes(self.camera, base, light)
        shapes.extend(self._spokes(vehicle, base, metres, light))
        depth = float(self.camera.project(base)[1])
        drawings.append(Drawing(id_, "vehicle", z, depth, shapes))
        shadows.append(self._vehicle_shadow(vehicle, base))
        return True

    def _spokes(self, vehicle: Vehicle, base: F64, metres: float, light: F64) -> list[Shape]:
        """The dark gaps between the spokes of the wheels on the side that is seen."""
        side = -1.0 if vehicle.mesh.direction > 0 else 1.0
        points = []
        for forward, radius, y in vehicle.mesh.wheels:
            if y * side < 0:
                continue
            for spoke in range(_SPOKES):
                turn = 2 * math.pi * (spoke / _SPOKES - wheel_turns(metres, radius))
                for angle, out in ((turn - 0.25, 0.22), (turn - 0.36, 0.56), (turn + 0.36, 0.56), (turn + 0.25, 0.22)):
                    points.append(
                        (forward + radius * out * math.cos(angle), y, radius + radius * out * math.sin(angle))
                    )
        canvas = self.camera.canvas(self.camera.project(vehicle.mesh.world(np.array(points), base))[0])
        colour = (int(52 * light[0]), int(50 * light[1]), int(48 * light[2]))
        return [(CONVEX, canvas[i : i + 4], colour) for i in range(0, len(points), 4)]

    def _vehicle_shadow(self, vehicle: Vehicle, base: F64) -> Shadow:
        half_l, half_w = vehicle.length_m / 2, vehicle.width_m / 2
        corners = [
            (f, side, 0.0) for f, side in ((-half_l, -half_w), (half_l, -half_w), (half_l, half_w), (-half_l, half_w))
        ]
        footprint = vehicle.mesh.world(np.array(corners), base)
        if self.night:
            return Shadow([self._outline(footprint)])
        shapes = [self._outline(footprint)]
        # the body's and the roof's outlines, thrown onto the ground, and what lies between them
        low = footprint + (0.0, min(0.9, vehicle.height_m * 0.6), 0.0)
        roof = vehicle.mesh.world(np.array(corners) * (0.55 if vehicle.height_m < 1.8 else 1.0, 0.8, 0.0), base)
        roof += (0.0, vehicle.height_m, 0.0)
        import cv2

        for group in ((footprint, low), (low, roof)):
            thrown = np.concatenate([_thrown(part) for part in group])
            hull = cv2.convexHull(self.camera.canvas(self.camera.project(thrown)[0]))[:, 0]
            shapes.append((CONVEX, hull, (255, 255, 255)))
        return Shadow(shapes)

    def _outline(self, world: F64) -> Shape:
        return (CONVEX, self.camera.canvas(self.camera.project(world)[0]), (255, 255, 255))

    def _headlamps(self, vehicle: Vehicle, x: float, z: float, direction: int) -> Headlamps:
        # the camera looks along +x: who drives towards -x shows the lamps, the others their tail lights
        towards = direction < 0
        end = vehicle.length_m / 2 * direction * (1 if towards else -1)
        spots = np.array([(x + end, 0.68, z + side * vehicle.width_m * 0.4) for side in (-1.0, 1.0)])
        xy, depth = self.camera.project(spots)
        ahead = np.array([x + direction * (vehicle.length_m / 2 + 3.2), 0.0, z])
        beam, far = self.camera.project(ahead)
        scale = self.camera.focal_px / float(far)
        return Headlamps(
            tuple((float(px), float(py)) for px, py in xy),
            self.camera.focal_px / float(depth.mean()) * 0.55,
            not towards,
            (float(beam[0]), float(beam[1])),
            (scale * 2.9, scale * 0.75),
        )

    def _people(self, now: float, drawings: list[Drawing], shadows: list[Shadow]) -> None:
        walkers, riders = self.traffic.walkers(now), self.traffic.riders(now)
        if not walkers and not riders:
            return
        joints = np.concatenate([self._walking(walkers, now), self._riding(riders, now)])
        everyone: list[Walker | Rider] = [*walkers, *riders]
        heading = np.array([0.0 if trip.direction > 0 else math.pi for trip in everyone])
        base = np.array([(trip.x(now), 0.0, trip.z) for trip in everyone])
        world = gait.place(joints, base, heading)
        light = lamp_light(base[:, 0], base[:, 2]) * 1.1 if self.night else np.ones((len(everyone), 3))
        figures = draw_people(self.camera, [trip.person for trip in everyone], world, heading, light)
        depths = self.camera.project(base)[1]
        for trip, shapes, depth in zip(everyone, figures, depths.tolist(), strict=True):
            if isinstance(trip, Rider):
                metres = trip.travelled(now)
                roll = wheel_turns(metres, WHEEL_M)
                bike = bicycle_shapes(
                    self.camera,
                    np.array([trip.x(now), 0.0, trip.z]),
                    trip.direction,
                    trip.phase + roll / _GEAR,
                    roll,
                    trip.frame_colour,
                    self._light(trip.x(now), trip.z),
                )
                drawings.append(Drawing(trip.bike_id, "bike", trip.z + 0.01, depth, bike, trip.id))
            drawings.append(Drawing(trip.id, "person", trip.z, depth, shapes))
        shadows.extend(self._people_shadows(world, everyone))

    def _walking(self, walkers: Sequence[Walker], now: float) -> F64:
        people = [walker.person for walker in walkers]
        swing = np.array(
            [
                (person.swing, person.swing * (0.35 if person.bag in ("handbag", "shopping") else 1.0))
                for person in people
            ]
        )
        bend = np.array([(14.0, 4.0 if person.bag == "shopping" else 14.0) for person in people])
        # the bag is on the near side, whichever that is
        towards_left = np.array([walker.direction < 0 for walker in walkers], bool)
        swing[towards_left], bend[towards_left] = swing[towards_left][:, ::-1], bend[towards_left][:, ::-1]
        return gait.walk(
            np.array([stride_phase(walker, now) for walker in walkers]),
            np.array([walker.amount(now) for walker in walkers]),
            swing.reshape(-1, 2),
            bend.reshape(-1, 2),
            np.array([person.height_m for person in people]),
            np.array([person.build for person in people]),
        )

    def _riding(self, riders: Sequence[Rider], now: float) -> F64:
        people = [rider.person for rider in riders]
        crank = np.array([rider.phase + wheel_turns(rider.travelled(now), WHEEL_M) / _GEAR for rider in riders])
        return gait.ride(
            crank,
            np.array([person.height_m for person in people]),
            np.array([person.build for person in people]),
            SADDLE,
            BAR,
            PEDAL_M,
        )

    def _people_shadows(self, world: F64, trips: Sequence[Walker | Rider]) -> list[Shadow]:
        camera = self.camera
        flat = world.copy()
        if self.night:
            flat[..., 1] = 0.0
            flat = flat[:, [gait.LEFT + gait.HEEL, gait.RIGHT + gait.TOE, gait.RIGHT + gait.HEEL, gait.LEFT + gait.TOE]]
        else:
            flat = _thrown(flat)
        xy, depth = camera.project(flat)
        canvas = camera.canvas(xy)
        scale = camera.focal_px * camera.canvas_scale / depth[:, 0]
        white = (255, 255, 255)
        out = []
        for i in range(len(trips)):
            points, unit = canvas[i], float(scale[i])

            def wide(metres: float, unit: float = unit) -> int:
                return max(1, round(metres * unit))

            if self.night:
                out.append(Shadow([(wide(0.2), points, white)]))
                continue
            shapes: list[Shape] = []
            for side in (gait.LEFT, gait.RIGHT):
                shapes.append(
                    (wide(0.12), points[[side + gait.HIP, side + gait.KNEE, side + gait.ANKLE, side + gait.TOE]], white)
                )
                shapes.append((wide(0.07), points[[side + gait.SHOULDER, side + gait.ELBOW, side + gait.WRIST]], white))
            shapes.append((wide(0.28), points[[gait.PELVIS, gait.NECK]], white))
            shapes.append((wide(0.17), points[[gait.NECK, gait.CROWN]], white))
            out.append(Shadow(shapes))
        return out


def _thrown(world: F64) -> F64:
    """Where the sun throws the shadow of points onto the ground."""
    out = world.copy()
    out[..., 0] -= SUN[0] / SUN[1] * world[..., 1]
    out[..., 2] -= SUN[2] / SUN[1] * world[..., 1]
    out[..., 1] = 0.0
    return out
