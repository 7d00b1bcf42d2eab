"""The street's lamps at night: what they light, and how they shine."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from stages.source.synthetic import street
from stages.source.synthetic.camera import F64, Camera
from stages.source.synthetic.shapes import U8
from stages.source.synthetic.surfaces import GROUND_SCALE, GROUND_X, GROUND_Z

LAMP_HEIGHT = 5.6
NIGHT_AMBIENT = np.array([0.33, 0.27, 0.24])
LAMP_TINT = np.array([0.5, 0.72, 0.86])


def lamp_light(x: npt.NDArray[np.float64], z: npt.NDArray[np.float64]) -> F64:
    """The light (…, 3) that falls at night on what stands at (x, z) metres."""
    strength = np.zeros(np.broadcast(x, z).shape)
    for prop in street.PROPS:
        if prop.kind == "lamp":
            away = (x - prop.x) ** 2 + (z - (prop.z + (1.2 if prop.z < street.LANE_LINE else -1.2))) ** 2
            strength = strength + 1.0 / (1.0 + away / 16.0)
    # what shines out of the shops
    strength = strength + 0.4 / (1.0 + (street.WALL - z) ** 2 / 3.0)
    light: F64 = np.minimum(NIGHT_AMBIENT + np.minimum(strength, 1.0)[..., None] * LAMP_TINT, 1.0)
    return light


def light_ground(ground: U8) -> None:
    scale = GROUND_SCALE
    step = 8
    zs = np.arange(0, ground.shape[0] + step, step) / scale + GROUND_Z[0]
    xs = np.arange(0, ground.shape[1] + step, step) / scale + GROUND_X[0]
    light = lamp_light(xs[None, :], zs[:, None]).astype(np.float32)
    full = cv2.resize(light, (ground.shape[1], ground.shape[0]), interpolation=cv2.INTER_LINEAR)
    ground[:] = np.clip(ground * full, 0, 255).astype(np.uint8)


def lamp_halos(image: U8, camera: Camera) -> None:
    """The burning lamps and the light around them."""
    height, width = image.shape[:2]
    glow = np.zeros((height, width), np.float32)
    for prop in street.PROPS:
        if prop.kind == "lamp":
            (cx, cy) = camera.canvas_pixels((prop.x + 0.78, LAMP_HEIGHT - 0.15, prop.z)).tolist()
            depth = float(camera.project(np.array([prop.x, LAMP_HEIGHT, prop.z]))[1])
            radius = camera.focal_px * camera.canvas_scale / depth
            ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
            away = np.hypot(xs - cx, ys - cy) / radius
            glow += 1.6 / (1.0 + (away / 0.16) ** 2)
    added = image + np.minimum(glow, 1.2)[..., None] * np.array([150, 205, 240], np.float32)
    image[:] = np.clip(added, 0, 255).astype(np.uint8)
