"""A decoded picture that stays in the decoder's memory until someone asks for its planes.

In:  an `av.VideoFrame`, as the decoder gave it out.
Out: `engines.types.YuvPlanes` (read-only views, strides as the decoder padded them) or `RgbPicture`.
Holding the picture, or any view of it, keeps the decoder's buffer alive; nothing is copied but the chroma of NV21.
Made by the sources for every frame, and by `engines/stills.py` for image files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import av
import av.error
import numpy as np
import numpy.typing as npt

from engines.types import U8, RgbPicture, SizeWH, YuvMatrix, YuvPlanes
from vedette.errors import PictureError

# ITU-T H.273, MatrixCoefficients. Unspecified (2) is read as BT.601, as FFmpeg and OpenCV do: a model's training
# pictures went through them. BT.2020 (9, 10) is nearer to BT.709 than to BT.601.
_BT709_CODES = frozenset({1, 9, 10})
_FULL_RANGE_CODE = 2  # FFmpeg's AVCOL_RANGE_JPEG


@dataclass(frozen=True, slots=True)
class _Format:
    """How a pixel format lies in memory; `sub_wh` are the powers of two by which chroma is smaller than luma."""

    layout: Literal["planar", "nv12", "nv21", "grey", "rgb"]
    sub_wh: tuple[int, int] = (0, 0)
    bits: int = 8
    msb_aligned: bool = False
    full_range: bool = False


def _formats() -> dict[str, _Format]:
    table: dict[str, _Format] = {
        "nv12": _Format("nv12", (1, 1)),
        "nv21": _Format("nv21", (1, 1)),
        "nv16": _Format("nv12", (1, 0)),
        "nv24": _Format("nv12", (0, 0)),
        "p010le": _Format("nv12", (1, 1), 10, msb_aligned=True),
        "p012le": _Format("nv12", (1, 1), 12, msb_aligned=True),
        "p016le": _Format("nv12", (1, 1), 16, msb_aligned=True),
        "gray": _Format("grey"),
        "gray10le": _Format("grey", bits=10),
        "gray12le": _Format("grey", bits=12),
        "rgb24": _Format("rgb"),
    }
    planar = {"420": (1, 1), "422": (1, 0), "444": (0, 0), "440": (0, 1), "411": (2, 0), "410": (2, 2)}
    for name, sub_wh in planar.items():
        table[f"yuv{name}p"] = _Format("planar", sub_wh)
        table[f"yuvj{name}p"] = _Format("planar", sub_wh, full_range=True)
        for bits in (9, 10, 12, 14, 16):
            table[f"yuv{name}p{bits}le"] = _Format("planar", sub_wh, bits)
    return table


_FORMATS = _formats()


class AvPicture:
    """An `engines.types.Picture` over one decoded frame.

    `turns`: quarters, counter-clockwise, by which it is turned to be upright: phones store pictures as the sensor lies.
    """

    __slots__ = ("_frame", "_turns", "size_wh")

    def __init__(self, frame: av.VideoFrame, turns: int = 0) -> None:
        self._frame: av.VideoFrame | None = frame
        self._turns = turns % 4
        self.size_wh: SizeWH = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)

    @property
    def frame(self) -> av.VideoFrame:
        """The decoder's own frame, not turned; not after `release`."""
        assert self._frame is not None
        return self._frame

    def release(self) -> None:
        self._frame = None

    def bgr(self) -> U8:
        """A copy (height, width, 3) uint8 to draw into, as OpenCV has it."""
        return np.ascontiguousarray(np.rot90(self.frame.to_ndarray(format="bgr24"), self._turns))

    def planes(self) -> YuvPlanes | RgbPicture:
        planes = _planes(self.frame)
        if not self._turns:
            return planes
        if isinstance(planes, RgbPicture):
            return RgbPicture(rgb=_turned(planes.rgb, self._turns))
        u, v, uv = (None if one is None else _turned(one, self._turns) for one in (planes.u, planes.v, planes.uv))
        return replace(planes, y=_turned(planes.y, self._turns), u=u, v=v, uv=uv)


def _turned(plane: npt.NDArray[Any], turns: int) -> npt.NDArray[Any]:
    turned = np.ascontiguousarray(np.rot90(plane, turns))
    turned.flags.writeable = False
    return turned


def _readable(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame, or FFmpeg's conversion of it where its format is one that hardly any camera has."""
    name = frame.format.name
    if name in _FORMATS:
        return frame
    if frame.format.has_palette or name.startswith(("bayer", "cuda")):
        msg = f"pixel format {name} cannot be converted, expected planar YUV, NV12, NV21, P010, grey or rgb24"
        raise PictureError(msg)
    try:
        return frame.reformat(format="rgb24" if frame.format.is_rgb else "yuv420p")
    except (av.error.FFmpegError, ValueError) as error:
        msg = f"pixel format {name} cannot be converted: {error}"
        raise PictureError(msg) from error


def _planes(frame: av.VideoFrame) -> YuvPlanes | RgbPicture:
    frame = _readable(frame)
    layout = _FORMATS[frame.format.name]
    width, height = frame.width, frame.height
    if layout.layout == "rgb":
        return RgbPicture(rgb=plane_view(frame, 0, height, width, channels=3))
    chroma_width = -(-width >> layout.sub_wh[0])
    chroma_height = -(-height >> layout.sub_wh[1])
    y = plane_view(frame, 0, height, width, bits=layout.bits)
    u = v = uv = None
    if layout.layout == "planar":
        u = plane_view(frame, 1, chroma_height, chroma_width, bits=layout.bits)
        v = plane_view(frame, 2, chroma_height, chroma_width, bits=layout.bits)
    elif layout.layout != "grey":
        uv = plane_view(frame, 1, chroma_height, chroma_width, channels=2, bits=layout.bits)
    if layout.layout == "nv21" and uv is not None:
        v, u, uv = np.ascontiguousarray(uv[..., 0]), np.ascontiguousarray(uv[..., 1]), None
    matrix, full_range = colours_of(frame)
    return YuvPlanes(
        y=y,
        u=u,
        v=v,
        uv=uv,
        bits=layout.bits,
        msb_aligned=layout.msb_aligned,
        matrix=matrix,
        full_range=layout.full_range or full_range,
    )


def colours_of(frame: av.VideoFrame) -> tuple[YuvMatrix, bool]:
    """What the stream says of its colours: the matrix, and whether the range is full."""
    matrix = YuvMatrix.BT709 if int(frame.colorspace) in _BT709_CODES else YuvMatrix.BT601
    return matrix, int(frame.color_range) == _FULL_RANGE_CODE


def plane_view(
    frame: av.VideoFrame, index: int, height: int, width: int, *, channels: int = 1, bits: int = 8, order: str = "<"
) -> npt.NDArray[Any]:
    """One plane as (height, width) or (height, width, channels), without its padding, read-only.

    `order` is that of the bytes of samples of more than 8 bits. Raises PictureError if the plane is too small.
    """
    plane = frame.planes[index]
    bytes_each = 1 if bits == 8 else 2
    stride, row = plane.line_size, width * channels * bytes_each
    if stride < row or plane.buffer_size < stride * height:
        what = f"plane {index} of a {frame.width}x{frame.height} {frame.format.name} picture"
        msg = f"{what}: {plane.buffer_size} bytes in rows of {stride}, expected {height} rows of {row} or more"
        raise PictureError(msg)
    dtype = "u1" if bits == 8 else f"{order}u2"
    memory = memoryview(plane)
    view: npt.NDArray[Any]
    if channels == 1:
        view = np.ndarray((height, width), dtype, memory, strides=(stride, bytes_each))
    else:
        strides = (stride, channels * bytes_each, bytes_each)
        view = np.ndarray((height, width, channels), dtype, memory, strides=strides)
    view.flags.writeable = False
    return view
