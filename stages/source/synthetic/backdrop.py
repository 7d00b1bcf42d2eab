"""The street without anyone in it, rendered once: sky, houses, ground, shadows, and the props that hide things.

Out: the canvas's background, the same in shadow, and the props with their masks, nearest last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from stages.source.synthetic import street
from stages.source.synthetic.camera import F64, Camera, Colour, tint
from stages.source.synthetic.lamps import LAMP_TINT, NIGHT_AMBIENT, lamp_halos, light_ground
from stages.source.synthetic.props import Layer, draw_prop, prop_shadow
from stages.source.synthetic.shapes import U8
from stages.source.synthetic.surfaces import (
    GROUND_X,
    GROUND_Z,
    draw_ground,
    draw_house,
    grain,
)


@dataclass(frozen=True, slots=True, eq=False)
class Backdrop:
    """The empty street on the canvas, (H, W, 3) BGR: in light, in shadow, and what stands in the way."""

    lit: U8
    shaded: U8
    layers: tuple[Layer, ...]


def render_backdrop(camera: Camera, rng: np.random.Generator, *, night: bool) -> Backdrop:
    """Render the empty street; takes some tenths of a second."""
    width, height = camera.size_wh[0] * camera.canvas_scale, camera.size_wh[1] * camera.canvas_scale
    image: U8 = _sky(rng, width, height, camera, night=night)
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
        light_ground(ground)
    _warp(image, camera, ground, [(xa, 0, za), (xb, 0, za), (xb, 0, zb), (xa, 0, zb)], False, None)
    shade: U8 = np.zeros((height, width), np.uint8)
    if not night:
        for prop in street.PROPS:
            prop_shadow(shade, camera, prop)
    shade = cv2.GaussianBlur(shade, (0, 0), 1.2 * camera.canvas_scale)
    factor = 1.0 - shade.astype(np.float32)[..., None] / 255.0 * np.array([0.36, 0.42, 0.46], np.float32)
    image = np.clip(image * factor, 0, 255).astype(np.uint8)
    layers = []
    for prop in sorted(street.PROPS, key=lambda prop: -prop.z):
        layer = draw_prop(image, camera, prop, rng, night=night)
        if layer is not None:
            layers.append(layer)
    if night:
        lamp_halos(image, camera)
    depth = np.array([0.74, 0.72, 0.7] if night else [0.62, 0.56, 0.53])
    shaded = np.clip(image * depth, 0, 255).astype(np.uint8)
    return Backdrop(image, shaded, tuple(layers))


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
    yard = camera.canvas_pixels([(-20, 0, street.WALL), (140, 0, street.WALL), (240, 0, 130), (-20, 0, 130)])
    cv2.fillPoly(image, [np.rint(yard).astype(np.int32)], (30, 32, 34) if night else (96, 122, 116))
    for _ in range(420):
        x, z = float(rng.uniform(8, 120)), float(rng.uniform(34, 46))
        up = float(rng.uniform(0.5, 8.5)) * (0.75 + 0.25 * math.sin(x * 0.9))
        (cx, cy) = camera.canvas_pixels((x, up, z)).tolist()
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
    matrix: F64 = intrinsic @ camera.rotation @ plane
    return matrix


def _warp(
    image: U8, camera: Camera, texture: U8, corners: list[tuple[float, float, float]], night: bool, glow: U8 | None
) -> None:
    """Draw a flat texture as a rectangle in the world."""
    matrix = _homography(camera, (texture.shape[1], texture.shape[0]), corners)
    if night:
        dark = texture * (NIGHT_AMBIENT + 0.12 * LAMP_TINT)
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
    emission: U8 = house * bright[..., None].astype(np.uint8)
    return emission


def _side_wall(image: U8, camera: Camera, x0: float, tall: float, colour: Colour) -> None:
    """The wall that is seen where a gap or a lower house lies before a house."""
    depth = street.WALL + 9.0
    points = camera.canvas_pixels([(x0, tall, street.WALL), (x0, tall, depth), (x0, 0, depth), (x0, 0, street.WALL)])
    cv2.fillPoly(image, [np.rint(points).astype(np.int32)], colour)
