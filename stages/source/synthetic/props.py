"""What stands in the street and hides what passes behind it: trees, lamp posts, bollards, bins, a bench, a sign."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from stages.source.synthetic import street
from stages.source.synthetic.camera import Camera, Colour
from stages.source.synthetic.lamps import LAMP_HEIGHT, lamp_light
from stages.source.synthetic.mesh import SUN
from stages.source.synthetic.shapes import U8


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A prop in the background, to be put back over whatever passed behind: its mask, at (x, y) of the canvas."""

    z: float
    x: int
    y: int
    mask: U8


def prop_shadow(shade: U8, camera: Camera, prop: street.Prop) -> None:
    """The prop's shadow on the ground, along the sun's rays."""

    def fall(x: float, up: float, z: float) -> tuple[float, float, float]:
        return (x - SUN[0] / SUN[1] * up, 0.0, z - SUN[2] / SUN[1] * up)

    def blob(centre: tuple[float, float, float], radius: float) -> None:
        turns = np.arange(24) / 24 * 2 * np.pi
        ring = [(centre[0] + radius * math.cos(t), 0.0, centre[2] + radius * math.sin(t)) for t in turns]
        cv2.fillPoly(shade, [np.rint(camera.canvas_pixels(ring)).astype(np.int32)], (255,))

    def bar(x: float, z: float, tall: float, half: float) -> None:
        (xa, _, za) = fall(x, tall, z)
        points = [(x - half, 0, z), (x + half, 0, z), (xa + half, 0, za), (xa - half, 0, za)]
        cv2.fillPoly(shade, [np.rint(camera.canvas_pixels(points)).astype(np.int32)], (255,))

    if prop.kind == "tree":
        bar(prop.x, prop.z, 2.6, 0.13)
    elif prop.kind == "lamp":
        bar(prop.x, prop.z, LAMP_HEIGHT, 0.07)
    elif prop.kind == "sign":
        bar(prop.x, prop.z, 2.6, 0.04)
    else:
        bar(prop.x, prop.z, 0.9, 0.22 if prop.kind != "bollard" else 0.08)
        blob((prop.x, 0.0, prop.z), 0.3 if prop.kind != "bollard" else 0.14)


def draw_prop(image: U8, camera: Camera, prop: street.Prop, rng: np.random.Generator, *, night: bool) -> Layer | None:
    """Draw one prop into the background and return where it is."""
    mask: U8 = np.zeros(image.shape[:2], np.uint8)
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
        points = np.rint(camera.canvas_pixels(corners) * 16).astype(np.int32)
        cv2.fillPoly(mask, [points], (255,), cv2.LINE_8, 4)
        cv2.fillPoly(image, [points], colour(base), cv2.LINE_8, 4)
        dark = points.copy()
        dark[0] = points[0] + (points[1] - points[0]) * 0.6
        dark[3] = points[3] + (points[2] - points[3]) * 0.6
        cv2.fillPoly(image, [dark], colour(base, 0.68), cv2.LINE_8, 4)

    def ball(x: float, up: float, radius: float, base: Colour, factor: float) -> None:
        (cx, cy) = camera.canvas_pixels((x, up, prop.z)).tolist()
        depth = float(camera.project(np.array([x, up, prop.z]))[1])
        r = max(1, round(camera.focal_px * camera.canvas_scale * radius / depth))
        for target, value in ((mask, (255,)), (image, colour(base, factor))):
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
        quad(x - 0.06, x + 0.06, 0.7, LAMP_HEIGHT, (84, 86, 80), taper=0.7)
        quad(x - 0.05, x + 0.95, LAMP_HEIGHT - 0.1, LAMP_HEIGHT, (84, 86, 80))
        quad(x + 0.5, x + 1.05, LAMP_HEIGHT - 0.2, LAMP_HEIGHT - 0.06, (150, 152, 150))
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
