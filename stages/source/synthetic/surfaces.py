"""Flat textures of the street: the ground seen from above, a house seen from the front.

Drawn once at start, in metres times a scale, then seen through the camera by a homography (`backdrop`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stages.source.synthetic import street
from stages.source.synthetic.camera import Colour, blend, tint
from stages.source.synthetic.shapes import U8

_Box = Callable[[float, float, float, float, Colour], None]
"""Fills a rectangle: from, to across, from, to up in metres, colour."""

GROUND_X = (-14.0, 90.0)
GROUND_Z = (4.0, street.WALL)
GROUND_SCALE = 40
WALL_SCALE = 36


def grain(rng: np.random.Generator, shape_hw: tuple[int, int], cell: int) -> npt.NDArray[Any]:
    """Smooth noise (H, W) float32 around 0, about -1 to 1, whose patches are `cell` pixels wide."""
    height, width = max(2, shape_hw[0] // cell + 2), max(2, shape_hw[1] // cell + 2)
    coarse = rng.random((height, width), dtype=np.float32) * 2.0 - 1.0
    return cv2.resize(coarse, (shape_hw[1], shape_hw[0]), interpolation=cv2.INTER_CUBIC)


def _mottle(image: U8, rng: np.random.Generator, fine: float, coarse: float, cell: int) -> None:
    """Give an even area the unevenness of a real surface."""
    shape = (image.shape[0], image.shape[1])
    speckle = rng.integers(-100, 101, size=shape, dtype=np.int16).astype(np.float32) * (fine / 100)
    speckle += grain(rng, shape, cell) * coarse + grain(rng, shape, max(2, cell // 5)) * coarse * 0.5
    image[:] = np.clip(image + speckle[..., None], 0, 255).astype(np.uint8)


def draw_ground(rng: np.random.Generator) -> U8:
    """The ground from above (z downwards from the near edge, x to the right), BGR at GROUND_SCALE px/m."""
    scale = GROUND_SCALE
    x0, z0 = GROUND_X[0], GROUND_Z[0]
    width, height = round((GROUND_X[1] - x0) * scale), round((GROUND_Z[1] - z0) * scale)
    image = np.zeros((height, width, 3), np.uint8)

    def rows(low: float, high: float) -> U8:
        return image[max(0, round((low - z0) * scale)) : round((high - z0) * scale)]

    def box(xa: float, xb: float, za: float, zb: float, colour: Colour) -> None:
        cv2.rectangle(
            image,
            (round((xa - x0) * scale), round((za - z0) * scale)),
            (round((xb - x0) * scale) - 1, round((zb - z0) * scale) - 1),
            colour,
            -1,
        )

    asphalt: Colour = (104, 102, 100)
    image[:] = asphalt
    _mottle(rows(street.NEAR_KERB, street.FAR_KERB), rng, 9, 7, 60)
    for _ in range(16):
        x, z = float(rng.uniform(-10, 60)), float(rng.uniform(street.NEAR_KERB + 0.4, street.BAY_LINE - 1.0))
        box(
            x,
            x + float(rng.uniform(0.6, 3.0)),
            z,
            z + float(rng.uniform(0.4, 1.0)),
            tint(asphalt, float(rng.uniform(0.86, 1.06))),
        )
    for _ in range(7):
        x, z = float(rng.uniform(-6, 40)), float(rng.uniform(street.NEAR_KERB + 0.7, street.BAY_LINE - 0.7))
        centre = (round((x - x0) * scale), round((z - z0) * scale))
        cv2.circle(image, centre, round(0.33 * scale), (70, 70, 72), -1, cv2.LINE_AA)
        cv2.circle(image, centre, round(0.27 * scale), (86, 86, 88), 2, cv2.LINE_AA)
    # tracks of tyres, and oil in the bay
    for lane in (street.NEAR_LANE, street.FAR_LANE):
        for side in (-0.75, 0.75):
            band = rows(lane + side - 0.22, lane + side + 0.22)
            band[:] = (band * 0.93).astype(np.uint8)
    white: Colour = (196, 200, 200)
    for x in np.arange(-14.0, 90.0, 4.5).tolist():
        box(x, x + 2.4, street.LANE_LINE - 0.06, street.LANE_LINE + 0.06, white)
    box(-14, 90, 9.4, 9.48, tint(white, 0.92))
    for x in np.arange(-14.6, 90.0, 5.7).tolist():
        box(x, x + 0.1, street.BAY_LINE, street.FAR_KERB - 0.2, white)
    box(-14, 90, street.BAY_LINE - 0.05, street.BAY_LINE + 0.05, tint(white, 0.95))
    for z in np.arange(street.NEAR_KERB + 0.55, street.BAY_LINE, 0.95).tolist():
        box(15.0, 18.0, z, z + 0.5, white)
    # paint wears off
    road = rows(street.NEAR_KERB, street.FAR_KERB)
    worn = grain(rng, (road.shape[0], road.shape[1]), 9) > 0.45
    road[worn] = (road[worn] * 0.75 + np.array(asphalt) * 0.25).astype(np.uint8)
    for low, high, slab, stone in (
        (GROUND_Z[0], street.NEAR_KERB, 0.6, (146, 152, 156)),
        (street.FAR_KERB, GROUND_Z[1], 0.5, (140, 148, 154)),
    ):
        _slabs(rows(low, high), rng, slab * scale, stone)
    for kerb, side in ((street.NEAR_KERB, 1), (street.FAR_KERB, -1)):
        box(-14, 90, kerb - 0.16, kerb + 0.16, (164, 168, 170))
        for x in np.arange(-14.0, 90.0, 1.0).tolist():
            box(x, x + 0.03, kerb - 0.16, kerb + 0.16, (128, 132, 134))
        edge = kerb + side * 0.16
        box(-14, 90, min(edge, edge + side * 0.12), max(edge, edge + side * 0.12), (72, 72, 72))
    for prop in street.PROPS:
        if prop.kind == "tree":
            box(prop.x - 0.55, prop.x + 0.55, prop.z - 0.05, prop.z + 1.0, (58, 72, 88))
    _mottle(image, rng, 5, 4, 24)
    # dirt gathers towards the wall
    foot = rows(street.WALL - 0.5, street.WALL)
    foot[:] = (foot * np.linspace(1.0, 0.66, len(foot))[:, None, None]).astype(np.uint8)
    return image


def _slabs(image: U8, rng: np.random.Generator, size: float, stone: Colour) -> None:
    height, width = image.shape[:2]
    across, along = int(height / size) + 2, int(width / size) + 2
    tones = 1.0 + (rng.random((across, along), dtype=np.float32) - 0.5) * 0.14
    ys = np.minimum((np.arange(height) / size).astype(int), across - 1)
    xs = np.minimum((np.arange(width) / size).astype(int), along - 1)
    image[:] = np.clip(np.array(stone) * tones[ys][:, xs][..., None], 0, 255).astype(np.uint8)
    joint = tint(stone, 0.78)
    for i in range(across):
        image[min(height - 1, round(i * size))] = joint
    for i in range(along):
        image[:, min(width - 1, round(i * size))] = joint


def draw_house(
    rng: np.random.Generator,
    width_m: float,
    height_m: float,
    storeys: int,
    colour: Colour,
    shop: Colour,
    *,
    night: bool,
) -> U8:
    """A house's front, BGR at WALL_SCALE px/m, top row first."""
    scale = WALL_SCALE
    width, height = round(width_m * scale), round(height_m * scale)
    image = np.zeros((height, width, 3), np.uint8)
    image[:] = colour
    _mottle(image, rng, 4, 7, 50)
    if colour[0] < 110:
        _bricks(image, rng, colour)

    def box(xa: float, xb: float, ua: float, ub: float, fill: Colour) -> None:
        """Metres, up from the ground."""
        cv2.rectangle(
            image,
            (round(xa * scale), round((height_m - ub) * scale)),
            (round(xb * scale) - 1, round((height_m - ua) * scale) - 1),
            fill,
            -1,
        )

    ground = 3.3
    floor = (height_m - ground - 0.5) / max(1, storeys - 1)
    bays = max(2, round(width_m / 2.3))
    step = width_m / bays
    for level in range(storeys - 1):
        base = ground + level * floor
        for bay in range(bays):
            centre = (bay + 0.5) * step
            _window(box, rng, centre, base + 0.75, 1.1, min(1.6, floor - 1.2), colour, night=night)
    box(0, width_m, ground - 0.1, ground + 0.14, tint(colour, 0.8))
    box(0, width_m, ground + 0.1, ground + 0.16, tint(colour, 1.18))
    box(0, width_m, height_m - 0.4, height_m, tint(colour, 0.72))
    box(0, width_m, height_m - 0.46, height_m - 0.36, tint(colour, 1.15))
    _shopfront(image, box, rng, width_m, ground, colour, shop, night=night)
    for edge in (0.0, width_m - 0.12):
        box(edge, edge + 0.12, 0, height_m, tint(colour, 0.86))
    return image


def _bricks(image: U8, rng: np.random.Generator, colour: Colour) -> None:
    course = 5
    for row in range(0, image.shape[0], course):
        image[row] = tint(colour, 0.86)
    tones = (rng.random((image.shape[0] // course + 1, image.shape[1] // 9 + 1), dtype=np.float32) - 0.5) * 22
    ys, xs = np.arange(image.shape[0]) // course, np.arange(image.shape[1]) // 9
    image[:] = np.clip(image + tones[ys][:, xs][..., None], 0, 255).astype(np.uint8)


def _window(
    box: _Box,
    rng: np.random.Generator,
    centre: float,
    base: float,
    width: float,
    height: float,
    wall: Colour,
    *,
    night: bool,
) -> None:
    left, right = centre - width / 2, centre + width / 2
    lit = night and float(rng.random()) < 0.45
    glass: Colour = (96, 180, 226) if lit else (92, 84, 74)
    if night and not lit:
        glass = (70, 66, 62)
    box(left - 0.12, right + 0.12, base - 0.14, base - 0.04, tint(wall, 1.2))
    box(left - 0.1, right + 0.1, base - 0.2, base - 0.14, tint(wall, 0.66))
    box(left - 0.09, right + 0.09, base - 0.04, base + height + 0.09, (206, 208, 208))
    box(left, right, base, base + height, glass)
    if not lit:
        box(left, right, base + height * 0.55, base + height, blend(glass, (190, 176, 160), 0.4))
    curtain = blend(glass, (190, 200, 206), 0.55)
    drawn = float(rng.random())
    if drawn < 0.6:
        box(left, left + width * 0.22, base, base + height, curtain)
        box(right - width * 0.22, right, base, base + height, curtain)
    elif drawn < 0.75:
        box(left, right, base + height * 0.5, base + height, curtain)
    box(centre - 0.03, centre + 0.03, base, base + height, (200, 202, 202))
    box(left, right, base + height * 0.62, base + height * 0.62 + 0.05, (200, 202, 202))
    box(left, right, base + height - 0.06, base + height, tint(glass, 0.6))


def _shopfront(
    image: U8,
    box: _Box,
    rng: np.random.Generator,
    width: float,
    height: float,
    wall: Colour,
    shop: Colour,
    *,
    night: bool,
) -> None:
    """The ground floor: panes with goods behind them, a door, a fascia with lettering, an awning."""
    box(0.12, width - 0.12, 0, height - 0.15, tint(shop, 0.8))
    count = max(2, round(width / 2.6))
    step = (width - 0.5) / count
    door = int(rng.integers(count))
    inside: Colour = (120, 200, 236) if night else (66, 64, 62)
    for i in range(count):
        left = 0.25 + i * step
        low = 0.12 if i == door else 0.55
        box(left + 0.1, left + step - 0.1, low, 2.45, inside)
        for _ in range(5):
            x = left + 0.2 + float(rng.random()) * (step - 0.7)
            tall = 0.2 + float(rng.random()) * 0.9
            goods = (int(rng.integers(40, 170)), int(rng.integers(40, 170)), int(rng.integers(40, 180)))
            box(x, x + 0.15 + float(rng.random()) * 0.3, low + 0.06, low + 0.06 + tall, blend(goods, inside, 0.45))
        if not night:
            box(left + 0.1, left + step - 0.1, 1.75, 2.45, blend(inside, (176, 166, 152), 0.3))
            box(left + 0.25, left + 0.5, low, 2.45, blend(inside, (190, 180, 168), 0.22))
        if i == door:
            for x in (left + step * 0.3, left + step * 0.68):
                box(x, x + 0.08, 0.0, 2.45, tint(shop, 0.6))
            box(left + step * 0.6, left + step * 0.64, 1.0, 1.3, (190, 196, 200))
    box(0.12, width - 0.12, 2.52, 3.12, shop)
    box(0.12, width - 0.12, 3.06, 3.12, tint(shop, 1.4))
    letters = blend(shop, (232, 236, 236), 0.85)
    x = width * 0.2
    while x < width * 0.78:
        wide = 0.16 + float(rng.random()) * 0.16
        if float(rng.random()) < 0.86:
            box(x, x + 0.06, 2.66, 2.98, letters)
            box(
                x,
                x + wide,
                2.92 if float(rng.random()) < 0.5 else 2.66,
                2.98 if float(rng.random()) < 0.5 else 2.74,
                letters,
            )
            box(x + wide - 0.05, x + wide, 2.66, 2.98 if float(rng.random()) < 0.6 else 2.82, letters)
        x += wide + 0.11
    if float(rng.random()) < 0.5:
        stripes = 14
        for i in range(stripes):
            a, b = 0.2 + (width - 0.4) * i / stripes, 0.2 + (width - 0.4) * (i + 1) / stripes
            box(a, b, 2.08, 2.5, tint(shop, 1.15) if i % 2 else (214, 218, 218))
        box(0.2, width - 0.2, 2.04, 2.1, tint(shop, 0.7))
