"""What vehicles have in common: colours, wheels, boxes and panels."""

from __future__ import annotations

import math

from stages.source.synthetic.camera import Colour
from stages.source.synthetic.mesh import Mesh, Point

PAINTS: tuple[Colour, ...] = (
    (222, 222, 222),
    (178, 176, 172),
    (112, 108, 104),
    (50, 46, 44),
    (38, 36, 38),
    (206, 208, 210),
    (86, 82, 80),
    (122, 72, 44),
    (46, 42, 146),
    (78, 88, 62),
    (150, 168, 178),
    (84, 56, 42),
    (160, 130, 96),
)
GLASS: Colour = (74, 66, 58)
GLASS_SKY: Colour = (168, 156, 142)
RUBBER: Colour = (30, 30, 32)
SILL: Colour = (46, 44, 44)
PLATE: Colour = (226, 228, 226)
LAMP: Colour = (232, 236, 232)
TAIL: Colour = (44, 36, 190)

Built = tuple[float, float, float]
"""Length, width and height in metres."""


def _disc(forward: float, radius: float, y: float, count: int = 16, up: float | None = None) -> list[Point]:
    centre = radius if up is None else up
    return [
        (forward + radius * math.cos(2 * math.pi * i / count), y, centre + radius * math.sin(2 * math.pi * i / count))
        for i in range(count)
    ]


def far_wheel(mesh: Mesh, forward: float, radius: float, half: float) -> None:
    """The tread of each wheel, seen below the body."""
    for y in (half - 0.1, -(half - 0.1)):
        mesh.face(_disc(forward, radius, y, 10), RUBBER, lit=False)


def arch(mesh: Mesh, forward: float, radius: float, half: float) -> None:
    """The dark hollow that the wheel stands in."""
    count = 14
    big = radius * 1.2
    points = [
        (forward + big * math.cos(math.pi * i / count), half + 0.003, radius + big * math.sin(math.pi * i / count))
        for i in range(count + 1)
    ]
    points.extend([(forward - big, half + 0.003, 0.22), (forward + big, half + 0.003, 0.22)])
    mesh.both_sides(points, (24, 24, 26), lit=False)


def wheel(mesh: Mesh, forward: float, radius: float, half: float) -> None:
    for y, side in ((half, 1.0), (-half, -1.0)):
        normal = (0.0, side, 0.0)
        mesh.face(_disc(forward, radius, y, 18), RUBBER, normal=normal, lit=False)
        mesh.face(_disc(forward, radius * 0.66, y, 14, radius), (120, 118, 116), normal=normal, lit=False)
        mesh.wheels.append((forward, radius, y))


def box(
    mesh: Mesh, f0: float, f1: float, u0: float, u1: float, half: float, colours: tuple[Colour, Colour, Colour, Colour]
) -> None:
    """A box: sides, top, front, rear in their colours."""
    side, top, front, rear = colours
    mesh.face([(f0, half, u0), (f0, -half, u0), (f0, -half, u1), (f0, half, u1)], rear, normal=(-1.0, 0.0, 0.0))
    mesh.face([(f1, half, u0), (f1, -half, u0), (f1, -half, u1), (f1, half, u1)], front, normal=(1.0, 0.0, 0.0))
    mesh.face([(f0, half, u1), (f0, -half, u1), (f1, -half, u1), (f1, half, u1)], top, normal=(0.0, 0.0, 1.0))
    mesh.both_sides([(f0, half, u0), (f1, half, u0), (f1, half, u1), (f0, half, u1)], side)


def panel(
    mesh: Mesh, f0: float, f1: float, u0: float, u1: float, half: float, colour: Colour, *, glow: bool = False
) -> None:
    mesh.both_sides([(f0, half, u0), (f1, half, u0), (f1, half, u1), (f0, half, u1)], colour, lit=False, glow=glow)
