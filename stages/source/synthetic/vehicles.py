"""Vehicles: drawn by lot, built once, then moved along the street.

Proportions are those of ordinary cars, vans, buses and trucks; forward is the direction of travel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.source.synthetic.camera import F64, I32, tint
from stages.source.synthetic.cars import build_car
from stages.source.synthetic.lorries import build_bus, build_truck
from stages.source.synthetic.mesh import Mesh
from stages.source.synthetic.shadows import vehicle_outline
from stages.source.synthetic.shapes import CONVEX, Shape
from stages.source.synthetic.vehicle_parts import PAINTS

Model = Literal["hatchback", "saloon", "estate", "van", "bus", "truck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """A built vehicle: its mesh and its measures in metres.

    `shadow`: `shadows.vehicle_outline`; `near_wheels` (N, 3): forward, radius and left of those that the camera sees.
    """

    model: Model
    mesh: Mesh
    length_m: float
    width_m: float
    height_m: float
    shadow: F64
    near_wheels: F64


_SPOKES = 5
# the gaps between spokes: (spokes, 4 corners) radians, and the corners' distance from the hub in radii
_GAP_ANGLES = 2 * np.pi * np.arange(_SPOKES)[:, None] / _SPOKES + np.array([-0.25, -0.36, 0.36, 0.25])
_GAP_RADII = np.array([0.22, 0.56, 0.56, 0.22])


def spoke_gaps(vehicle: Vehicle, metres: float) -> F64:
    """(wheels * spokes * 4, 3) in the body's frame: the dark gaps in the near wheels, `metres` after the start."""
    forward, radius, out = (vehicle.near_wheels[:, i, None, None] for i in range(3))
    angle = _GAP_ANGLES - metres / radius
    points = np.empty((len(vehicle.near_wheels), _SPOKES, 4, 3))
    points[..., 0] = forward + radius * _GAP_RADII * np.cos(angle)
    points[..., 1] = out
    points[..., 2] = radius + radius * _GAP_RADII * np.sin(angle)
    return points.reshape(-1, 3)


def spoke_shapes(canvas: I32, light: F64) -> list[Shape]:
    """The gaps as shapes; `canvas` are the points of `spoke_gaps`."""
    colour = (int(52 * light[0]), int(50 * light[1]), int(48 * light[2]))
    return [(CONVEX, canvas[i : i + 4], colour) for i in range(0, len(canvas), 4)]


def build_vehicle(
    rng: np.random.Generator, direction: int, model: Model | None = None, *, night: bool = False
) -> Vehicle:
    """Draw a vehicle by lot, or one of the given model."""
    chance = float(rng.random())
    if model is None:
        model = (
            "hatchback"
            if chance < 0.27
            else "saloon"
            if chance < 0.52
            else "estate"
            if chance < 0.72
            else "van"
            if chance < 0.84
            else "bus"
            if chance < 0.92
            else "truck"
        )
    paint = tint(PAINTS[int(rng.integers(len(PAINTS)))], 0.9 + 0.2 * float(rng.random()))
    stretch = 0.96 + 0.08 * float(rng.random())
    mesh = Mesh(direction)
    if model == "bus":
        built = build_bus(mesh, rng, night)
    elif model == "truck":
        built = build_truck(mesh, rng, night)
    else:
        built = build_car(mesh, model, paint, stretch, night)
    length, width, height = built
    mesh.freeze()
    return Vehicle(
        model=model,
        mesh=mesh,
        length_m=length,
        width_m=width,
        height_m=height,
        shadow=vehicle_outline(direction, length, width, height),
        near_wheels=np.array([wheel for wheel in mesh.wheels if wheel[2] * direction < 0]),
    )
