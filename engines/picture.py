"""From a decoder's planes to a network's input, and boxes back: the one definition that everything shares.

For a picture of w x h and an input of W x H:

1. `letterbox` keeps the aspect: w' x h' is the nearest even size that fits (at least 2); `stretch` takes W x H, less
   the last column or row of an odd input. Offsets are even, so that the whole lies on the grid of chroma.
2. Luma is scaled to w' x h', each chroma plane to w'/2 x h'/2, bilinearly (pixel centres aligned, no pre-filter), and
   rounded to 8 bits; samples of more bits are scaled at their own depth. A grey picture has neutral chroma.
3. Each 2 x 2 block of luma takes its chroma sample; the stream's own matrix (BT.601 or BT.709) and range give RGB,
   rounded and clipped to 8 bits. Luma below black (16, in limited range) is black. Still images (RGB) skip this and
   are scaled as RGB.
4. value = (level * scale - mean) / std, in the model's channel order; around the picture, that of the level `pad`.
   An input of uint8 takes the levels themselves.

OpenCV's weights have 11 bits, and more than 8 bits are rounded twice: a plane's sample may be one level off, which is
up to 4 levels of RGB. 8-bit planes that shrink by whole numbers are exact (of NV12: but for halves).
Running, calibration and validation all call `PictureWriter`. No RGB copy of the source is made: all but the reading of
the planes happens at the size of the input. Not thread-safe: one writer a thread, since it reuses its scratch memory.
Reference: engines/validate/plain_picture.py, the four points above in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from engines.spec import InputSpec
from engines.types import F32, U8, Picture, RgbPicture, SizeWH, YuvMatrix, YuvPlanes
from vedette.errors import PictureError

# Luma weights of red and blue: ITU-R BT.601-7 (2.5.1), BT.709-6 (3.2).
_LUMA_WEIGHTS = {YuvMatrix.BT601: (0.299, 0.114), YuvMatrix.BT709: (0.2126, 0.0722)}
_BLACK, _NEUTRAL = 16, 128
F64 = npt.NDArray[np.float64]

_GEOMETRIES = 8
"""Scratch memory is kept for so many sizes of pictures (a guess: cameras of one site are of few kinds)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a picture lies in the network's input: input = source * scale + offset, for each axis.

    `inner_wh` is the part of the input that the picture covers, at `offset_xy`. Coordinates are of pixels' edges: the
    picture reaches from 0 to its width.
    """

    source_wh: SizeWH
    inner_wh: SizeWH
    offset_xy: tuple[int, int]
    _scale: F64 = field(init=False, repr=False, compare=False)
    _offset: F64 = field(init=False, repr=False, compare=False)
    _limits: F64 = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # For corners (x1, y1, x2, y2); made once, since a stream's pictures share one placement.
        for name, (x, y) in (("_scale", self.scale_xy), ("_offset", self.offset_xy), ("_limits", self.source_wh)):
            object.__setattr__(self, name, np.array([x, y, x, y], np.float64))

    @property
    def scale_xy(self) -> tuple[float, float]:
        return (self.inner_wh[0] / self.source_wh[0], self.inner_wh[1] / self.source_wh[1])

    def to_source(self, xyxy_px: F32) -> F32:
        """Boxes (N, 4) in input pixels as boxes in source pixels, clipped to the picture; a new array."""
        boxes = xyxy_px - self._offset
        boxes /= self._scale
        np.maximum(boxes, 0.0, out=boxes)
        return np.minimum(boxes, self._limits, out=boxes).astype(np.float32)

    def to_input(self, xyxy_px: F32) -> F32:
        """Boxes (N, 4) in source pixels as boxes in input pixels; a new array."""
        boxes: F32 = (xyxy_px * self._scale + self._offset).astype(np.float32)
        return boxes


def place(source_wh: SizeWH, spec: InputSpec) -> Placement:
    """Where a picture of `source_wh` goes. Raises PictureError for a picture without area."""
    width, height = source_wh
    if width < 1 or height < 1:
        msg = f"a picture of {width}x{height} pixels has no area"
        raise PictureError(msg)
    full_w, full_h = spec.size
    if spec.fit == "stretch":
        return Placement(source_wh=source_wh, inner_wh=(full_w & ~1, full_h & ~1), offset_xy=(0, 0))
    ratio = min(full_w / width, full_h / height)
    inner_w = min(full_w & ~1, max(2, 2 * round(width * ratio / 2)))
    inner_h = min(full_h & ~1, max(2, 2 * round(height * ratio / 2)))
    centred = ((full_w - inner_w) // 4 * 2, (full_h - inner_h) // 4 * 2)
    offset_xy = (0, 0) if spec.align == "top_left" else centred
    return Placement(source_wh=source_wh, inner_wh=(inner_w, inner_h), offset_xy=offset_xy)


class PictureWriter:
    """Writes pictures into slots of an engine's input; remembers nothing of what a slot held before."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        # Both in the order of the input's channels, as mean and std are given.
        self._gain = np.array([spec.scale / std for std in spec.std], np.float32)
        self._shift = np.array([-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)], np.float32)
        self._pad = np.float32(spec.pad) * self._gain + self._shift
        self._channels = (0, 1, 2) if spec.colour == "rgb" else (2, 1, 0)
        self._geometries: dict[SizeWH, tuple[Placement, _Scratch]] = {}

    def write(self, picture: Picture | YuvPlanes | RgbPicture, array: npt.NDArray[Any], index: int) -> Placement:
        """Fill `array[index]` (3, H, W), uint8 or floating, with the picture; other slots stay as they are.

        The picture's planes are only read. Raises PictureError for planes that cannot be converted, before anything
        is written, and ValueError for an array that is not of the spec's size.
        """
        width, height = self._spec.size
        if array.shape[1:] != (3, height, width):
            msg = f"expected an array of shape (batch, 3, {height}, {width}), got {array.shape}"
            raise ValueError(msg)
        planes = picture if isinstance(picture, YuvPlanes | RgbPicture) else picture.planes()
        if isinstance(planes, RgbPicture):
            _check_rgb(planes)
        else:
            _check_yuv(planes)
        placement, scratch = self._geometry(planes.size_wh)
        if isinstance(planes, RgbPicture):
            _scale(planes.rgb, scratch.rgb)
        else:
            scratch.fill(planes)
            scratch.convert(planes.matrix, full_range=planes.full_range)
        slot = array[index]
        self._fill_border(slot, placement)
        (x, y), (inner_w, inner_h) = placement.offset_xy, placement.inner_wh
        self._store(scratch, slot[:, y : y + inner_h, x : x + inner_w])
        return placement

    def _geometry(self, source_wh: SizeWH) -> tuple[Placement, _Scratch]:
        geometry = self._geometries.get(source_wh)
        if geometry is None:
            placement = place(source_wh, self._spec)
            if len(self._geometries) >= _GEOMETRIES:
                del self._geometries[next(iter(self._geometries))]
            geometry = self._geometries[source_wh] = (placement, _Scratch(placement.inner_wh))
        return geometry

    def _store(self, scratch: _Scratch, inner: npt.NDArray[Any]) -> None:
        """The picture's RGB as values into `inner` (3, h', w')."""
        if inner.dtype == np.uint8:
            cv2.split(scratch.rgb, [inner[channel] for channel in self._channels])
            return
        cv2.split(scratch.rgb, scratch.levels)
        for level, channel in zip(scratch.levels, self._channels, strict=True):
            view = inner[channel]
            # Values are made in float32 whatever the input's type. Two passes in place beat one casting multiply (0.11
            # against 0.13 ms) and OpenCV's scaled conversions (0.26 to 0.48 ms at 640x360).
            values = view if view.dtype == np.float32 else np.empty(view.shape, np.float32)
            np.copyto(values, level)
            if self._gain[channel] != 1.0:
                np.multiply(values, self._gain[channel], out=values)
            if self._shift[channel] != 0.0:
                np.add(values, self._shift[channel], out=values)
            if values is not view:
                np.copyto(view, values, casting="same_kind")

    def _fill_border(self, slot: npt.NDArray[Any], placement: Placement) -> None:
        """Pad around the picture: every time, since who wrote to the slot before is not ours to know (4 to 40 us)."""
        (x, y), (width, height) = placement.offset_xy, placement.inner_wh
        right, below = x + width, y + height
        for channel in range(3):
            plane, value = slot[channel], self._spec.pad if slot.dtype == np.uint8 else self._pad[channel]
            plane[:y] = value
            plane[below:] = value
            plane[y:below, :x] = value
            plane[y:below, right:] = value


class _Scratch:
    """Memory for one geometry: planes at the size of the input, and their RGB."""

    def __init__(self, size_wh: SizeWH) -> None:
        width, height = self.size_wh = size_wh
        half_w, half_h = width // 2, height // 2
        luma, chroma = width * height, half_w * half_h
        flat = np.zeros(luma + 2 * chroma, np.uint8)
        self.i420 = flat.reshape(height * 3 // 2, width)
        self.y = flat[:luma].reshape(height, width)
        self.u = flat[luma : luma + chroma].reshape(half_h, half_w)
        self.v = flat[luma + chroma :].reshape(half_h, half_w)
        self.rgb: U8 = np.zeros((height, width, 3), np.uint8)
        self.levels: list[U8] = [np.zeros((height, width), np.uint8) for _ in range(3)]
        self._spare: U8 = self.levels[0]
        self._uv: U8 | None = None
        self._full: list[U8] = []

    def fill(self, planes: YuvPlanes) -> None:
        """Scale the planes to this size, 8 bits."""
        depth = 16 if planes.msb_aligned else planes.bits
        _scale(planes.y, self.y, depth, self._spare)
        if planes.uv is not None:
            if self._uv is None:
                self._uv = np.zeros((*self.u.shape, 2), np.uint8)
            _scale(planes.uv, self._uv, depth)
            cv2.split(self._uv, [self.u, self.v])
        elif planes.u is not None and planes.v is not None:
            spare = self._spare.reshape(-1)[: self.u.size].reshape(self.u.shape)  # in one piece: 8 us less a plane
            _scale(planes.u, self.u, depth, spare)
            _scale(planes.v, self.v, depth, spare)
        else:
            self.u[:] = self.v[:] = _NEUTRAL

    def convert(self, matrix: YuvMatrix, *, full_range: bool) -> None:
        """RGB from the planes. OpenCV's own conversion is BT.601, limited range; all else is one 3 x 4 matrix."""
        if matrix is YuvMatrix.BT601 and not full_range:
            cv2.cvtColor(self.i420, cv2.COLOR_YUV2RGB_I420, dst=self.rgb)
            return
        if not self._full:
            self._full = [np.zeros_like(self.y), np.zeros_like(self.y)]
        _double(self.u, self._full[0])
        _double(self.v, self._full[1])
        if not full_range:
            np.clip(self.y, _BLACK, 255, out=self.y)
        # `rgb` may hold YUV for a moment: cv2.transform reads each pixel before it writes it.
        cv2.merge([self.y, *self._full], dst=self.rgb)
        cv2.transform(self.rgb, _MATRICES[matrix, full_range], dst=self.rgb)


def yuv_to_rgb(matrix: YuvMatrix, *, full_range: bool) -> npt.NDArray[np.float64]:
    """The 3 x 4 matrix that takes (Y, U, V, 1), levels of 8 bits, to (R, G, B) levels."""
    red, blue = _LUMA_WEIGHTS[matrix]
    green = 1.0 - red - blue
    luma, chroma, black = (1.0, 1.0, 0) if full_range else (255.0 / 219.0, 255.0 / 224.0, _BLACK)
    to_red, to_blue = 2.0 * (1.0 - red) * chroma, 2.0 * (1.0 - blue) * chroma
    linear = np.array(
        [
            [luma, 0.0, to_red],
            [luma, -to_blue * blue / green, -to_red * red / green],
            [luma, to_blue, 0.0],
        ]
    )
    offset = -linear @ np.array([black, _NEUTRAL, _NEUTRAL])
    return np.concatenate([linear, offset[:, None]], axis=1)


_MATRICES = {
    (matrix, full_range): yuv_to_rgb(matrix, full_range=full_range).astype(np.float32)
    for matrix in YuvMatrix
    for full_range in (False, True)
}


def _double(half: U8, full: U8) -> None:
    """Each sample of `half` as a block of 2 x 2 in `full`: 25 us at 640x360, cv2.resize takes 88."""
    pairs = full.view(np.uint16)
    np.multiply(half, np.uint16(0x0101), out=pairs[0::2])
    pairs[1::2] = pairs[0::2]


def _scale(plane: npt.NDArray[Any], out: U8, depth: int = 8, spare: U8 | None = None) -> None:
    """Scale a plane whose samples have `depth` bits to the size and the 8 bits of `out`.

    `spare`: memory of `out`'s shape that may be written to.
    """
    size_wh = (out.shape[1], out.shape[0])
    shrink = _odd_shrink(plane.shape, out.shape)
    if shrink == 3 and spare is not None and plane.dtype == np.uint8:
        # 1080 to 360 lines: each sample is the middle one of three in each third line, which is what splitting a
        # picture of three channels gives, four times as fast as picking them.
        rows, columns = out.shape
        middle = as_strided(plane[1:], (rows, columns, 3), (3 * plane.strides[0], 3, 1), writeable=False)
        cv2.split(middle, [spare, out, spare])
        return
    how = cv2.INTER_LINEAR if shrink is None else cv2.INTER_NEAREST_EXACT
    if plane.dtype == np.uint8:
        cv2.resize(plane, size_wh, dst=out, interpolation=how)
        return
    deep = cv2.resize(plane, size_wh, interpolation=how)
    cv2.convertScaleAbs(deep, dst=out, alpha=256.0 / (1 << depth))


def _odd_shrink(source: tuple[int, ...], target: tuple[int, ...]) -> int | None:
    """By which odd number both sides (rows, columns) shrink: each sample lies on one of the source's, no sum is needed.

    None if it is no such number, or two. The result is the same; a 1080p picture takes 0.12 ms instead of 0.28.
    """
    (rows, rest), (columns, more) = divmod(source[0], target[0]), divmod(source[1], target[1])
    return rows if rows == columns and rows % 2 == 1 and not rest and not more else None


def _check_rgb(picture: RgbPicture) -> None:
    rgb = picture.rgb
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        msg = f"expected an RGB picture of shape (height, width, 3), uint8, got {rgb.shape}, {rgb.dtype}"
        raise PictureError(msg)


def _check_yuv(planes: YuvPlanes) -> None:
    """What OpenCV would choke on, or, worse, would put into memory of its own. Raises PictureError."""
    dtype = planes.y.dtype
    if dtype not in (np.uint8, np.uint16):
        msg = f"planes of {dtype} cannot be converted, expected uint8 or uint16"
        raise PictureError(msg)
    low, high = (8, 8) if dtype == np.uint8 else (9, 16)
    if not low <= planes.bits <= high:
        msg = f"expected {low} to {high} bits in planes of {dtype}, got {planes.bits}"
        raise PictureError(msg)
    chroma = [plane for plane in (planes.u, planes.v, planes.uv) if plane is not None]
    semi, planar = planes.uv is not None, planes.u is not None and planes.v is not None
    shapes = {plane.shape for plane in chroma}
    good = (
        planes.y.ndim == 2
        and len(chroma) == (1 if semi else 2 if planar else 0)
        and len(shapes) < 2
        and all(plane.dtype == dtype and plane.size > 0 for plane in chroma)
        and all(shape[2:] == ((2,) if semi else ()) and len(shape) > 1 for shape in shapes)
    )
    if not good:
        named = [(name, getattr(planes, name)) for name in ("y", "u", "v", "uv")]
        found = ", ".join(f"{name} {plane.shape} {plane.dtype}" for name, plane in named if plane is not None)
        msg = f"expected luma with u and v, with uv or alone, all of one type, got {found}"
        raise PictureError(msg)
