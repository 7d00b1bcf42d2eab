"""Where things come to lie: scaling, cropping, turning, flipping, mosaics and wide angles, with their boxes.

Here it is decided, with numbers alone, and boxes are moved; `warp` and `device_warp` move the pictures, each once,
straight from memory to its place in the batch. What is not picture has the level 114, as the letterbox of running has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from engines.train.sample import Known, Truth
from engines.types import F32, SizeWH

PAD = 114
LEAST_SEEN = 0.3
"""Share of an object that must still be seen for it to count; below, it is neither object nor background (a guess)."""
_LEAST_PX = 2.0
F64 = npt.NDArray[np.float64]
Rect = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of the new picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeometryOptions:
    """How far geometry goes. Scales are relative to what fits the picture into its place."""

    scale: tuple[float, float] = (0.7, 1.8)
    turn_degrees: float = 5.0
    shear: float = 0.05
    stretch: float = 0.15
    flip: float = 0.5
    mosaic: float = 0.5
    wide: float = 0.1


CALM = GeometryOptions(scale=(1.0, 1.0), turn_degrees=0.0, shear=0.0, stretch=0.0, flip=0.5, mosaic=0.0, wide=0.0)
"""For the last epochs: what running sees, and its mirror image."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """One source at its place; `matrix` 2 x 3: pixels of the source to those of the place, both counted from edges."""

    place: Rect
    matrix: F64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """A picture of `size_wh`: its tiles (one, or the four of a mosaic), then a wide angle of this strength, if any."""

    size_wh: SizeWH
    tiles: tuple[Tile, ...]
    wide: float | None
    truth: Truth


def letterbox(known: Known, size_wh: SizeWH, *, flip: bool = False) -> Layout:
    """The picture in the middle of a place of this size, whole."""
    tile = Tile(place=(0, 0, *size_wh), matrix=_fit(known, size_wh, 1.0, (0.5, 0.5), flip=flip))
    return Layout(size_wh=size_wh, tiles=(tile,), wide=None, truth=_moved(known.truth, tile))


def compose(known: Sequence[Known], size_wh: SizeWH, options: GeometryOptions, rng: np.random.Generator) -> Layout:
    """One picture of `size_wh` out of one source, or a mosaic of four."""
    width, height = size_wh
    if len(known) == 1:
        places: list[Rect] = [(0, 0, width, height)]
    else:
        x, y = (round(side * rng.uniform(0.3, 0.7)) for side in size_wh)
        places = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
    tiles = tuple(
        Tile(place=place, matrix=_random(one, place, options, rng)) for place, one in zip(places, known, strict=True)
    )
    truth = Truth.joined([_moved(one.truth, tile) for tile, one in zip(tiles, known, strict=True)])
    wide = float(rng.uniform(0.1, 0.35)) if rng.random() < options.wide else None
    return Layout(
        size_wh=size_wh, tiles=tiles, wide=wide, truth=truth if wide is None else widened(truth, size_wh, wide)
    )


def _fit(
    known: Known, size_wh: SizeWH, scale: float, at: tuple[float, float], *, flip: bool, linear: F64 | None = None
) -> F64:
    """2 x 3: source to place. `scale` 1 fits; `at` says which share of what is left over lies left of and above it."""
    width, height = known.size_wh
    factor = min(size_wh[0] / width, size_wh[1] / height) * scale
    matrix = np.diag([factor, factor]) if linear is None else factor * linear
    if flip:
        matrix = matrix @ np.diag([-1.0, 1.0])
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ matrix.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    offset = (np.array(size_wh) - (high - low)) * np.array(at) - low
    return np.concatenate([matrix, offset[:, None]], axis=1)


def _random(known: Known, place: Rect, options: GeometryOptions, rng: np.random.Generator) -> F64:
    size_wh = (place[2] - place[0], place[3] - place[1])
    low, high = np.log(options.scale)
    angle = np.deg2rad(rng.uniform(-1, 1) * options.turn_degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, rng.uniform(-1, 1) * options.shear], [rng.uniform(-1, 1) * options.shear, 1.0]])
    aspect = np.exp(rng.uniform(-1, 1) * options.stretch)
    linear = turn @ shear @ np.diag([aspect, 1 / aspect])
    at = (float(rng.random()), float(rng.random()))
    flip = bool(rng.random() < options.flip)
    return _fit(known, size_wh, float(np.exp(rng.uniform(low, high))), at, flip=flip, linear=linear)


def _moved(truth: Truth, tile: Tile) -> Truth:
    """The truth at its new place, cut off at the place's border."""
    linear, offset = tile.matrix[:, :2], tile.matrix[:, 2] + tile.place[:2]
    boxes = _hulls(np.asarray(_corners(truth.xyxy_px) @ linear.T + offset, np.float64))
    regions = _hulls(np.asarray(_corners(truth.regions) @ linear.T + offset, np.float64))
    return _cut(replace(truth, regions=regions), boxes, tile.place)


def _cut(truth: Truth, boxes: F32, place: Rect) -> Truth:
    """With objects at `boxes`, cut off at the border of `place`; those that are hardly seen become regions."""
    low, high = np.array([*place[:2]] * 2, np.float32), np.array([*place[2:]] * 2, np.float32)
    cut = np.clip(boxes, low, high)
    sides = cut[:, 2:] - cut[:, :2]
    there = (sides > 0.0).all(axis=1)
    share = sides.prod(axis=1) / np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1e-6)
    kept = there & (share >= LEAST_SEEN) & (sides >= _LEAST_PX).all(axis=1)
    rest = there & ~kept
    hidden = np.ones((int(rest.sum()), truth.region_weights.shape[1]), np.float32)
    hidden[np.arange(len(hidden)), truth.class_ids[rest]] = 0.0
    regions = np.clip(truth.regions, low, high)
    left = (regions[:, 2:] > regions[:, :2]).all(axis=1)
    around = np.concatenate([regions[left], cut[rest]])
    weights = np.concatenate([truth.region_weights[left], hidden])
    return replace(truth.objects(kept, cut[kept]), regions=around, region_weights=weights)


def _corners(boxes: F32) -> F64:
    """(N, 4, 2)."""
    return boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].astype(np.float64)


def _hulls(points: F64) -> F32:
    """(N, 4) around points (N, P, 2)."""
    if not len(points):
        return np.zeros((0, 4), np.float32)
    return np.asarray(np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1), np.float32)


def wide_factor(squared: npt.NDArray[np.float64], size_wh: SizeWH, strength: float) -> npt.NDArray[np.float64]:
    """How much farther from the middle the source of a pixel at this squared distance (pixels) lies: see `widened`."""
    half, border = lens(size_wh)
    return (1.0 + strength / half**2 * squared) / (1.0 + strength * border)


def lens(size_wh: SizeWH) -> tuple[float, float]:
    """Half a diagonal in pixels; the square of the distance of the nearer border in half diagonals."""
    half = float(np.hypot(*size_wh)) / 2
    return half, (min(size_wh) / 2 / half) ** 2


def widened(truth: Truth, size_wh: SizeWH, strength: float) -> Truth:
    """As through a wide-angle lens: straight lines bend outwards, things at the border shrink.

    A new pixel at distance r from the middle (in half diagonals) shows the source at r * (1 + strength * r^2) / (1 +
    strength * b^2), where b is the distance of the nearer border: the picture still fills its place in the middle of
    its sides. Source of the model: Brown, Decentering Distortion of Lenses, 1966, its first radial term.
    """
    middle = np.array(size_wh) / 2
    half, border = lens(size_wh)
    least = 1.0 + strength * border

    def bent(boxes: F32) -> F32:
        source = (_outline(boxes) - middle) / half
        radius = np.hypot(source[..., 0], source[..., 1])
        found = radius.copy()
        for _ in range(20):  # Newton; the function rises everywhere
            found -= (found * (1 + strength * found**2) - least * radius) / (1 + 3 * strength * found**2)
        ratio = np.divide(found, radius, out=np.ones_like(radius), where=radius > 0.0)
        return _hulls(source * ratio[..., None] * half + middle)

    return _cut(replace(truth, regions=bent(truth.regions)), bent(truth.xyxy_px), (0, 0, *size_wh))


def _outline(boxes: F32) -> F64:
    """(N, 16, 2): points along the four sides of each box."""
    steps = np.linspace(0.0, 1.0, 4, endpoint=False)[:, None]
    corners = _corners(boxes)[:, :, None]
    following = np.roll(corners, -1, axis=1)
    return np.asarray((corners + (following - corners) * steps).reshape(-1, 16, 2), np.float64)
