"""Buses and trucks: boxes with windows, doors, lamps and wheels. Metres; see `mesh`."""

from __future__ import annotations

import math

import numpy as np

from stages.source.synthetic.camera import Colour, blend, tint
from stages.source.synthetic.mesh import Mesh
from stages.source.synthetic.vehicle_parts import (
    GLASS,
    GLASS_SKY,
    LAMP,
    PAINTS,
    PLATE,
    SILL,
    TAIL,
    Built,
    arch,
    box,
    far_wheel,
    panel,
    wheel,
)


def build_bus(mesh: Mesh, rng: np.random.Generator, night: bool) -> Built:
    liveries: tuple[tuple[Colour, Colour], ...] = (
        ((36, 34, 170), (210, 210, 212)),
        ((170, 110, 40), (225, 225, 225)),
        ((60, 180, 220), (230, 230, 228)),
        ((90, 140, 60), (225, 228, 226)),
    )
    paint, band = liveries[int(rng.integers(len(liveries)))]
    long, half, top = 5.2, 1.22, 3.0
    wheels = ((-2.7, 0.46), (3.0, 0.46))
    for f, r in wheels:
        far_wheel(mesh, f, r, half)
    box(mesh, -long, long, 0.32, top, half, (paint, tint(band, 0.95), paint, paint))
    panel(mesh, -long, long, 0.32, 0.5, half + 0.002, SILL)
    mesh.both_sides(
        [
            (-long, half + 0.002, 2.62),
            (long, half + 0.002, 2.62),
            (long, half + 0.002, top),
            (-long, half + 0.002, top),
        ],
        band,
    )
    mesh.both_sides(
        [(-long, half + 0.002, 1.1), (long, half + 0.002, 1.1), (long, half + 0.002, 1.2), (-long, half + 0.002, 1.2)],
        band,
    )
    glass = (120, 190, 205) if night else GLASS
    count = 7
    step = (2 * long - 0.5) / count
    panel(mesh, -long + 0.2, long - 0.1, 1.36, 2.5, half + 0.004, (48, 44, 42))
    for i in range(count):
        f = -long + 0.25 + i * step
        panel(mesh, f + 0.04, f + step - 0.04, 1.4, 2.46, half + 0.006, glass, glow=night)
        if not night:
            panel(mesh, f + 0.04, f + step - 0.04, 1.95, 2.46, half + 0.008, blend(GLASS, GLASS_SKY, 0.45))
        if float(rng.random()) < 0.6:
            dark = tint(glass, 0.55)
            panel(mesh, f + 0.45, f + 0.75, 1.4, 1.75, half + 0.009, dark, glow=night)
            panel(mesh, f + 0.5, f + 0.7, 1.72, 1.98, half + 0.009, dark, glow=night)
    for f in (-0.4, 3.9):
        panel(mesh, f, f + 1.0, 0.45, 2.5, half + 0.01, (40, 38, 36))
        panel(mesh, f + 0.06, f + 0.47, 0.6, 2.42, half + 0.012, blend(glass, GLASS_SKY, 0.2), glow=night)
        panel(mesh, f + 0.53, f + 0.94, 0.6, 2.42, half + 0.012, blend(glass, GLASS_SKY, 0.2), glow=night)
    x = long + 0.01
    ahead = (1.0, 0.0, 0.0)
    mesh.face(
        [(x, half * 0.95, 1.2), (x, -half * 0.95, 1.2), (x, -half * 0.95, 2.5), (x, half * 0.95, 2.5)],
        GLASS,
        normal=ahead,
        lit=False,
    )
    mesh.face(
        [(x, half * 0.95, 1.9), (x, -half * 0.2, 1.9), (x, -half * 0.5, 2.5), (x, half * 0.95, 2.5)],
        blend(GLASS, GLASS_SKY, 0.5),
        normal=ahead,
        lit=False,
    )
    mesh.face(
        [(x, 0.8, 2.58), (x, -0.8, 2.58), (x, -0.8, 2.88), (x, 0.8, 2.88)],
        (40, 160, 240),
        normal=ahead,
        lit=False,
        glow=night,
    )
    mesh.face([(x, 0.28, 0.5), (x, -0.28, 0.5), (x, -0.28, 0.62), (x, 0.28, 0.62)], PLATE, normal=ahead)
    for sign in (1.0, -1.0):
        mesh.face(
            [(x, sign * 1.12, 0.66), (x, sign * 0.76, 0.66), (x, sign * 0.76, 0.88), (x, sign * 1.12, 0.88)],
            (250, 255, 255) if night else LAMP,
            normal=ahead,
            lit=False,
            glow=night,
        )
        mesh.face(
            [(-x, sign * 1.14, 0.7), (-x, sign * 0.92, 0.7), (-x, sign * 0.92, 1.2), (-x, sign * 1.14, 1.2)],
            (60, 50, 255) if night else TAIL,
            normal=(-1.0, 0.0, 0.0),
            lit=False,
            glow=night,
        )
    mesh.face(
        [(-x, 0.95, 1.6), (-x, -0.95, 1.6), (-x, -0.95, 2.45), (-x, 0.95, 2.45)],
        GLASS,
        normal=(-1.0, 0.0, 0.0),
        lit=False,
    )
    for f, r in wheels:
        arch(mesh, f, r, half + 0.01)
        wheel(mesh, f, r, half + 0.014)
    return 2 * long, 2 * half, top


def build_truck(mesh: Mesh, rng: np.random.Generator, night: bool) -> Built:
    cab = tint(PAINTS[int(rng.integers(len(PAINTS)))], 1.0)
    cargo: Colour = ((206, 208, 208), (190, 150, 90), (90, 120, 180), (170, 176, 178))[int(rng.integers(4))]
    half, rear, nose = 1.12, -3.7, 3.3
    wheels = ((-2.4, 0.44), (-1.45, 0.44), (2.35, 0.44))
    for f, r in wheels:
        far_wheel(mesh, f, r, half)
    box(mesh, rear + 0.1, nose - 0.2, 0.5, 0.78, half * 0.8, (SILL, SILL, SILL, SILL))
    # who drives to the right is seen from behind, so that the cargo hides the cab
    for part in ("cab", "cargo") if mesh.direction > 0 else ("cargo", "cab"):
        if part == "cargo":
            box(mesh, rear, 1.35, 0.82, 3.1, half, (cargo, tint(cargo, 0.95), cargo, tint(cargo, 0.9)))
            for f in np.linspace(rear + 0.4, 0.95, 8).tolist():
                panel(mesh, f, f + 0.03, 0.9, 3.02, half + 0.003, tint(cargo, 0.72))
            panel(mesh, rear, 1.35, 0.82, 0.92, half + 0.004, (70, 68, 66))
            panel(mesh, rear + 0.9, 0.4, 1.7, 2.4, half + 0.005, blend(cargo, cab, 0.7))
        else:
            box(mesh, 1.5, nose, 0.5, 1.5, half * 0.97, (cab, cab, cab, tint(cab, 0.7)))
            profile = ((1.5, 1.5), (1.5, 2.35), (1.7, 2.5), (2.75, 2.5), (nose, 1.5))
            widths = [half * 0.97, half * 0.92, half * 0.9, half * 0.9, half * 0.97]
            mesh.strip(profile, widths, [tint(cab, 0.7), cab, cab, cab])
            mesh.both_sides([(f, w, u) for (f, u), w in zip(profile, widths, strict=True)], cab)
            window = ((2.0, 1.56), (3.05, 1.56), (2.72, 2.3), (2.0, 2.3))
            mesh.both_sides([(f, half * 0.98, u) for f, u in window], GLASS, lit=False)
            gleam = ((2.0, 1.95), (2.88, 1.95), (2.72, 2.3), (2.0, 2.3))
            mesh.both_sides([(f, half * 0.985, u) for f, u in gleam], blend(GLASS, GLASS_SKY, 0.45), lit=False)
            length = math.hypot(0.55, 1.0)
            glass_normal = (1.0 / length, 0.0, 0.55 / length)
            mesh.face(
                [
                    (nose + 0.01, half * 0.85, 1.56),
                    (nose + 0.01, -half * 0.85, 1.56),
                    (2.83, -half * 0.82, 2.4),
                    (2.83, half * 0.82, 2.4),
                ],
                GLASS,
                normal=glass_normal,
                lit=False,
            )
            mesh.face(
                [
                    (3.1, half * 0.85, 1.95),
                    (3.1, -half * 0.2, 1.95),
                    (2.83, -half * 0.4, 2.4),
                    (2.83, half * 0.82, 2.4),
                ],
                blend(GLASS, GLASS_SKY, 0.5),
                normal=glass_normal,
                lit=False,
            )
            x = nose + 0.012
            mesh.face(
                [(x, 0.75, 0.85), (x, -0.75, 0.85), (x, -0.75, 1.4), (x, 0.75, 1.4)],
                (44, 42, 42),
                normal=(1.0, 0.0, 0.0),
                lit=False,
            )
            for sign in (1.0, -1.0):
                mesh.face(
                    [(x, sign * 1.02, 0.62), (x, sign * 0.74, 0.62), (x, sign * 0.74, 0.82), (x, sign * 1.02, 0.82)],
                    (250, 255, 255) if night else LAMP,
                    normal=(1.0, 0.0, 0.0),
                    lit=False,
                    glow=night,
                )
                mesh.face(
                    [
                        (rear - 0.01, sign * 1.04, 0.56),
                        (rear - 0.01, sign * 0.74, 0.56),
                        (rear - 0.01, sign * 0.74, 0.76),
                        (rear - 0.01, sign * 1.04, 0.76),
                    ],
                    (60, 50, 255) if night else TAIL,
                    normal=(-1.0, 0.0, 0.0),
                    lit=False,
                    glow=night,
                )
    for f, r in wheels:
        wheel(mesh, f, r, half + 0.01)
    return nose - rear, 2 * half, 3.1
