"""Where things come to lie: scaling, cropping, turning, flipping, mosaics and wide angles, with their boxes.

Each picture is warped once, straight from memory to its place in the batch; boxes go the same way. What is not picture
has the level 114, as the letterbox of running has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from engines.train.sample import Sample, Truth
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


def letterboxed(sample: Sample, size_wh: SizeWH, *, flip: bool = False) -> Sample:
    """The picture in the middle of a place of this size, whole."""
    return _warped(sample, size_wh, [((0, 0, *size_wh), _fit(sample, size_wh, 1.0, (0.5, 0.5), flip=flip))], [sample])


def composed(samples: list[Sample], size_wh: SizeWH, options: GeometryOptions, rng: np.random.Generator) -> Sample:
    """One picture of `size_wh` out of one sample, or a mosaic of four."""
    width, height = size_wh
    if len(samples) == 1:
        places: list[Rect] = [(0, 0, width, height)]
    else:
        x, y = (round(side * rng.uniform(0.3, 0.7)) for side in size_wh)
        places = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
    tiles = [(place, _random(sample, place, options, rng)) for place, sample in zip(places, samples, strict=True)]
    whole = _warped(samples[0], size_wh, tiles, samples)
    return widened(whole, rng.uniform(0.1, 0.35)) if rng.random() < options.wide else whole


def _fit(
    sample: Sample, size_wh: SizeWH, scale: float, at: tuple[float, float], *, flip: bool, linear: F64 | None = None
) -> F64:
    """2 x 3: source to place. `scale` 1 fits; `at` says which share of what is left over lies left of and above it."""
    height, width = sample.rgb.shape[:2]
    factor = min(size_wh[0] / width, size_wh[1] / height) * scale
    matrix = np.diag([factor, factor]) if linear is None else factor * linear
    if flip:
        matrix = matrix @ np.diag([-1.0, 1.0])
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ matrix.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    offset = (np.array(size_wh) - (high - low)) * np.array(at) - low
    return np.concatenate([matrix, offset[:, None]], axis=1)


def _random(sample: Sample, place: Rect, options: GeometryOptions, rng: np.random.Generator) -> F64:
    size_wh = (place[2] - place[0], place[3] - place[1])
    low, high = np.log(options.scale)
    angle = np.deg2rad(rng.uniform(-1, 1) * options.turn_degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, rng.uniform(-1, 1) * options.shear], [rng.uniform(-1, 1) * options.shear, 1.0]])
    aspect = np.exp(rng.uniform(-1, 1) * options.stretch)
    linear = turn @ shear @ np.diag([aspect, 1 / aspect])
    at = (float(rng.random()), float(rng.random()))
    flip = bool(rng.random() < options.flip)
    return _fit(sample, size_wh, float(np.exp(rng.uniform(low, high))), at, flip=flip, linear=linear)


def _warped(first: Sample, size_wh: SizeWH, tiles: list[tuple[Rect, F64]], samples: list[Sample]) -> Sample:
    rgb = np.full((size_wh[1], size_wh[0], 3), PAD, np.uint8)
    truths = []
    for ((x1, y1, x2, y2), matrix), sample in zip(tiles, samples, strict=True):
        # OpenCV's coordinates are of pixels' middles, ours of their edges.
        centred = matrix.copy()
        centred[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
        tile = cv2.warpAffine(
            sample.rgb, centred, (x2 - x1, y2 - y1), flags=cv2.INTER_LINEAR, borderValue=(PAD, PAD, PAD)
        )
        rgb[y1:y2, x1:x2] = tile
        matrix = matrix.copy()
        matrix[:, 2] += (x1, y1)
        truths.append(_moved(sample.truth, matrix, (x1, y1, x2, y2)))
    return Sample(rgb=rgb, truth=Truth.joined(truths), part=first.part)


def _moved(truth: Truth, matrix: F64, place: Rect) -> Truth:
    """The truth at its new place, cut off at the place's border."""
    boxes = _hulls(_corners(truth.xyxy_px) @ matrix[:, :2].T + matrix[:, 2])
    regions = _hulls(_corners(truth.regions) @ matrix[:, :2].T + matrix[:, 2])
    return _cut(replace(truth, regions=regions), boxes, place)


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


def widened(sample: Sample, strength: float) -> Sample:
    """As through a wide-angle lens: straight lines bend outwards, things at the border shrink.

    A new pixel at distance r from the middle (in half diagonals) shows the source at r * (1 + strength * r^2) / (1 +
    strength * b^2), where b is the distance of the nearer border: the picture still fills its place in the middle of
    its sides. Source of the model: Brown, Decentering Distortion of Lenses, 1966, its first radial term.
    """
    height, width = sample.rgb.shape[:2]
    middle = np.array([width / 2, height / 2])
    half = float(np.hypot(*middle))
    least = 1.0 + strength * (float(middle.min()) / half) ** 2
    x, y = np.meshgrid(np.arange(width) + 0.5 - middle[0], np.arange(height) + 0.5 - middle[1])
    factor = (1.0 + strength * (x * x + y * y) / half**2) / least
    mapped = [(axis * factor + centre - 0.5).astype(np.float32) for axis, centre in ((x, middle[0]), (y, middle[1]))]
    rgb = cv2.remap(
        sample.rgb, mapped[0], mapped[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(PAD,) * 3
    )

    def bent(boxes: F32) -> F32:
        source = (_outline(boxes) - middle) / half
        radius = np.hypot(source[..., 0], source[..., 1])
        found = radius.copy()
        for _ in range(20):  # Newton; the function rises everywhere
            found -= (found * (1 + strength * found**2) - least * radius) / (1 + 3 * strength * found**2)
        ratio = np.divide(found, radius, out=np.ones_like(radius), where=radius > 0.0)
        return _hulls(source * ratio[..., None] * half + middle)

    truth = replace(sample.truth, regions=bent(sample.truth.regions))
    return replace(
        sample, rgb=np.asarray(rgb, np.uint8), truth=_cut(truth, bent(sample.truth.xyxy_px), (0, 0, width, height))
    )


def _outline(boxes: F32) -> F64:
    """(N, 16, 2): points along the four sides of each box."""
    steps = np.linspace(0.0, 1.0, 4, endpoint=False)[:, None]
    corners = _corners(boxes)[:, :, None]
    following = np.roll(corners, -1, axis=1)
    return np.asarray((corners + (following - corners) * steps).reshape(-1, 16, 2), np.float64)
