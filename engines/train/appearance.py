"""What `looks` decided, done to a picture on the host: a few lines around OpenCV each. Boxes stay where they are.

Each takes uint8 (H, W, 3) RGB and returns a new picture.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from engines.train.looks import NOISE_BANK, Lamp, Looks, Motion, Noise
from engines.types import F32, U8

_NOISE_UNIT = 32.0
"""Of the bank's numbers: its deviation."""


def changed(rgb: U8, looks: Looks) -> U8:
    """The picture on another day, by another camera; the very one that it was given if nothing is to be done."""
    if looks.matrix is not None:
        rgb = np.asarray(cv2.transform(rgb, looks.matrix), np.uint8)
    if looks.lamp is not None:
        rgb = lit_by(rgb, looks.lamp)
    if looks.dark is not None:
        rgb = np.asarray(cv2.LUT(rgb, looks.dark), np.uint8)
    if looks.early is not None:
        rgb = noisy(rgb, looks.early)
    if looks.light is not None:
        rgb = np.asarray(cv2.LUT(rgb, looks.light), np.uint8)
    if looks.small is not None:
        rgb = smaller(rgb, looks.small)
    if looks.blur is not None:
        rgb = blurred(rgb, looks.blur)
    if looks.late is not None:
        rgb = noisy(rgb, looks.late)
    return rgb if looks.quality is None else compressed(rgb, looks.quality)


def lit_by(rgb: U8, lamp: Lamp) -> U8:
    height, width = rgb.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None] - np.float32(lamp.at_xy[1])
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None] - np.float32(lamp.at_xy[0])
    light = 1.0 - np.float32(lamp.fall) * np.minimum(x * x + y * y, 1.2)
    return np.clip(rgb * (light * np.float32(lamp.gain)), 0, 255).astype(np.uint8)


def blurred(rgb: U8, blur: float | Motion) -> U8:
    if isinstance(blur, Motion):
        return np.asarray(cv2.filter2D(rgb, -1, motion_kernel(blur)), np.uint8)
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), blur), np.uint8)


def motion_kernel(motion: Motion) -> F32:
    """(length, length), sum 1: a line through its middle."""
    kernel: F32 = np.zeros((motion.length, motion.length), np.float32)
    middle = (motion.length - 1) / 2
    end = np.array([np.cos(motion.angle), np.sin(motion.angle)]) * middle
    first, last = ((round(middle + sign * end[0]), round(middle + sign * end[1])) for sign in (-1, 1))
    cv2.line(kernel, first, last, (1.0,))
    return np.asarray(kernel / kernel.sum(), np.float32)


@cache
def noise_bank() -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """Normal numbers of deviation 32, twice over, so that any place can begin a picture."""
    drawn = np.random.default_rng(7).standard_normal(NOISE_BANK)
    return np.tile(np.asarray(np.clip(np.round(drawn * _NOISE_UNIT), -127, 127), np.int8), 2)


def noisy(rgb: U8, noise: Noise) -> U8:
    """A sensor's noise, of each channel by itself, or the same for all."""
    height, width, channels = rgb.shape
    shape = (height, width, 1 if noise.grey else channels)
    count = int(np.prod(shape))
    drawn = noise_bank()[noise.start : noise.start + min(count, NOISE_BANK)]
    values = np.resize(drawn, count).reshape(shape) * np.float32(noise.deviation / _NOISE_UNIT)
    return np.clip(rgb + values, 0, 255).astype(np.uint8)


def compressed(rgb: U8, quality: int) -> U8:
    """What JPEG of this quality leaves."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def smaller(rgb: U8, factor: float) -> U8:
    """A camera of fewer pixels, scaled up."""
    height, width = rgb.shape[:2]
    less = cv2.resize(rgb, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(less, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
