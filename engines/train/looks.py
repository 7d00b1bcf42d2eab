"""What light, lens, sensor and codec shall do to a picture: decided here, with numbers alone.

`appearance` does it with OpenCV on the host, `device_looks` with torch to a whole batch, in the order of the fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.types import F32, U8

_LEVELS = np.arange(256, dtype=np.float32) / 255.0
_GREY = np.array([0.299, 0.587, 0.114])
NOISE_BANK = 1 << 20
"""Numbers in the bank of noise: drawing fresh ones would take longer than all else here."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamp:
    """A camera's own lamp: `gain` in the middle, at `at_xy` (-1 to 1), falling off with the square of the distance."""

    at_xy: tuple[float, float]
    fall: float
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Normal, of this deviation in levels; from place `start` of the bank on; the same for all channels if `grey`."""

    deviation: float
    start: int
    grey: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Moved by `length` pixels while exposed, at `angle` (radians)."""

    length: int
    angle: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looks:
    """What is done, in this order; None: it is not.

    `matrix` (3, 3): colours to colours. `dark`, `light` (256,) uint8: levels to levels. `small`: scaled down by this
    and up again. `blur`: deviation of the Gaussian in pixels, or a motion. `quality`: of JPEG.
    """

    matrix: np.ndarray[Any, np.dtype[np.float64]] | None = None
    lamp: Lamp | None = None
    dark: U8 | None = None
    early: Noise | None = None
    light: U8 | None = None
    small: float | None = None
    blur: float | Motion | None = None
    late: Noise | None = None
    quality: int | None = None


def draw(options: AppearanceOptions, rng: np.random.Generator) -> Looks:
    """Another day, another camera."""
    chance = rng.random(8)
    matrix, lamp, dark, early = None, None, None, None
    if chance[0] < options.infrared:
        # A camera's own infra-red lamp: grey, red things bright, bright in the middle, noisy.
        matrix = np.repeat(rng.dirichlet((4.0, 3.0, 2.0))[None], 3, axis=0)
        y, x = float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-0.3, 0.3))
        lamp = Lamp(at_xy=(x, y), fall=float(rng.uniform(0.1, 0.5)), gain=float(rng.uniform(0.7, 1.2)))
        early = _noise(1, 8, rng, grey=True)
    elif chance[0] < options.infrared + options.night:
        # Little light: dark, pale, tinted by lamps, noisy.
        saturation = rng.uniform(0.2, 0.7)
        tint = np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.6, 1.1)])
        matrix = np.diag(tint) @ (saturation * np.eye(3) + (1 - saturation) / 3)
        dark = _table(_LEVELS ** rng.uniform(1.3, 2.2) * rng.uniform(0.35, 0.8))
        early = _noise(4, 14, rng)
    elif chance[1] < options.colour:
        # Another white balance and saturation.
        saturation = np.exp(rng.uniform(-0.7, 0.4))
        matrix = np.diag(np.exp(rng.uniform(-0.12, 0.12, 3))) @ (saturation * np.eye(3) + (1 - saturation) * _GREY)
    return Looks(
        matrix=matrix,
        lamp=lamp,
        dark=dark,
        early=early,
        light=_exposure(rng) if chance[2] < options.light else None,
        small=float(rng.uniform(0.4, 0.8)) if chance[3] < options.small else None,
        blur=_blur(rng) if chance[4] < options.blur else None,
        late=_noise(2, 12, rng) if chance[5] < options.noise else None,
        quality=int(rng.integers(20, 75)) if chance[6] < options.jpeg else None,
    )


def _exposure(rng: np.random.Generator) -> U8:
    """Gamma, contrast, brightness."""
    curve = _LEVELS ** np.exp(rng.uniform(-0.4, 0.4))
    return _table((curve - 0.5) * np.exp(rng.uniform(-0.3, 0.3)) + 0.5 + rng.uniform(-0.12, 0.12))


def _blur(rng: np.random.Generator) -> float | Motion:
    """Out of focus, or moved while exposed."""
    if rng.random() < 0.5:
        return float(rng.uniform(0.4, 1.5))
    return Motion(length=int(rng.integers(3, 9)), angle=float(rng.uniform(0, np.pi)))


def _noise(least: float, most: float, rng: np.random.Generator, *, grey: bool = False) -> Noise:
    return Noise(deviation=float(rng.uniform(least, most)), start=int(rng.integers(0, NOISE_BANK)), grey=grey)


def _table(curve: F32) -> U8:
    """A curve of 256 numbers, 0 to 1, in levels."""
    return np.asarray(np.clip(np.round(curve * 255), 0, 255), np.uint8)
