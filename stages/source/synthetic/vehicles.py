"""Cars, vans, buses and trucks, built from outlines in metres.

Each maker returns a frozen Mesh; paint, proportions and details are drawn by lot. Measures are those of ordinary
vehicles; forward is the direction of travel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.source.synthetic.camera import Colour, blend, tint
from stages.source.synthetic.mesh import Mesh, Point

Model = Literal["hatchback", "saloon", "estate", "van", "bus", "truck"]

_PAINTS: tuple[Colour, ...] = (
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
_GLASS: Colour = (74, 66, 58)
_GLASS_SKY: Colour = (168, 156, 142)
_RUBBER: Colour = (30, 30, 32)
_SILL: Colour = (46, 44, 44)
_PLATE: Colour = (226, 228, 226)
_LAMP: Colour = (232, 236, 232)
_TAIL: Colour = (44, 36, 190)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """A built vehicle: its mesh, its measures in metres, and its wheels as (forward, radius)."""

    model: Model
    mesh: Mesh
    length_m: float
    width_m: float
    height_m: float
    wheels: tuple[tuple[float, float], ...]


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
    paint = tint(_PAINTS[int(rng.integers(len(_PAINTS)))], 0.9 + 0.2 * float(rng.random()))
    stretch = 0.96 + 0.08 * float(rng.random())
    mesh = Mesh(direction)
    if model == "bus":
        built = _bus(mesh, rng, night)
    elif model == "truck":
        built = _truck(mesh, rng, night)
    else:
        built = _car(mesh, model, paint, stretch, night)
    length, width, height, wheels = built
    mesh.freeze()
    return Vehicle(model=model, mesh=mesh, length_m=length, width_m=width, height_m=height, wheels=wheels)


_Built = tuple[float, float, float, tuple[tuple[float, float], ...]]

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


def _car(mesh: Mesh, model: Model, paint: Colour, stretch: float, night: bool) -> _Built:
    body, cabin, width, wheel_f = _BODIES[model]
    body = tuple((f * stretch, u) for f, u in body)
    cabin = tuple((f * stretch, u) for f, u in cabin)
    half, long = width / 2, max(f for f, _ in body)
    radius = 0.32 if model != "van" else 0.35
    wheels = ((-wheel_f * stretch, radius), (wheel_f * stretch, radius))
    for f, r in wheels:
        _far_wheel(mesh, f, r, half)
    widths = [_width_at(f, long, half) for f, _ in body]
    shades = [tint(paint, 0.8) if u1 < 0.5 else paint for (_, _), (_, u1) in zip(body[:-1], body[1:], strict=True)]
    mesh.strip(body, widths, shades)
    _flank(mesh, body, long, half, paint)
    for f, r in wheels:
        _arch(mesh, f, r, half)
    _cabin(mesh, model, cabin, long, half, paint)
    _doors(mesh, model, half, paint, stretch, body)
    for f, r in wheels:
        _wheel(mesh, f, r, half + 0.01)
    _front(mesh, body, widths, night)
    _rear(mesh, body, widths, night)
    for sign in (1.0, -1.0):
        f = cabin[-1][0] - 0.28
        u = cabin[-1][1] + 0.06
        y = sign * (half + 0.02)
        mesh.face(
            [(f, y, u), (f + 0.14, y + sign * 0.14, u), (f + 0.12, y + sign * 0.14, u + 0.13), (f, y, u + 0.13)],
            tint(paint, 0.7),
        )
    return 2 * long, width, max(u for _, u in cabin), wheels


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
        (0.0, 0.14, _SILL),
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
    mesh: Mesh, model: Model, cabin: tuple[tuple[float, float], ...], long: float, half: float, paint: Colour
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
            [at(0.06, 1), at(0.06, -1), at(0.94 * share, -1), at(0.94 * share, 1)], _GLASS, normal=normal, lit=False
        )
        mesh.face(
            [at(0.06, 1), at(0.06, -0.1), at(0.5 * share, -0.5), at(0.55 * share, 1)],
            blend(_GLASS, _GLASS_SKY, 0.55),
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
    for start, end in zip(cuts[:-1], cuts[1:], strict=True):

        def f_at(share: float, u: float) -> float:
            t = (u - low_u) / (top_u - low_u)
            back = cabin[0][0] + (rear[0] - cabin[0][0]) * t + 0.14
            ahead = cabin[-1][0] + (front[0] - cabin[-1][0]) * t - 0.1
            return back + (ahead - back) * share

        a, b = start + (0.025 if start > 0 else 0.0), end - (0.025 if end < 1 else 0.0)
        corners = [(f_at(a, low), low), (f_at(b, low), low), (f_at(b, high), high), (f_at(a, high), high)]
        mesh.both_sides([(f, width(u) + 0.006, u) for f, u in corners], _GLASS, lean=lean, lit=False)
        middle = (low + high) / 2 + 0.06
        gleam = [(f_at(a, middle), middle), (f_at(b, middle), middle), (f_at(b, high), high), (f_at(a, high), high)]
        mesh.both_sides(
            [(f, width(u) + 0.007, u) for f, u in gleam], blend(_GLASS, _GLASS_SKY, 0.42), lean=lean, lit=False
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
    mesh: Mesh, model: Model, half: float, paint: Colour, stretch: float, body: tuple[tuple[float, float], ...]
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


def _disc(forward: float, radius: float, y: float, count: int = 16, up: float | None = None) -> list[Point]:
    centre = radius if up is None else up
    return [
        (forward + radius * math.cos(2 * math.pi * i / count), y, centre + radius * math.sin(2 * math.pi * i / count))
        for i in range(count)
    ]


def _far_wheel(mesh: Mesh, forward: float, radius: float, half: float) -> None:
    """The tread of each wheel, seen below the body."""
    for y in (half - 0.1, -(half - 0.1)):
        mesh.face(_disc(forward, radius, y, 10), _RUBBER, lit=False)


def _arch(mesh: Mesh, forward: float, radius: float, half: float) -> None:
    """The dark hollow that the wheel stands in."""
    count = 14
    big = radius * 1.2
    points = [
        (forward + big * math.cos(math.pi * i / count), half + 0.003, radius + big * math.sin(math.pi * i / count))
        for i in range(count + 1)
    ]
    points.extend([(forward - big, half + 0.003, 0.22), (forward + big, half + 0.003, 0.22)])
    mesh.both_sides(points, (24, 24, 26), lit=False)


def _wheel(mesh: Mesh, forward: float, radius: float, half: float) -> None:
    for y, side in ((half, 1.0), (-half, -1.0)):
        normal = (0.0, side, 0.0)
        mesh.face(_disc(forward, radius, y, 18), _RUBBER, normal=normal, lit=False)
        mesh.face(_disc(forward, radius * 0.66, y, 14, radius), (120, 118, 116), normal=normal, lit=False)
        mesh.wheels.append((forward, radius, y))


def _front(mesh: Mesh, body: tuple[tuple[float, float], ...], widths: list[float], night: bool) -> None:
    """Headlamps, grille and plate on the nose."""
    f, u = body[-3]
    w = widths[-3]
    normal = (1.0, 0.0, 0.0)
    lamp = (250, 255, 255) if night else _LAMP
    for sign in (1.0, -1.0):
        mesh.face(
            [
                (f - 0.12, sign * w, u + 0.08),
                (f + 0.03, sign * w * 0.58, u + 0.06),
                (f + 0.05, sign * w * 0.6, u - 0.08),
                (f - 0.02, sign * w * 1.0, u - 0.05),
            ],
            lamp,
            normal=(0.8, sign * 0.6, 0.0),
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
        _PLATE,
        normal=normal,
    )


def _rear(mesh: Mesh, body: tuple[tuple[float, float], ...], widths: list[float], night: bool) -> None:
    """Tail lamps and plate."""
    f, u = body[2]
    w = widths[2]
    lamp = (60, 50, 255) if night else _TAIL
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
        _PLATE,
        normal=(-1.0, 0.0, 0.0),
    )


def _box(
    mesh: Mesh, f0: float, f1: float, u0: float, u1: float, half: float, colours: tuple[Colour, Colour, Colour, Colour]
) -> None:
    """A box: sides, top, front, rear in their colours."""
    side, top, front, rear = colours
    mesh.face([(f0, half, u0), (f0, -half, u0), (f0, -half, u1), (f0, half, u1)], rear, normal=(-1.0, 0.0, 0.0))
    mesh.face([(f1, half, u0), (f1, -half, u0), (f1, -half, u1), (f1, half, u1)], front, normal=(1.0, 0.0, 0.0))
    mesh.face([(f0, half, u1), (f0, -half, u1), (f1, -half, u1), (f1, half, u1)], top, normal=(0.0, 0.0, 1.0))
    mesh.both_sides([(f0, half, u0), (f1, half, u0), (f1, half, u1), (f0, half, u1)], side)


def _panel(
    mesh: Mesh, f0: float, f1: float, u0: float, u1: float, half: float, colour: Colour, *, glow: bool = False
) -> None:
    mesh.both_sides([(f0, half, u0), (f1, half, u0), (f1, half, u1), (f0, half, u1)], colour, lit=False, glow=glow)


def _bus(mesh: Mesh, rng: np.random.Generator, night: bool) -> _Built:
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
        _far_wheel(mesh, f, r, half)
    _box(mesh, -long, long, 0.32, top, half, (paint, tint(band, 0.95), paint, paint))
    _panel(mesh, -long, long, 0.32, 0.5, half + 0.002, _SILL)
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
    glass = (120, 190, 205) if night else _GLASS
    count = 7
    step = (2 * long - 0.5) / count
    _panel(mesh, -long + 0.2, long - 0.1, 1.36, 2.5, half + 0.004, (48, 44, 42))
    for i in range(count):
        f = -long + 0.25 + i * step
        _panel(mesh, f + 0.04, f + step - 0.04, 1.4, 2.46, half + 0.006, glass, glow=night)
        if not night:
            _panel(mesh, f + 0.04, f + step - 0.04, 1.95, 2.46, half + 0.008, blend(_GLASS, _GLASS_SKY, 0.45))
        if float(rng.random()) < 0.6:
            dark = tint(glass, 0.55)
            _panel(mesh, f + 0.45, f + 0.75, 1.4, 1.75, half + 0.009, dark, glow=night)
            _panel(mesh, f + 0.5, f + 0.7, 1.72, 1.98, half + 0.009, dark, glow=night)
    for f in (-0.4, 3.9):
        _panel(mesh, f, f + 1.0, 0.45, 2.5, half + 0.01, (40, 38, 36))
        _panel(mesh, f + 0.06, f + 0.47, 0.6, 2.42, half + 0.012, blend(glass, _GLASS_SKY, 0.2), glow=night)
        _panel(mesh, f + 0.53, f + 0.94, 0.6, 2.42, half + 0.012, blend(glass, _GLASS_SKY, 0.2), glow=night)
    x = long + 0.01
    ahead = (1.0, 0.0, 0.0)
    mesh.face(
        [(x, half * 0.95, 1.2), (x, -half * 0.95, 1.2), (x, -half * 0.95, 2.5), (x, half * 0.95, 2.5)],
        _GLASS,
        normal=ahead,
        lit=False,
    )
    mesh.face(
        [(x, half * 0.95, 1.9), (x, -half * 0.2, 1.9), (x, -half * 0.5, 2.5), (x, half * 0.95, 2.5)],
        blend(_GLASS, _GLASS_SKY, 0.5),
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
    mesh.face([(x, 0.28, 0.5), (x, -0.28, 0.5), (x, -0.28, 0.62), (x, 0.28, 0.62)], _PLATE, normal=ahead)
    for sign in (1.0, -1.0):
        mesh.face(
            [(x, sign * 1.12, 0.66), (x, sign * 0.76, 0.66), (x, sign * 0.76, 0.88), (x, sign * 1.12, 0.88)],
            (250, 255, 255) if night else _LAMP,
            normal=ahead,
            lit=False,
            glow=night,
        )
        mesh.face(
            [(-x, sign * 1.14, 0.7), (-x, sign * 0.92, 0.7), (-x, sign * 0.92, 1.2), (-x, sign * 1.14, 1.2)],
            (60, 50, 255) if night else _TAIL,
            normal=(-1.0, 0.0, 0.0),
            lit=False,
            glow=night,
        )
    mesh.face(
        [(-x, 0.95, 1.6), (-x, -0.95, 1.6), (-x, -0.95, 2.45), (-x, 0.95, 2.45)],
        _GLASS,
        normal=(-1.0, 0.0, 0.0),
        lit=False,
    )
    for f, r in wheels:
        _arch(mesh, f, r, half + 0.01)
        _wheel(mesh, f, r, half + 0.014)
    return 2 * long, 2 * half, top, wheels


def _truck(mesh: Mesh, rng: np.random.Generator, night: bool) -> _Built:
    cab = tint(_PAINTS[int(rng.integers(len(_PAINTS)))], 1.0)
    cargo: Colour = ((206, 208, 208), (190, 150, 90), (90, 120, 180), (170, 176, 178))[int(rng.integers(4))]
    half, rear, nose = 1.12, -3.7, 3.3
    wheels = ((-2.4, 0.44), (-1.45, 0.44), (2.35, 0.44))
    for f, r in wheels:
        _far_wheel(mesh, f, r, half)
    _box(mesh, rear + 0.1, nose - 0.2, 0.5, 0.78, half * 0.8, (_SILL, _SILL, _SILL, _SILL))
    # what is nearer to the camera is drawn last: for the camera's place in the middle of the street both orders work
    for part in ("cargo", "cab"):
        if part == "cargo":
            _box(mesh, rear, 1.35, 0.82, 3.1, half, (cargo, tint(cargo, 0.95), cargo, tint(cargo, 0.9)))
            for f in np.linspace(rear + 0.4, 0.95, 8).tolist():
                _panel(mesh, f, f + 0.03, 0.9, 3.02, half + 0.003, tint(cargo, 0.72))
            _panel(mesh, rear, 1.35, 0.82, 0.92, half + 0.004, (70, 68, 66))
            _panel(mesh, rear + 0.9, 0.4, 1.7, 2.4, half + 0.005, blend(cargo, cab, 0.7))
        else:
            _box(mesh, 1.5, nose, 0.5, 1.5, half * 0.97, (cab, cab, cab, tint(cab, 0.7)))
            profile = ((1.5, 1.5), (1.5, 2.35), (1.7, 2.5), (2.75, 2.5), (nose, 1.5))
            widths = [half * 0.97, half * 0.92, half * 0.9, half * 0.9, half * 0.97]
            mesh.strip(profile, widths, [tint(cab, 0.7), cab, cab, cab])
            mesh.both_sides([(f, w, u) for (f, u), w in zip(profile, widths, strict=True)], cab)
            window = ((2.0, 1.56), (3.05, 1.56), (2.72, 2.3), (2.0, 2.3))
            mesh.both_sides([(f, half * 0.98, u) for f, u in window], _GLASS, lit=False)
            gleam = ((2.0, 1.95), (2.88, 1.95), (2.72, 2.3), (2.0, 2.3))
            mesh.both_sides([(f, half * 0.985, u) for f, u in gleam], blend(_GLASS, _GLASS_SKY, 0.45), lit=False)
            length = math.hypot(0.55, 1.0)
            glass_normal = (1.0 / length, 0.0, 0.55 / length)
            mesh.face(
                [
                    (nose + 0.01, half * 0.85, 1.56),
                    (nose + 0.01, -half * 0.85, 1.56),
                    (2.83, -half * 0.82, 2.4),
                    (2.83, half * 0.82, 2.4),
                ],
                _GLASS,
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
                blend(_GLASS, _GLASS_SKY, 0.5),
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
                    (250, 255, 255) if night else _LAMP,
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
                    (60, 50, 255) if night else _TAIL,
                    normal=(-1.0, 0.0, 0.0),
                    lit=False,
                    glow=night,
                )
    for f, r in wheels:
        _wheel(mesh, f, r, half + 0.01)
    return nose - rear, 2 * half, 3.1, wheels
