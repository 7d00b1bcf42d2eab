"""A bicycle, seen from any side: wheels, frame, turning pedals. Its rider is a figure (`figures`, `gait.ride`)."""

from __future__ import annotations

import math

import numpy as np

from stages.source.synthetic.camera import F64, Camera, Colour, tint
from stages.source.synthetic.shapes import Shape

WHEEL_M = 0.34
REAR, FRONT = -0.45, 0.61
SADDLE = np.array([-0.21, 0.0, 0.95])
BAR = np.array([0.4, 0.23, 1.04])
PEDAL_M = 0.17
_BRACKET = (0.0, 0.0, 0.28)
_HEAD = (0.44, 0.0, 0.88)
_SEAT = (-0.2, 0.0, 0.9)

FRAMES: tuple[Colour, ...] = (
    (40, 36, 36),
    (60, 40, 170),
    (150, 90, 40),
    (60, 110, 60),
    (190, 190, 190),
    (40, 120, 190),
)

_RING = np.stack([np.cos(np.linspace(0, 2 * np.pi, 23)), np.sin(np.linspace(0, 2 * np.pi, 23))], -1)
_RUBBER: Colour = (36, 36, 38)
_STEEL: Colour = (150, 150, 152)
_SPOKES = 4

_Line = tuple[list[tuple[float, float, float]], float, Colour | float]


def _circle(forward: float, up: float, radius: float) -> list[tuple[float, float, float]]:
    return [(forward + radius * float(cos), 0.0, up + radius * float(sin)) for cos, sin in _RING]


def _lines() -> list[_Line]:
    """(points, width in metres, colour or brightness of the frame's paint), drawn in this order."""
    tube = 0.038
    lines: list[_Line] = []
    # the spokes come first; where they are now is filled in for each frame
    for hub in (REAR, FRONT):
        lines.extend(([(hub, 0.0, WHEEL_M), (hub, 0.0, WHEEL_M)], 0.006, _STEEL) for _ in range(_SPOKES))
    # then both pedals with their cranks
    for _ in range(2):
        lines.append(([_BRACKET, _BRACKET], 0.03, (80, 80, 82)))
        lines.append(([_BRACKET, _BRACKET], 0.03, (40, 40, 40)))
    for hub in (REAR, FRONT):
        lines.append((_circle(hub, WHEEL_M, 0.9 * WHEEL_M), 0.014, _STEEL))
        lines.append((_circle(hub, WHEEL_M, WHEEL_M), 0.04, _RUBBER))
    lines.append((_circle(0.0, 0.28, 0.09), 0.03, (60, 60, 62)))
    lines.append(([_BRACKET, _HEAD, _SEAT, _BRACKET, (REAR, 0.0, WHEEL_M), _SEAT], tube, 1.0))
    lines.append(([_HEAD, (FRONT, 0.0, WHEEL_M)], tube, 0.85))
    lines.append(([_HEAD, (0.4, 0.0, 1.0)], tube, (70, 70, 72)))
    lines.append(([(0.4, -0.26, 1.04), (0.4, 0.0, 1.0), (0.4, 0.26, 1.04)], 0.032, (50, 50, 52)))
    lines.append(([_SEAT, (-0.21, 0.0, 0.95)], 0.03, (70, 70, 72)))
    lines.append(([(-0.34, 0.0, 0.97), (-0.08, 0.0, 0.95)], 0.07, (30, 30, 34)))
    return lines


_LINES = _lines()
_POINTS = np.array([point for points, _, _ in _LINES for point in points])
_SPANS = [(sum(len(line[0]) for line in _LINES[:i]), len(line[0])) for i, line in enumerate(_LINES)]
_HUBS = np.repeat([REAR, FRONT], _SPOKES)
_SPOKE_TURNS = np.tile(np.arange(_SPOKES) / (2 * _SPOKES), 2)
_FIRST_PEDAL = 4 * _SPOKES


def bicycle_shapes(
    camera: Camera, base: F64, direction: int, crank: float, roll: float, colour: Colour, light: F64
) -> list[Shape]:
    """The bicycle whose bottom bracket is above `base`; `crank`, `roll`: turns of the pedals and the wheels."""
    local = _POINTS.copy()
    turn = 2 * np.pi * (_SPOKE_TURNS - roll)
    for end, sign in ((0, -0.9 * WHEEL_M), (1, 0.9 * WHEEL_M)):
        local[end:_FIRST_PEDAL:2, 0] = _HUBS + sign * np.cos(turn)
        local[end:_FIRST_PEDAL:2, 2] = WHEEL_M + sign * np.sin(turn)
    forward, up = PEDAL_M * math.cos(2 * math.pi * crank), PEDAL_M * math.sin(2 * math.pi * crank)
    for start, side in ((_FIRST_PEDAL, 1.0), (_FIRST_PEDAL + 4, -1.0)):
        local[start] = (0.0, side * 0.06, 0.28)
        local[start + 1 : start + 4] = (side * forward, side * 0.1, 0.28 - side * up)
        local[start + 2 : start + 4, 0] += (-0.05, 0.05)
    world = np.empty_like(local)
    world[:, 0] = local[:, 0] * direction + base[0]
    world[:, 1] = local[:, 2] + base[1]
    world[:, 2] = local[:, 1] * direction + base[2]
    xy, depth = camera.project(world)
    canvas = camera.canvas(xy)
    scale = camera.focal_px * camera.canvas_scale / float(depth.mean())
    blue, green, red = light.tolist()
    out: list[Shape] = []
    for (start, count), (_, width, paint) in zip(_SPANS, _LINES, strict=True):
        b, g, r = paint if isinstance(paint, tuple) else tint(colour, paint)
        lit = (min(255, int(b * blue)), min(255, int(g * green)), min(255, int(r * red)))
        out.append((max(1, round(width * scale)), canvas[start : start + count], lit))
    return out
