"""What light, lens, sensor and codec do to a picture. Boxes stay where they are.

A few lines around OpenCV each, on uint8 (H, W, 3) RGB; each returns a new picture or the one that it was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from engines.types import F32, U8

_LEVELS = np.arange(256, dtype=np.float32) / 255.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppearanceOptions:
    """How often each happens, 0 to 1."""

    light: float = 0.8
    colour: float = 0.6
    night: float = 0.08
    infrared: float = 0.08
    blur: float = 0.15
    noise: float = 0.2
    jpeg: float = 0.25
    small: float = 0.1


NOTHING = AppearanceOptions(light=0, colour=0, night=0, infrared=0, blur=0, noise=0, jpeg=0, small=0)


def changed(rgb: U8, options: AppearanceOptions, rng: np.random.Generator) -> U8:
    """The picture on another day, by another camera."""
    chance = rng.random(8)
    if chance[0] < options.infrared:
        rgb = infrared(rgb, rng)
    elif chance[0] < options.infrared + options.night:
        rgb = night(rgb, rng)
    elif chance[1] < options.colour:
        rgb = coloured(rgb, rng)
    if chance[2] < options.light:
        rgb = lit(rgb, rng)
    if chance[3] < options.small:
        rgb = smaller(rgb, rng)
    if chance[4] < options.blur:
        rgb = blurred(rgb, rng)
    if chance[5] < options.noise:
        rgb = noisy(rgb, rng.uniform(2, 12), rng)
    return compressed(rgb, int(rng.integers(20, 75))) if chance[6] < options.jpeg else rgb


def lit(rgb: U8, rng: np.random.Generator) -> U8:
    """Another exposure: gamma, contrast, brightness, in one table."""
    curve = _LEVELS ** np.exp(rng.uniform(-0.4, 0.4))
    curve = (curve - 0.5) * np.exp(rng.uniform(-0.3, 0.3)) + 0.5 + rng.uniform(-0.12, 0.12)
    return _through(rgb, np.repeat(curve[:, None], 3, axis=1))


def coloured(rgb: U8, rng: np.random.Generator) -> U8:
    """Another white balance and saturation: one 3 x 3 matrix."""
    saturation = np.exp(rng.uniform(-0.7, 0.4))
    grey = np.array([0.299, 0.587, 0.114])
    matrix = saturation * np.eye(3) + (1 - saturation) * grey[None]
    matrix = np.diag(np.exp(rng.uniform(-0.12, 0.12, 3))) @ matrix
    return np.asarray(cv2.transform(rgb, matrix), np.uint8)


def night(rgb: U8, rng: np.random.Generator) -> U8:
    """Little light: dark, pale, tinted by lamps, noisy."""
    saturation = rng.uniform(0.2, 0.7)
    matrix = saturation * np.eye(3) + (1 - saturation) / 3
    tint = np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.6, 1.1)])
    dark = np.asarray(cv2.transform(rgb, np.diag(tint) @ matrix), np.uint8)
    curve = _LEVELS ** rng.uniform(1.3, 2.2) * rng.uniform(0.35, 0.8)
    return noisy(_through(dark, np.repeat(curve[:, None], 3, axis=1)), rng.uniform(4, 14), rng)


def infrared(rgb: U8, rng: np.random.Generator) -> U8:
    """A camera's own infra-red lamp: grey, red things bright, bright in the middle, noisy."""
    weights = rng.dirichlet((4.0, 3.0, 2.0))
    height, width = rgb.shape[:2]
    grey = cv2.transform(rgb, weights[None]).astype(np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(rng.uniform(-0.3, 0.3))
    x = np.linspace(-1, 1, width, dtype=np.float32)[None] - np.float32(rng.uniform(-0.3, 0.3))
    lamp = 1.0 - np.float32(rng.uniform(0.1, 0.5)) * np.minimum(x * x + y * y, 1.2)
    values = np.clip(grey * lamp * np.float32(rng.uniform(0.7, 1.2)), 0, 255).astype(np.uint8)
    return noisy(np.repeat(values[..., None], 3, axis=2), rng.uniform(1, 8), rng, grey=True)


def blurred(rgb: U8, rng: np.random.Generator) -> U8:
    """Out of focus, or moved while exposed."""
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.5)), np.uint8)
    length = int(rng.integers(3, 9))
    kernel: F32 = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    end = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    middle = (length - 1) / 2
    first, last = ((round(middle + sign * end[0]), round(middle + sign * end[1])) for sign in (-1, 1))
    cv2.line(kernel, first, last, (1.0,))
    return np.asarray(cv2.filter2D(rgb, -1, kernel / kernel.sum()), np.uint8)


@cache
def _noise() -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """A million normal numbers of deviation 32: drawing fresh ones would take longer than all else here."""
    drawn = np.random.default_rng(7).standard_normal(1 << 20)
    return np.asarray(np.clip(np.round(drawn * 32), -127, 127), np.int8)


def noisy(rgb: U8, deviation: float, rng: np.random.Generator, *, grey: bool = False) -> U8:
    """A sensor's noise, of each channel by itself, or the same for all (`grey`)."""
    height, width, channels = rgb.shape
    count = height * width * (1 if grey else channels)
    bank = _noise()
    start = int(rng.integers(0, len(bank)))
    drawn = np.resize(bank[start:], count) if count > len(bank) - start else bank[start : start + count]
    shape = (height, width, 1 if grey else channels)
    values = drawn.reshape(shape) * np.float32(deviation / 32)
    return np.clip(rgb + values, 0, 255).astype(np.uint8)


def compressed(rgb: U8, quality: int) -> U8:
    """What JPEG of this quality leaves."""
    _, data = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def smaller(rgb: U8, rng: np.random.Generator) -> U8:
    """A camera of fewer pixels, scaled up."""
    height, width = rgb.shape[:2]
    factor = rng.uniform(0.4, 0.8)
    less = cv2.resize(rgb, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(less, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _through(rgb: U8, curves: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> U8:
    """Each channel through its curve (256, 3), 0 to 1."""
    table = np.clip(np.round(curves * 255), 0, 255).astype(np.uint8)[None]
    return np.asarray(cv2.LUT(rgb, table), np.uint8)
