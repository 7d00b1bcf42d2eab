"""The street without anyone in it, rendered once: sky, houses, ground, shadows, and the props that hide things.

Out: the canvas's background, the same in shadow, and the props with their masks, nearest last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from stages.source.synthetic import street
from stages.source.synthetic.camera import F64, Camera, Colour, tint
from stages.source.synthetic.mesh import SUN
from stages.source.synthetic.shapes import U8
from stages.source.synthetic.surfaces import (
    GROUND_SCALE,
    GROUND_X,
    GROUND_Z,
    draw_ground,
    draw_house,
    grain,
)

_LAMP_HEIGHT = 5.6
_NIGHT_AMBIENT = np.array([0.27, 0.21, 0.18])
_LAMP_TINT = np.array([0.5, 0.72, 0.86])


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A prop's pixels in the background, to be put back over whatever passed behind: its mask at (x, y) of the canvas."""

    z: float
    x: int
    y: int
    mask: U8


@dataclass(frozen=True, slots=True, eq=False)
class Backdrop:
    """The empty street on the canvas, (H, W, 3) BGR: in light, in shadow, and what stands in the way."""

    lit: U8
    shaded: U8
    layers: tuple[Layer, ...]


def lamp_light(x: npt.NDArray[np.float64], z: npt.NDArray[np.float64]) -> F64:
    """The light (…, 3) that falls at night on what stands at (x, z) metres."""
    strength = np.zeros(np.broadcast(x, z).shape)
    for prop in street.PROPS:
        if prop.kind == "lamp":
            away = (x - prop.x) ** 2 + (z - (prop.z + (1.2 if prop.z < street.LANE_LINE else -1.2))) ** 2
            strength = strength + 1.0 / (1.0 + away / 16.0)
    # what shines out of the shops
    strength = strength + 0.4 / (1.0 + (street.WALL - z) ** 2 / 3.0)
    return np.minimum(_NIGHT_AMBIENT + np.minimum(strength, 1.0)[..., None] * _LAMP_TINT, 1.0)


def render_backdrop(camera: Camera, rng: np.random.Generator, *, night: bool) -> Backdrop:
    """Render the empty street; takes some tenths of a second."""
    width, height = camera.size_wh[0] * camera.canvas_scale, camera.size_wh[1] * camera.canvas_scale
    image = _sky(rng, width, height, camera, night=night)
    _far_trees(image, camera, rng, night=night)
    # the far houses, on the right, first: each hides the side of the next
    for x0, x1, tall, storeys, colour, shop in reversed(street.BUILDINGS):
        house = draw_house(rng, x1 - x0, tall, storeys, colour, shop, night=night)
        _side_wall(image, camera, x0, tall, tint(colour, 0.16) if night else tint(colour, 0.6))
        corners = [(x0, tall, street.WALL), (x1, tall, street.WALL), (x1, 0.0, street.WALL), (x0, 0.0, street.WALL)]
        glow = _emission(house) if night else None
        _warp(image, camera, house, corners, night, glow)
    ground = draw_ground(rng)
    (xa, xb), (za, zb) = GROUND_X, GROUND_Z
    if night:
        _light_ground(ground)
    _warp(image, camera, ground, [(xa, 0, za), (xb, 0, za), (xb, 0, zb), (xa, 0, zb)], False, None)
    shade = np.zeros((height, width), np.uint8)
    if not night:
        for prop in street.PROPS:
            _prop_shadow(shade, camera, prop)
    shade = cv2.GaussianBlur(shade, (0, 0), 1.2 * camera.canvas_scale)
    factor = 1.0 - shade.astype(np.float32)[..., None] / 255.0 * np.array([0.36, 0.42, 0.46], np.float32)
    image = np.clip(image * factor, 0, 255).astype(np.uint8)
    layers = []
    for prop in sorted(street.PROPS, key=lambda prop: -prop.z):
        layer = _draw_prop(image, camera, prop, rng, night=night)
        if layer is not None:
            layers.append(layer)
    if night:
        _lamp_halos(image, camera)
    depth = np.array([0.74, 0.72, 0.7] if night else [0.62, 0.56, 0.53])
    shaded = np.clip(image * depth, 0, 255).astype(np.uint8)
    return Backdrop(image, shaded, tuple(layers))


def _pixels(camera: Camera, world: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """World points to whole canvas pixels as floats."""
    return camera.project(np.asarray(world, np.float64))[0] * camera.canvas_scale


def _sky(rng: np.random.Generator, width: int, height: int, camera: Camera, *, night: bool) -> U8:
    top, low = ((34, 24, 20), (58, 44, 40)) if night else ((206, 160, 118), (236, 222, 206))
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** 0.6 * 1.4
    sky = np.array(top, np.float32) + (np.array(low, np.float32) - np.array(top, np.float32)) * np.minimum(share, 1.0)
    image = np.broadcast_to(sky, (height, width, 3)).copy()
    clouds = (
        grain(rng, (height, width), 150)
        + 0.5 * grain(rng, (height, width), 60)
        + 0.25 * grain(rng, (height, width), 22)
    )
    cover = np.clip(clouds * 1.2 - 0.1, 0, 1)[..., None] * (0.1 if night else 0.85)
    image += (np.array([248, 246, 244], np.float32) - image) * cover
    return np.clip(image, 0, 255).astype(np.uint8)


def _far_trees(image: U8, camera: Camera, rng: np.random.Generator, *, night: bool) -> None:
    """Greenery behind the houses, and the ground between."""
    yard = _pixels(camera, [(-20, 0, street.WALL), (140, 0, street.WALL), (240, 0, 130), (-20, 0, 130)])
    cv2.fillPoly(image, [np.rint(yard).astype(np.int32)], (30, 32, 34) if night else (96, 122, 116))
    for _ in range(420):
        x, z = float(rng.uniform(8, 120)), float(rng.uniform(34, 46))
        up = float(rng.uniform(0.5, 8.5)) * (0.75 + 0.25 * math.sin(x * 0.9))
        (cx, cy) = _pixels(camera, (x, up, z)).tolist()
        depth = float(camera.project(np.array([x, up, z]))[1])
        radius = camera.focal_px * camera.canvas_scale * float(rng.uniform(0.35, 1.1)) / depth
        tone = float(rng.uniform(0.75, 1.1)) * (0.24 if night else 1.0)
        cv2.circle(image, (round(cx), round(cy)), max(1, round(radius)), tint((70, 104, 84), tone), -1, cv2.LINE_AA)


def _homography(camera: Camera, size_wh: tuple[int, int], corners: list[tuple[float, float, float]]) -> F64:
    """From a flat texture to the canvas, for a rectangle in the world given by its corners, clockwise from top left.

    Exact also where corners lie behind the camera, as it is made from the projection itself.
    """
    p0, p1, p3 = (np.array(corners[i], np.float64) for i in (0, 1, 3))
    focal = camera.focal_px * camera.canvas_scale
    cx, cy = camera.size_wh[0] * camera.canvas_scale / 2 - 0.5, camera.size_wh[1] * camera.canvas_scale / 2 - 0.5
    intrinsic = np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]])
    plane = np.stack([(p1 - p0) / size_wh[0], (p3 - p0) / size_wh[1], p0 - camera.position], 1)
    return intrinsic @ camera.rotation @ plane


def _warp(
    image: U8, camera: Camera, texture: U8, corners: list[tuple[float, float, float]], night: bool, glow: U8 | None
) -> None:
    """Draw a flat texture as a rectangle in the world."""
    matrix = _homography(camera, (texture.shape[1], texture.shape[0]), corners)
    if night:
        dark = texture * (_NIGHT_AMBIENT + 0.12 * _LAMP_TINT)
        rows = np.linspace(1.5, 0, texture.shape[0])[:, None, None] if texture.shape[0] else 0.0
        dark = dark * (1.7 - np.minimum(rows, 1.0))
        texture = np.clip(dark, 0, 255).astype(np.uint8)
        if glow is not None:
            texture = np.maximum(texture, glow)
    size = (image.shape[1], image.shape[0])
    inverse = np.linalg.inv(matrix)
    # which canvas pixels lie on the texture, and in front of the camera
    ys, xs = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    w = inverse[2, 0] * xs + inverse[2, 1] * ys + inverse[2, 2]
    u = ((inverse[0, 0] * xs + inverse[0, 1] * ys + inverse[0, 2]) / w).astype(np.float32)
    v = ((inverse[1, 0] * xs + inverse[1, 1] * ys + inverse[1, 2]) / w).astype(np.float32)
    depth = matrix[2, 0] * u + matrix[2, 1] * v + matrix[2, 2]
    inside = (u >= 0) & (v >= 0) & (u < texture.shape[1]) & (v < texture.shape[0]) & (depth > 0.3)
    if not inside.any():
        return
    rows_in = np.flatnonzero(inside.any(axis=1))
    columns_in = np.flatnonzero(inside.any(axis=0))
    part = (slice(rows_in[0], rows_in[-1] + 1), slice(columns_in[0], columns_in[-1] + 1))
    drawn = cv2.remap(texture, u[part], v[part], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cv2.copyTo(drawn, inside[part].astype(np.uint8), image[part])


def _emission(house: U8) -> U8:
    """The lit windows of a house at night, black elsewhere."""
    bright = (house[..., 2].astype(np.int16) - house[..., 0] > 88) & (house[..., 2] > 170)
    return house * bright[..., None].astype(np.uint8)


def _light_ground(ground: U8) -> None:
    scale = GROUND_SCALE
    step = 8
    zs = np.arange(0, ground.shape[0] + step, step) / scale + GROUND_Z[0]
    xs = np.arange(0, ground.shape[1] + step, step) / scale + GROUND_X[0]
    light = lamp_light(xs[None, :], zs[:, None]).astype(np.float32)
    full = cv2.resize(light, (ground.shape[1], ground.shape[0]), interpolation=cv2.INTER_LINEAR)
    ground[:] = np.clip(ground * full, 0, 255).astype(np.uint8)


def _side_wall(image: U8, camera: Camera, x0: float, tall: float, colour: Colour) -> None:
    """The wall that is seen where a gap or a lower house lies before a house."""
    depth = street.WALL + 9.0
    points = _pixels(camera, [(x0, tall, street.WALL), (x0, tall, depth), (x0, 0, depth), (x0, 0, street.WALL)])
    cv2.fillPoly(image, [np.rint(points).astype(np.int32)], colour)


def _prop_shadow(shade: U8, camera: Camera, prop: street.Prop) -> None:
    """The prop's shadow on the ground, along the sun's rays."""

    def fall(x: float, up: float, z: float) -> tuple[float, float, float]:
        return (x - SUN[0] / SUN[1] * up, 0.0, z - SUN[2] / SUN[1] * up)

    def blob(centre: tuple[float, float, float], radius: float) -> None:
        turns = np.arange(24) / 24 * 2 * np.pi
        ring = [(centre[0] + radius * math.cos(t), 0.0, centre[2] + radius * math.sin(t)) for t in turns]
        cv2.fillPoly(shade, [np.rint(_pixels(camera, ring)).astype(np.int32)], 255)

    def bar(x: float, z: float, tall: float, half: float) -> None:
        (xa, _, za) = fall(x, tall, z)
        points = [(x - half, 0, z), (x + half, 0, z), (xa + half, 0, za), (xa - half, 0, za)]
        cv2.fillPoly(shade, [np.rint(_pixels(camera, points)).astype(np.int32)], 255)

    if prop.kind == "tree":
        bar(prop.x, prop.z, 2.6, 0.13)
    elif prop.kind == "lamp":
        bar(prop.x, prop.z, _LAMP_HEIGHT, 0.07)
    elif prop.kind == "sign":
        bar(prop.x, prop.z, 2.6, 0.04)
    else:
        bar(prop.x, prop.z, 0.9, 0.22 if prop.kind != "bollard" else 0.08)
        blob((prop.x, 0.0, prop.z), 0.3 if prop.kind != "bollard" else 0.14)


def _draw_prop(image: U8, camera: Camera, prop: street.Prop, rng: np.random.Generator, *, night: bool) -> Layer | None:
    """Draw one prop into the background and return where it is."""
    mask = np.zeros(image.shape[:2], np.uint8)
    light = lamp_light(np.array(prop.x), np.array(prop.z)) if night else np.ones(3)

    def colour(base: Colour, factor: float = 1.0) -> tuple[float, float, float]:
        lit = np.minimum(np.array(base) * light * factor, 255)
        return (float(lit[0]), float(lit[1]), float(lit[2]))

    def quad(xa: float, xb: float, ua: float, ub: float, base: Colour, *, taper: float = 1.0) -> None:
        middle, half = (xa + xb) / 2, (xb - xa) / 2
        corners = [
            (middle - half, ua, prop.z),
            (middle + half, ua, prop.z),
            (middle + half * taper, ub, prop.z),
            (middle - half * taper, ub, prop.z),
        ]
        points = np.rint(_pixels(camera, corners) * 16).astype(np.int32)
        cv2.fillPoly(mask, [points], 255, cv2.LINE_8, 4)
        cv2.fillPoly(image, [points], colour(base), cv2.LINE_8, 4)
        dark = points.copy()
        dark[0] = points[0] + (points[1] - points[0]) * 0.6
        dark[3] = points[3] + (points[2] - points[3]) * 0.6
        cv2.fillPoly(image, [dark], colour(base, 0.68), cv2.LINE_8, 4)

    def ball(x: float, up: float, radius: float, base: Colour, factor: float) -> None:
        (cx, cy) = _pixels(camera, (x, up, prop.z)).tolist()
        depth = float(camera.project(np.array([x, up, prop.z]))[1])
        r = max(1, round(camera.focal_px * camera.canvas_scale * radius / depth))
        for target, value in ((mask, 255), (image, colour(base, factor))):
            cv2.circle(target, (round(cx), round(cy)), r, value, -1)

    x = prop.x
    if prop.kind == "tree":
        quad(x - 0.15, x + 0.15, 0.0, 2.9, (58, 74, 92), taper=0.7)
        crowns = [
            (0.0, 4.5, 1.15),
            (-0.75, 3.9, 0.85),
            (0.8, 3.95, 0.9),
            (-0.35, 5.1, 0.8),
            (0.5, 5.0, 0.75),
            (0.05, 3.55, 0.8),
        ]
        leaves = 1500
        for i in range(leaves):
            # leaves from the shadow inside to the sunlit outside, upper left
            middle, up, radius = crowns[int(rng.integers(len(crowns)))]
            turn, out = float(rng.uniform(0, 2 * math.pi)), math.sqrt(float(rng.random())) * radius
            dx, du = middle + math.cos(turn) * out, up - 4.4 + math.sin(turn) * out
            share = i / leaves
            tone = 0.45 + 0.5 * share + (0.22 * du - 0.1 * dx) * (0.3 + share)
            dark = 0.5 if night else 1.0
            ball(
                x + dx,
                4.4 + du,
                float(rng.uniform(0.06, 0.2)) * (1.2 - 0.5 * share),
                (46, 98, 78),
                dark * max(0.25, tone) * float(rng.uniform(0.8, 1.2)),
            )
    elif prop.kind == "lamp":
        quad(x - 0.11, x + 0.11, 0.0, 0.8, (74, 76, 70))
        quad(x - 0.06, x + 0.06, 0.7, _LAMP_HEIGHT, (84, 86, 80), taper=0.7)
        quad(x - 0.05, x + 0.95, _LAMP_HEIGHT - 0.1, _LAMP_HEIGHT, (84, 86, 80))
        quad(x + 0.5, x + 1.05, _LAMP_HEIGHT - 0.2, _LAMP_HEIGHT - 0.06, (150, 152, 150))
    elif prop.kind == "bollard":
        quad(x - 0.08, x + 0.08, 0.0, 0.86, (60, 60, 58))
        quad(x - 0.085, x + 0.085, 0.66, 0.76, (190, 194, 196))
        ball(x, 0.86, 0.085, (70, 70, 68), 1.0)
    elif prop.kind == "bin":
        quad(x - 0.24, x + 0.24, 0.0, 0.85, (66, 92, 62), taper=1.1)
        quad(x - 0.29, x + 0.29, 0.82, 0.92, (48, 60, 46))
    elif prop.kind == "bench":
        for leg in (-0.75, 0.7):
            quad(x + leg, x + leg + 0.06, 0.0, 0.45, (52, 52, 52))
        quad(x - 0.85, x + 0.85, 0.4, 0.48, (62, 98, 138))
        quad(x - 0.85, x + 0.85, 0.62, 0.72, (62, 98, 138))
        quad(x - 0.85, x + 0.85, 0.78, 0.88, (62, 98, 138))
    else:
        quad(x - 0.035, x + 0.035, 0.0, 2.9, (150, 152, 152))
        ball(x, 2.75, 0.33, (40, 40, 190), 1.0)
        ball(x, 2.75, 0.25, (226, 228, 228), 1.0)
    x0, y0, wide, tall = cv2.boundingRect(mask)
    if wide == 0 or tall == 0:
        return None
    return Layer(prop.z, x0, y0, mask[y0 : y0 + tall, x0 : x0 + wide].copy())


def _lamp_halos(image: U8, camera: Camera) -> None:
    """The burning lamps and the light around them."""
    height, width = image.shape[:2]
    glow = np.zeros((height, width), np.float32)
    for prop in street.PROPS:
        if prop.kind == "lamp":
            (cx, cy) = _pixels(camera, (prop.x + 0.78, _LAMP_HEIGHT - 0.15, prop.z)).tolist()
            depth = float(camera.project(np.array([prop.x, _LAMP_HEIGHT, prop.z]))[1])
            radius = camera.focal_px * camera.canvas_scale / depth
            ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
            away = np.hypot(xs - cx, ys - cy) / radius
            glow += 1.6 / (1.0 + (away / 0.16) ** 2)
    added = image + np.minimum(glow, 1.2)[..., None] * np.array([150, 205, 240], np.float32)
    image[:] = np.clip(added, 0, 255).astype(np.uint8)
