"""From an image file to a picture, on the way that camera frames take: a JPEG arrives as its planes.

In:  a file: JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, ... (of an animated one its first picture).
Out: an `engines.types.Picture` that `PictureWriter` takes as it takes a frame of a stream.
Called by calibration, validation, one-off prediction. Decoded by FFmpeg, as streams are, not by OpenCV: what is
calibrated and validated then goes through the very steps that run.

What a file means: a JPEG's planes are BT.601, full range (JFIF 1.02); grey is full range; 16 bits are rounded to 8;
transparency is left out, as training pictures are read; a JPEG is turned upright as its Exif says.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging
import numpy as np
import numpy.typing as npt

from engines import jpeg
from engines.av_picture import AvPicture, plane_view
from engines.bounded_file import read_bounded
from engines.types import Picture, RgbPicture, SizeWH, YuvPlanes
from vedette.errors import PictureError, StillError

# FFmpeg's own lines on standard error would say less than our errors, twice.
av.logging.set_level(None)

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
"""What a folder of images is searched for, in small letters."""

_MAX_BYTES = 512 << 20
"""A guess: 38 million pixels, which a picture may have, are 228 MB at 16 bits a sample."""

_EXPECTED = "a picture in grey, RGB or YCbCr"

# How packed formats lie in memory: channels, and which of them are red, green and blue (or grey alone).
_RGB8 = {
    "rgb24": (3, (0, 1, 2)), "bgr24": (3, (2, 1, 0)),
    "rgba": (4, (0, 1, 2)), "bgra": (4, (2, 1, 0)), "argb": (4, (1, 2, 3)), "abgr": (4, (3, 2, 1)),
    "rgb0": (4, (0, 1, 2)), "bgr0": (4, (2, 1, 0)), "0rgb": (4, (1, 2, 3)), "0bgr": (4, (3, 2, 1)),
}  # fmt: skip
_RGB16 = {"rgb48": (3, (0, 1, 2)), "rgba64": (4, (0, 1, 2)), "bgr48": (3, (2, 1, 0)), "bgra64": (4, (2, 1, 0))}
_GREY = {"gray": (1, 8), "ya8": (2, 8), "gray16": (1, 16), "ya16": (2, 16)}
_BY_FFMPEG = {"pal8": "rgb24", "rgb8": "rgb24", "bgr8": "rgb24", "rgb555le": "rgb24", "rgb565le": "rgb24",
              "monob": "gray", "monow": "gray"}  # fmt: skip
"""What has no samples to look at; FFmpeg's conversion of these is exact."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StillPicture:
    """An `engines.types.Picture` whose planes are there already."""

    still: YuvPlanes | RgbPicture

    @property
    def size_wh(self) -> SizeWH:
        return self.still.size_wh

    def planes(self) -> YuvPlanes | RgbPicture:
        return self.still

    def release(self) -> None:
        """Nothing: the planes are this object's own."""


def read_still(path: Path) -> Picture:
    """The picture in an image file. Raises StillError: one line that names the file and what is wrong with it."""
    data = _bytes(path)
    try:
        return _picture(data)
    except PictureError as error:
        msg = f"{path}: {error.message}"
        raise StillError(msg, hint=error.hint) from error


def still_size(path: Path) -> SizeWH:
    """Width and height of the picture that `read_still` would give; of a JPEG without decoding it. Raises StillError.

    That a JPEG can be decoded is not said by this.
    """
    data = _bytes(path)
    stored = jpeg.size_wh(data) if jpeg.is_jpeg(data) else None
    if stored is None:
        return read_still(path).size_wh
    return stored if jpeg.orientation(data) < 5 else (stored[1], stored[0])


def _bytes(path: Path) -> bytes:
    try:
        data = read_bounded(path, at_most_bytes=_MAX_BYTES)
    except OSError as error:
        msg = f"{path}: {_why(error)}"
        raise StillError(msg, hint="check the path") from error
    if not data:
        msg = f"{path}: the file is empty, expected {_EXPECTED}"
        raise StillError(msg)
    return data


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such image file"
    return f"cannot be read: {error.strerror}"


def _picture(data: bytes) -> Picture:
    is_jpeg = jpeg.is_jpeg(data)
    if is_jpeg and not jpeg.is_complete(data):
        msg = "the JPEG is cut short: its end is missing"
        raise PictureError(msg, hint="copy or export it again")
    frame = _decode(data)
    planes = _planes(frame, is_jpeg=is_jpeg)
    turn = jpeg.orientation(data) if is_jpeg else 1
    if turn == 1 and frame.rotation and not is_jpeg:
        msg = "its Exif block says that it is to be turned, which is done for JPEG only"
        raise PictureError(msg, hint="save it upright")
    return StillPicture(still=planes if turn == 1 else _turned(planes, turn))


def _decode(data: bytes) -> av.VideoFrame:
    """The first picture. A damaged one is refused: FFmpeg would else fill what is missing with grey."""
    try:
        with av.open(io.BytesIO(data), "r") as container:
            name = container.format.name
            if not name.endswith("_pipe") and name not in {"gif", "apng", "image2"}:
                msg = f"expected {_EXPECTED}, got a file of the kind {name}"
                raise PictureError(msg)
            stream = container.streams.video[0]
            context: Any = stream.codec_context  # Any: PyAV does not say that there may be none
            if context is None:  # JPEG XL, for one: FFmpeg knows it when it sees it, and was built without its decoder
                msg = (
                    f"expected {_EXPECTED}, got a {name.removesuffix('_pipe')} file, for which there is no decoder here"
                )
                raise PictureError(msg, hint="save it as one of these")
            context.thread_count = 1
            if context.name in {"mjpeg", "png"}:  # of others it refuses good files (TIFF)
                context.options = {"err_detect": "explode"}
            for frame in container.decode(stream):
                if not frame.is_corrupt:
                    return frame
    except (av.error.FFmpegError, IndexError) as error:
        said = error.strerror if isinstance(error, av.error.FFmpegError) else "no picture in it"
        msg = f"expected {_EXPECTED}, but it is damaged or of another kind ({said})"
        raise PictureError(msg, hint="copy or export it again") from error
    msg = f"expected {_EXPECTED}, got a file without a whole one"
    raise PictureError(msg)


def _planes(frame: av.VideoFrame, *, is_jpeg: bool) -> YuvPlanes | RgbPicture:
    """Raises PictureError for a pixel format that we do not know."""
    if (again := _BY_FFMPEG.get(frame.format.name)) is not None:
        frame = frame.reformat(format=again)
    name = frame.format.name
    base = name.removesuffix("be").removesuffix("le")
    order = ">" if name.endswith("be") else "<"
    if is_jpeg and name.endswith("ap"):  # gbrap: mjpeg's name for four components
        msg = f"expected {_EXPECTED}, got a JPEG of four colours (CMYK)"
        raise PictureError(msg, hint="convert it to RGB")
    height, width = frame.height, frame.width
    if base in _GREY:
        channels, bits = _GREY[base]
        grey = plane_view(frame, 0, height, width, channels=channels, bits=bits, order=order)
        return YuvPlanes(y=levels(grey if channels == 1 else grey[..., 0]), full_range=True)
    if name in _RGB8:
        channels, picked = _RGB8[name]
        rgb = plane_view(frame, 0, height, width, channels=channels)
        return RgbPicture(rgb=rgb if name == "rgb24" else np.ascontiguousarray(rgb[..., picked]))
    if base in _RGB16:
        channels, picked = _RGB16[base]
        deep = plane_view(frame, 0, height, width, channels=channels, bits=16, order=order)
        return RgbPicture(rgb=levels(deep[..., picked]))
    if name in {"gbrp", "gbrap"}:
        green, blue, red = (plane_view(frame, index, height, width) for index in range(3))
        return RgbPicture(rgb=np.stack([red, green, blue], axis=-1))
    planes = AvPicture(frame).planes()
    # What the decoder leaves out of an mjpeg frame's flags, the format's standard says.
    return replace(planes, full_range=True) if is_jpeg and isinstance(planes, YuvPlanes) else planes


def levels(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Samples of 8 or 16 bits as 8, rounded: 65535 is 255."""
    if plane.dtype == np.uint8:
        return plane
    return np.ascontiguousarray((plane.astype(np.uint32) + 128) // 257, dtype=np.uint8)


_TURNS: dict[int, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    1: lambda plane: plane,
    2: lambda plane: plane[:, ::-1],
    3: lambda plane: plane[::-1, ::-1],
    4: lambda plane: plane[::-1],
    5: lambda plane: plane.swapaxes(0, 1),
    6: lambda plane: plane[::-1].swapaxes(0, 1),
    7: lambda plane: plane[::-1, ::-1].swapaxes(0, 1),
    8: lambda plane: plane[:, ::-1].swapaxes(0, 1),
}
"""By Exif's number, from what is stored to what is upright."""


def upright(plane: npt.NDArray[Any], turn: int) -> npt.NDArray[Any]:
    """(H, W, …) as stored, turned as Exif's number says: 1 leaves it."""
    return np.ascontiguousarray(_TURNS[turn](plane))


def _turned(planes: YuvPlanes | RgbPicture, turn: int) -> YuvPlanes | RgbPicture:
    """The same picture upright; each plane turned by itself."""

    def chroma(plane: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
        return None if plane is None else upright(plane, turn)

    if isinstance(planes, RgbPicture):
        return RgbPicture(rgb=upright(planes.rgb, turn))
    return replace(planes, y=upright(planes.y, turn), u=chroma(planes.u), v=chroma(planes.v), uv=chroma(planes.uv))
