"""Cars and vans: bodies drawn from their outlines, with windows, doors, lamps and wheels. Metres; see `mesh`."""

from __future__ import annotations

import itertools
import math

import numpy as np

from stages.source.synthetic.camera import Colour, blend, tint
from stages.source.synthetic.mesh import Mesh, Point
from stages.source.synthetic.vehicle_parts import (
    GLASS,
    GLASS_SKY,
    LAMP,
    PLATE,
    SILL,
    TAIL,
    Built,
    arch,
    far_wheel,
    wheel,
)

# outline of the body from rear to front (forward, up); cabin: base rear, roof rear, roof front, base front
_BODIES: dict[str, tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...], float, float]] = {
    "hatchback": (
        (
            (-1.92, 0.3),
            (-1.98, 0.55),
            (-1.94, 0.78),
            (-1.86, 0.96),
            (0.86, 0.98),
            (1.3, 0.92),
            (1.68, 0.8),
            (1.92, 0.64),
            (1.97, 0.45),
            (1.9, 0.24),
        ),
        ((-1.86, 0.95), (-1.5, 1.38), (-0.9, 1.49), (-0.1, 1.5), (0.2, 1.44), (1.0, 0.95)),
        1.74,
        1.24,
    ),
    "saloon": (
        (
            (-2.2, 0.3),
            (-2.28, 0.55),
            (-2.25, 0.82),
            (-2.12, 1.0),
            (-1.62, 1.02),
            (0.95, 0.98),
            (1.55, 0.9),
            (2.0, 0.78),
            (2.2, 0.62),
            (2.26, 0.45),
            (2.18, 0.24),
        ),
        ((-1.78, 1.0), (-1.1, 1.38), (-0.75, 1.44), (-0.1, 1.45), (0.2, 1.4), (1.1, 0.96)),
        1.8,
        1.36,
    ),
    "estate": (
        (
            (-2.14, 0.34),
            (-2.24, 0.6),
            (-2.2, 0.86),
            (-2.1, 1.04),
            (0.92, 1.06),
            (1.5, 1.0),
            (1.96, 0.88),
            (2.14, 0.7),
            (2.2, 0.5),
            (2.12, 0.28),
        ),
        ((-2.1, 1.03), (-1.82, 1.5), (-1.2, 1.62), (-0.1, 1.64), (0.2, 1.58), (1.06, 1.03)),
        1.84,
        1.34,
    ),
    "van": (
        (
            (-2.55, 0.36),
            (-2.6, 0.6),
            (-2.6, 0.9),
            (-2.58, 1.16),
            (1.46, 1.16),
            (1.98, 1.08),
            (2.4, 0.9),
            (2.52, 0.7),
            (2.55, 0.5),
            (2.48, 0.3),
        ),
        ((-2.58, 1.15), (-2.52, 1.95), (-2.2, 2.06), (0.5, 2.08), (0.85, 2.0), (1.62, 1.13)),
        1.94,
        1.62,
    ),
}


def _width_at(forward: float, half_length: float, half_width: float) -> float:
    """The body narrows towards its ends."""
    return half_width * (1.0 - 0.13 * abs(forward / half_length) ** 5)


def build_car(mesh: Mesh, model: str, paint: Colour, stretch: float, night: bool) -> Built:
    body, cabin, width, wheel_f = _BODIES[model]
    body = tuple((f * stretch, u) for f, u in body)
    cabin = tuple((f * stretch, u) for f, u in cabin)
    half, long = width / 2, max(f for f, _ in body)
    radius = 0.32 if model != "van" else 0.35
    wheels = ((-wheel_f * stretch, radius), (wheel_f * stretch, radius))
    # the camera stands on the near side: the left of those who drive to the picture's left
    _mirror(mesh, cabin[-1], half, paint, mesh.direction)
    for f, r in wheels:
        far_wheel(mesh, f, r, half)
    widths = [_width_at(f, long, half) for f, _ in body]
    shades = [tint(paint, 0.8) if u1 < 0.5 else paint for (_, _), (_, u1) in itertools.pairwise(body)]
    mesh.strip(body, widths, shades)
    _flank(mesh, body, long, half, paint)
    for f, r in wheels:
        arch(mesh, f, r, half)
    _cabin(mesh, model, cabin, long, half, paint)
    _doors(mesh, model, half, paint, stretch, body)
    for f, r in wheels:
        wheel(mesh, f, r, half + 0.01)
    _front(mesh, body, widths, night)
    _rear(mesh, body, widths, night)
    _mirror(mesh, cabin[-1], half, paint, -mesh.direction)
    return 2 * long, width, max(u for _, u in cabin)


def _mirror(mesh: Mesh, foot: tuple[float, float], half: float, paint: Colour, side: int) -> None:
    f, u, y = foot[0] - 0.28, foot[1] + 0.06, side * (half + 0.02)
    out = y + side * 0.14
    mesh.face([(f, y, u), (f + 0.14, out, u), (f + 0.12, out, u + 0.13), (f, y, u + 0.13)], tint(paint, 0.7))


def _flank(mesh: Mesh, body: tuple[tuple[float, float], ...], long: float, half: float, paint: Colour) -> None:
    """The sides in bands from sill to shoulder, as the curved sheet catches the light."""
    mesh.both_sides([(f, _width_at(f, long, half), u) for f, u in body], tint(paint, 0.86))
    stations = np.linspace(min(f for f, _ in body), max(f for f, _ in body), 15)
    fs, us = [f for f, _ in body], [u for _, u in body]
    # the outline as a function of forward: its upper branch, from the rearmost point to the foremost
    start, end = fs.index(min(fs)), fs.index(max(fs))
    top = np.interp(stations, fs[start : end + 1], us[start : end + 1])
    top = np.maximum(top, 0.32)
    low = 0.24
    for bottom, ceiling, colour in (
        (0.0, 0.14, SILL),
        (0.14, 0.46, tint(paint, 0.74)),
        (0.46, 0.7, tint(paint, 0.9)),
        (0.7, 0.9, tint(paint, 1.04)),
        (0.9, 1.0, tint(paint, 1.22)),
    ):
        upper = [
            (float(f), _width_at(float(f), long, half), low + (float(t) - low) * ceiling)
            for f, t in zip(stations, top, strict=True)
        ]
        lower = [
            (float(f), _width_at(float(f), long, half), low + (float(t) - low) * bottom)
            for f, t in zip(stations, top, strict=True)
        ]
        mesh.both_sides([*upper, *lower[::-1]], colour)


def _cabin(
    mesh: Mesh, model: str, cabin: tuple[tuple[float, float], ...], long: float, half: float, paint: Colour
) -> None:
    base, roof = half * 0.95, half * (0.76 if model != "van" else 0.86)
    top_u = max(u for _, u in cabin)
    low_u = cabin[0][1]

    def width(u: float) -> float:
        return base + (roof - base) * (u - low_u) / (top_u - low_u)

    widths = [width(u) for _, u in cabin]
    colours = [paint] * (len(cabin) - 1)
    mesh.strip(cabin, widths, colours)
    lean = (base - roof) / (top_u - low_u)
    mesh.both_sides([(f, width(u), u) for f, u in cabin], tint(paint, 0.92), lean=lean)
    # windscreen and rear window
    for (f0, u0), (f1, u1), share in (
        (cabin[-2], cabin[-1], 1.0),
        (cabin[1], cabin[0], 0.62 if model == "van" else 0.86),
    ):

        def at(t: float, side: float, f0: float = f0, u0: float = u0, f1: float = f1, u1: float = u1) -> Point:
            u = u0 + (u1 - u0) * t
            return (f0 + (f1 - f0) * t, side * width(u) * 0.9, u + 0.012)

        length = math.hypot(f1 - f0, u1 - u0)
        out = 1.0 if f1 > f0 else -1.0
        normal = (out * (u0 - u1) / length, 0.0, abs(f1 - f0) / length)
        mesh.face(
            [at(0.06, 1), at(0.06, -1), at(0.94 * share, -1), at(0.94 * share, 1)], GLASS, normal=normal, lit=False
        )
        mesh.face(
            [at(0.06, 1), at(0.06, -0.1), at(0.5 * share, -0.5), at(0.55 * share, 1)],
            blend(GLASS, GLASS_SKY, 0.55),
            normal=normal,
            lit=False,
        )
    # side windows with pillars between them
    rear, front = cabin[1], cabin[-2]
    cuts = {
        "hatchback": (0.0, 0.48, 1.0),
        "saloon": (0.0, 0.5, 1.0),
        "estate": (0.0, 0.33, 0.66, 1.0),
        "van": (0.74, 1.0),
    }[model]
    low, high = low_u + 0.05, top_u - 0.1
    for start, end in itertools.pairwise(cuts):

        def f_at(share: float, u: float) -> float:
            t = (u - low_u) / (top_u - low_u)
            back = cabin[0][0] + (rear[0] - cabin[0][0]) * t + 0.14
            ahead = cabin[-1][0] + (front[0] - cabin[-1][0]) * t - 0.1
            return back + (ahead - back) * share

        a, b = start + (0.025 if start > 0 else 0.0), end - (0.025 if end < 1 else 0.0)
        corners = [(f_at(a, low), low), (f_at(b, low), low), (f_at(b, high), high), (f_at(a, high), high)]
        mesh.both_sides([(f, width(u) + 0.006, u) for f, u in corners], GLASS, lean=lean, lit=False)
        middle = (low + high) / 2 + 0.06
        gleam = [(f_at(a, middle), middle), (f_at(b, middle), middle), (f_at(b, high), high), (f_at(a, high), high)]
        mesh.both_sides(
            [(f, width(u) + 0.007, u) for f, u in gleam], blend(GLASS, GLASS_SKY, 0.42), lean=lean, lit=False
        )
    # sky on the roof
    inner = [(cabin[1][0] + 0.3, cabin[2][1] + 0.01), (cabin[3][0] - 0.1, cabin[3][1] + 0.01)]
    (f0, u0), (f1, u1) = inner
    mesh.face(
        [(f0, roof * 0.8, u0), (f0, -roof * 0.8, u0), (f1, -roof * 0.8, u1), (f1, roof * 0.8, u1)],
        tint(paint, 1.1),
        normal=(0.0, 0.0, 1.0),
    )


def _doors(
    mesh: Mesh, model: str, half: float, paint: Colour, stretch: float, body: tuple[tuple[float, float], ...]
) -> None:
    top = max(u for _, u in body) - 0.04
    for f in {
        "hatchback": (-0.75, 0.75),
        "saloon": (-1.0, -0.1, 0.85),
        "estate": (-1.0, -0.1, 0.82),
        "van": (-0.4, 0.6, 1.5),
    }[model]:
        at = f * stretch
        y = half + 0.004
        mesh.both_sides([(at, y, 0.34), (at + 0.022, y, 0.34), (at + 0.022, y, top), (at, y, top)], tint(paint, 0.5))
        mesh.both_sides(
            [
                (at + 0.08, y, top - 0.16),
                (at + 0.26, y, top - 0.16),
                (at + 0.26, y, top - 0.11),
                (at + 0.08, y, top - 0.11),
            ],
            tint(paint, 0.6),
        )


def _front(mesh: Mesh, body: tuple[tuple[float, float], ...], widths: list[float], night: bool) -> None:
    """Headlamps, grille and plate on the nose."""
    f, u = body[-3]
    w = widths[-3]
    normal = (1.0, 0.0, 0.0)
    lamp = (250, 255, 255) if night else LAMP
    for sign in (1.0, -1.0):
        mesh.face(
            [
                (f - 0.12, sign * w, u + 0.08),
                (f + 0.03, sign * w * 0.58, u + 0.06),
                (f + 0.05, sign * w * 0.6, u - 0.08),
                (f - 0.02, sign * w * 1.0, u - 0.05),
            ],
            lamp,
            normal=(0.96, sign * 0.28, 0.0),
            lit=False,
            glow=night,
        )
    f2, u2 = body[-2]
    mesh.face(
        [
            (f2 + 0.01, w * 0.55, u2 + 0.14),
            (f2 + 0.01, -w * 0.55, u2 + 0.14),
            (f2 + 0.02, -w * 0.5, u2 - 0.06),
            (f2 + 0.02, w * 0.5, u2 - 0.06),
        ],
        (40, 38, 38),
        normal=normal,
        lit=False,
    )
    mesh.face(
        [
            (f2 + 0.03, 0.26, u2 + 0.02),
            (f2 + 0.03, -0.26, u2 + 0.02),
            (f2 + 0.03, -0.26, u2 - 0.1),
            (f2 + 0.03, 0.26, u2 - 0.1),
        ],
        PLATE,
        normal=normal,
    )


def _rear(mesh: Mesh, body: tuple[tuple[float, float], ...], widths: list[float], night: bool) -> None:
    """Tail lamps and plate."""
    f, u = body[2]
    w = widths[2]
    lamp = (60, 50, 255) if night else TAIL
    for sign in (1.0, -1.0):
        mesh.face(
            [
                (f - 0.03, sign * w * 0.98, u + 0.1),
                (f - 0.03, sign * w * 0.66, u + 0.1),
                (f - 0.04, sign * w * 0.66, u - 0.08),
                (f - 0.03, sign * w * 0.98, u - 0.1),
            ],
            lamp,
            normal=(-1.0, 0.0, 0.0),
            lit=False,
            glow=night,
        )
        mesh.face(
            [
                (f - 0.02, sign * (w + 0.01), u + 0.1),
                (f + 0.2, sign * (w + 0.02), u + 0.12),
                (f + 0.18, sign * (w + 0.02), u - 0.04),
                (f - 0.02, sign * (w + 0.01), u - 0.08),
            ],
            lamp,
            normal=(0.0, sign, 0.0),
            lit=False,
            glow=night,
        )
    mesh.face(
        [
            (f - 0.04, 0.26, u - 0.02),
            (f - 0.04, -0.26, u - 0.02),
            (f - 0.04, -0.26, u - 0.14),
            (f - 0.04, 0.26, u - 0.14),
        ],
        PLATE,
        normal=(-1.0, 0.0, 0.0),
    )
