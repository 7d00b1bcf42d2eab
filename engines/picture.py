"""From a decoder's planes to a network's input, and boxes back: the one definition that everything shares.

For a picture of w x h and an input of W x H:

1. `letterbox` keeps the aspect: w' x h' is the largest even size that fits; `stretch` takes W x H. Offsets are even.
2. Luma is scaled to w' x h', each chroma plane to w'/2 x h'/2, bilinearly (pixel centres aligned), rounded to 8 bits
   (samples of more than 8 bits are scaled first and rounded once).
3. Each 2 x 2 block of luma takes its chroma sample; the stream's own matrix (BT.601 or BT.709) and range give RGB,
   rounded and clipped. Still images (RGB) skip this and are scaled as RGB.
4. value = (level * scale - mean) / std, in the model's channel order; around the picture, that of the level `pad`.

Running, calibration and validation all call `PictureWriter`. No RGB copy of the source is made: all but the reading of
the planes happens at the size of the input. Not thread-safe: one writer a thread, since it reuses its scratch memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.spec import InputSpec
from engines.types import F32, U8, Picture, RgbPicture, SizeWH, YuvMatrix, YuvPlanes
from vedette.errors import PictureError

# Luma weights of red and blue: ITU-R BT.601-7 (2.5.1), BT.709-6 (3.2).
_LUMA_WEIGHTS = {YuvMatrix.BT601: (0.299, 0.114), YuvMatrix.BT709: (0.2126, 0.0722)}
_NEUTRAL = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a picture lies in the network's input: input = source * scale + offset, for each axis.

    `inner_wh` is the part of the input that the picture covers, at `offset_xy`.
    """

    source_wh: SizeWH
    inner_wh: SizeWH
    offset_xy: tuple[int, int]

    @property
    def scale_xy(self) -> tuple[float, float]:
        return (self.inner_wh[0] / self.source_wh[0], self.inner_wh[1] / self.source_wh[1])

    def to_source(self, xyxy_px: F32) -> F32:
        """Boxes (N, 4) in input pixels as boxes in source pixels, clipped to the picture; a new array."""
        scale = np.array([*self.scale_xy, *self.scale_xy], np.float64)
        offset = np.array([*self.offset_xy, *self.offset_xy], np.float64)
        limits = np.array([*self.source_wh, *self.source_wh], np.float64)
        boxes: F32 = np.clip((xyxy_px - offset) / scale, 0.0, limits).astype(np.float32)
        return boxes

    def to_input(self, xyxy_px: F32) -> F32:
        """Boxes (N, 4) in source pixels as boxes in input pixels; a new array."""
        scale = np.array([*self.scale_xy, *self.scale_xy], np.float64)
        offset = np.array([*self.offset_xy, *self.offset_xy], np.float64)
        boxes: F32 = (xyxy_px * scale + offset).astype(np.float32)
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
    """Writes pictures into slots of an engine's input. Keeps scratch memory for the last geometry."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        gain = np.array([spec.scale / std for std in spec.std])
        shift = np.array([-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)])
        # In the order of the channels in the input; mean and std are given in that order, too.
        self._gain = gain.astype(np.float32)
        self._shift = shift.astype(np.float32)
        self._raw = bool(np.all(gain == 1.0) and np.all(shift == 0.0))
        self._order = (0, 1, 2) if spec.colour == "rgb" else (2, 1, 0)
        self._scratch: _Scratch | None = None
        self._borders: dict[tuple[int, int], Placement] = {}

    def write(self, picture: Picture | YuvPlanes | RgbPicture, array: npt.NDArray[Any], index: int) -> Placement:
        """Fill `array[index]` (3, H, W), float32 or uint8, with the picture; other slots stay as they are.

        Raises PictureError for planes that cannot be converted.
        """
        planes = picture if isinstance(picture, YuvPlanes | RgbPicture) else picture.planes()
        placement = place(planes.size_wh, self._spec)
        slot = array[index]
        self._fill_border(array, index, placement)
        (x, y), (width, height) = placement.offset_xy, placement.inner_wh
        inner = [slot[channel, y : y + height, x : x + width] for channel in range(3)]
        scratch = self._scratch
        if scratch is None or scratch.size_wh != placement.inner_wh:
            scratch = self._scratch = _Scratch(placement.inner_wh)
        if isinstance(planes, RgbPicture):
            cv2.resize(planes.rgb, placement.inner_wh, dst=scratch.rgb, interpolation=cv2.INTER_LINEAR)
        else:
            scratch.fill(planes)
            scratch.convert(planes.matrix, planes.full_range)
        self._store(scratch, inner)
        return placement

    def _store(self, scratch: _Scratch, inner: list[npt.NDArray[Any]]) -> None:
        ordered = [inner[self._order.index(colour)] for colour in range(3)]  # red, green, blue
        if inner[0].dtype == np.uint8:
            cv2.split(scratch.rgb, ordered)
            return
        cv2.split(scratch.rgb, scratch.levels)
        for colour, view in enumerate(ordered):
            channel = self._order.index(colour)
            if self._raw:
                np.copyto(view, scratch.levels[colour])
                continue
            np.multiply(scratch.levels[colour], self._gain[channel], out=view, dtype=np.float32, casting="same_kind")
            if self._shift[channel]:
                np.add(view, self._shift[channel], out=view)

    def _fill_border(self, array: npt.NDArray[Any], index: int, placement: Placement) -> None:
        """Pad around the picture; only when the slot held another geometry before."""
        key = (array.ctypes.data, index)
        if self._borders.get(key) == placement:
            return
        self._borders[key] = placement
        slot = array[index]
        if slot.dtype == np.uint8:
            slot[:] = self._spec.pad
            return
        for channel in range(3):
            slot[channel] = np.float32(self._spec.pad) * self._gain[channel] + self._shift[channel]


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
        self._full_u: U8 | None = None
        self._full_v: U8 | None = None
        self._yuv: U8 | None = None
        self._uv: U8 | None = None

    def fill(self, planes: YuvPlanes) -> None:
        """Scale the planes to this size, 8 bits."""
        _scale(planes.y, self.y, planes)
        if planes.uv is not None:
            if self._uv is None:
                self._uv = np.zeros((*self.u.shape, 2), np.uint8)
            _scale(planes.uv, self._uv, planes)
            cv2.split(self._uv, [self.u, self.v])
        elif planes.u is not None and planes.v is not None:
            _scale(planes.u, self.u, planes)
            _scale(planes.v, self.v, planes)
        else:
            self.u[:] = self.v[:] = _NEUTRAL

    def convert(self, matrix: YuvMatrix, full_range: bool) -> None:
        """RGB from the planes. OpenCV's own conversion is BT.601, limited range; all else is one 3 x 4 matrix."""
        if matrix is YuvMatrix.BT601 and not full_range:
            cv2.cvtColor(self.i420, cv2.COLOR_YUV2RGB_I420, dst=self.rgb)
            return
        if self._full_u is None or self._full_v is None or self._yuv is None:
            shape = self.y.shape
            self._full_u, self._full_v = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
            self._yuv = np.zeros((*shape, 3), np.uint8)
        cv2.resize(self.u, self.size_wh, dst=self._full_u, interpolation=cv2.INTER_NEAREST)
        cv2.resize(self.v, self.size_wh, dst=self._full_v, interpolation=cv2.INTER_NEAREST)
        cv2.merge([self.y, self._full_u, self._full_v], dst=self._yuv)
        cv2.transform(self._yuv, yuv_to_rgb(matrix, full_range=full_range).astype(np.float32), dst=self.rgb)


def yuv_to_rgb(matrix: YuvMatrix, *, full_range: bool) -> npt.NDArray[np.float64]:
    """The 3 x 4 matrix that takes (Y, U, V, 1), levels of 8 bits, to (R, G, B) levels."""
    red, blue = _LUMA_WEIGHTS[matrix]
    green = 1.0 - red - blue
    luma, chroma, black = (1.0, 1.0, 0.0) if full_range else (255.0 / 219.0, 255.0 / 224.0, 16.0)
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


def _scale(plane: npt.NDArray[Any], out: U8, planes: YuvPlanes) -> None:
    size_wh = (out.shape[1], out.shape[0])
    if plane.dtype == np.uint8:
        cv2.resize(plane, size_wh, dst=out, interpolation=cv2.INTER_LINEAR)
        return
    if plane.dtype != np.uint16:
        msg = f"planes of {plane.dtype} cannot be converted, expected uint8 or uint16"
        raise PictureError(msg)
    wide = cv2.resize(plane, size_wh, interpolation=cv2.INTER_LINEAR)
    levels = 1 << (16 if planes.msb_aligned else planes.bits)
    cv2.convertScaleAbs(wide, dst=out, alpha=256.0 / levels)
