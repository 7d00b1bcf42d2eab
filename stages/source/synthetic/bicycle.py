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


def bicycle_shapes(
    camera: Camera, base: F64, direction: int, crank: float, roll: float, colour: Colour, light: F64
) -> list[Shape]:
    """The bicycle whose bottom bracket is above `base`; `crank`, `roll`: turns of the pedals and the wheels."""
    pedal = (PEDAL_M * math.cos(2 * math.pi * crank), PEDAL_M * math.sin(2 * math.pi * crank))
    lines: list[tuple[list[tuple[float, float, float]], float, Colour]] = []
    rubber: Colour = (36, 36, 38)
    for hub in (REAR, FRONT):
        ring = [(hub + WHEEL_M * float(c), 0.0, WHEEL_M + WHEEL_M * float(s)) for c, s in _RING]
        rim = [(hub + WHEEL_M * 0.9 * float(c), 0.0, WHEEL_M + WHEEL_M * 0.9 * float(s)) for c, s in _RING]
        for spoke in range(4):
            turn = math.pi * spoke / 4 - 2 * math.pi * roll
            dx, dy = math.cos(turn) * WHEEL_M * 0.9, math.sin(turn) * WHEEL_M * 0.9
            lines.append(([(hub - dx, 0.0, WHEEL_M - dy), (hub + dx, 0.0, WHEEL_M + dy)], 0.006, (150, 150, 150)))
        lines.append((rim, 0.014, (150, 150, 152)))
        lines.append((ring, 0.04, rubber))
    chain = [(_BRACKET[0] + 0.09 * float(c), 0.0, 0.28 + 0.09 * float(s)) for c, s in _RING[::2]]
    lines.append((chain, 0.03, (60, 60, 62)))
    tube = 0.038
    lines.append(([_BRACKET, _HEAD, _SEAT, _BRACKET, (REAR, 0.0, WHEEL_M), _SEAT], tube, colour))
    lines.append(([_HEAD, (FRONT, 0.0, WHEEL_M)], tube, tint(colour, 0.85)))
    lines.append(([_HEAD, (0.4, 0.0, 1.0)], tube, (70, 70, 72)))
    lines.append(([(0.4, -0.26, 1.04), (0.4, 0.0, 1.0), (0.4, 0.26, 1.04)], 0.032, (50, 50, 52)))
    lines.append(([_SEAT, (SADDLE[0], 0.0, SADDLE[2])], 0.03, (70, 70, 72)))
    lines.append(([(-0.34, 0.0, 0.97), (-0.08, 0.0, 0.95)], 0.07, (30, 30, 34)))
    for side in (1.0, -1.0):
        end = (side * pedal[0], side * 0.1, 0.28 - side * pedal[1])
        lines.append(([(0.0, side * 0.06, 0.28), end], 0.03, (80, 80, 82)))
        lines.append(([(end[0] - 0.05, end[1], end[2]), (end[0] + 0.05, end[1], end[2])], 0.03, (40, 40, 40)))
    local = np.array([point for points, _, _ in lines for point in points])
    world = np.empty_like(local)
    world[:, 0] = local[:, 0] * direction + base[0]
    world[:, 1] = local[:, 2] + base[1]
    world[:, 2] = local[:, 1] * direction + base[2]
    xy, depth = camera.project(world)
    canvas = camera.canvas(xy)
    scale = camera.focal_px * camera.canvas_scale / float(depth.mean())
    out: list[Shape] = []
    start = 0
    for points, width, paint in lines:
        lit = [min(255, int(channel * factor)) for channel, factor in zip(paint, light.tolist(), strict=True)]
        out.append((max(1, round(width * scale)), canvas[start : start + len(points)], (lit[0], lit[1], lit[2])))
        start += len(points)
    return out
