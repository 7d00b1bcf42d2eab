"""The plan of the street: where pavements, lanes, trees and lamps are. Metres; see `camera` for the axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NEAR_WALK = (5.9, 8.2)
NEAR_KERB = 8.5
NEAR_LANE = 10.2
LANE_LINE = 11.6
FAR_LANE = 13.0
BAY_LINE = 14.45
BAY = 15.45
FAR_KERB = 16.5
FAR_WALK = (17.0, 19.0)
WALL = 19.8
BIKE_LANE = 8.95

PropKind = Literal["tree", "lamp", "bollard", "bin", "sign", "bench"]


@dataclass(frozen=True, slots=True)
class Prop:
    """Something that stands still and hides what passes behind it."""

    kind: PropKind
    x: float
    z: float


PROPS: tuple[Prop, ...] = (
    Prop("tree", 4.6, 16.72),
    Prop("tree", 13.5, 16.72),
    Prop("tree", 24.0, 16.72),
    Prop("lamp", 9.4, 16.7),
    Prop("lamp", 31.0, 16.7),
    Prop("bin", 7.0, 19.4),
    Prop("bench", 10.9, 16.9),
    Prop("bollard", 1.35, 8.36),
    Prop("bollard", 2.75, 8.36),
    Prop("bollard", 4.15, 8.36),
    Prop("lamp", 6.6, 8.4),
    Prop("bin", 7.5, 8.36),
    Prop("sign", 12.4, 8.36),
)

PARKED_X: tuple[float, ...] = (18.6, 7.2, 1.2)
"""Where vehicles stand in the bay, by number."""

# (from x, to x, height, storeys, colour BGR, shop colour BGR, shop's name)
BUILDINGS: tuple[tuple[float, float, float, int, tuple[int, int, int], tuple[int, int, int]], ...] = (
    (-16.0, 1.9, 10.5, 3, (128, 150, 176), (60, 80, 46)),
    (1.9, 9.2, 9.4, 3, (150, 176, 190), (70, 52, 120)),
    (9.2, 16.4, 7.0, 2, (96, 112, 150), (110, 76, 40)),
    (20.6, 31.0, 6.2, 2, (176, 184, 186), (44, 96, 120)),
    (31.0, 48.0, 8.6, 2, (116, 140, 160), (64, 64, 60)),
    (48.0, 90.0, 7.4, 2, (140, 150, 164), (70, 90, 90)),
)
