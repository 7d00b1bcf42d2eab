"""Video for tests, made in the test: clips with the frame's number painted in, and how to read it back.

The number stands as 16 blocks, black or white, across the upper half of the picture: it survives any codec and
scaling, and a reader knows exactly which frame it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from engines.types import Picture, RgbPicture

BITS = 16
BLACK, WHITE = 40, 210


def painted(number: int, size_wh: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Luma (H, W) of frame `number`: the number above, a slope below, so that no two frames are alike."""
    width, height = size_wh
    luma = np.empty((height, width), np.uint8)
    luma[:] = np.linspace(60, 180, width, dtype=np.uint8) + np.uint8(number % 16)
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        luma[: height // 2, edges[bit] : edges[bit + 1]] = WHITE if number >> bit & 1 else BLACK
    return luma


def read_number(picture: Picture) -> int:
    """The number that was painted into the picture."""
    planes = picture.planes()
    luma = planes.rgb[..., 1] if isinstance(planes, RgbPicture) else planes.y
    height, width = luma.shape
    edges = np.linspace(0, width, BITS + 1).astype(int)
    row = luma[height // 8 : height // 8 * 3]
    scale = 1 << (getattr(planes, "bits", 8) - 8)
    middle = (BLACK + WHITE) / 2 * scale
    blocks = [row[:, edges[bit] + 2 : edges[bit + 1] - 2].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, mean in enumerate(blocks) if mean > middle)


def painted_frames(
    count: int, size_wh: tuple[int, int], *, pixels: str = "yuv420p", first: int = 0, still: bool = False
) -> Iterator[av.VideoFrame]:
    """Frames `first`, `first + 1`, …; `still` paints the first one's number into all."""
    width, height = size_wh
    for number in range(first, first + count):
        luma = painted(first if still else number, size_wh)
        grey = av.VideoFrame.from_ndarray(luma, format="gray")
        yield grey.reformat(width, height, format=pixels)


def make_clip(
    path: Path,
    *,
    frames: int = 50,
    fps: Fraction | int = 25,
    size_wh: tuple[int, int] = (320, 240),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    gop: int = 10,
    b_frames: int = 0,
    references: int | None = None,
    first: int = 0,
    still: bool = False,
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    format: str | None = None,
) -> Path:
    """Write a clip of painted frames; `path`'s suffix says the container. `references`: libx264's. Returns `path`."""
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        if metadata:
            container.metadata.update(metadata)
        stream: Any = container.add_stream(codec, rate=Fraction(fps))
        stream.width, stream.height = size_wh
        stream.pix_fmt = pixels
        stream.codec_context.time_base = 1 / Fraction(fps)
        if codec != "mjpeg":
            stream.codec_context.gop_size = gop
            stream.codec_context.max_b_frames = b_frames
        if codec == "libx264":
            parameters = "sliced-threads=0:slices=1:scenecut=0" + (f":ref={references}" if references else "")
            stream.options = {"preset": "veryfast", "x264-params": parameters}
        elif codec == "libx265":
            stream.options = {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"}
        elif codec == "mjpeg":
            # On one core the encoder makes tables of its own, which JPEG over RTP (RFC 2435) cannot carry.
            stream.options = {"huffman": "default"}
        for index, frame in enumerate(painted_frames(frames, size_wh, pixels=pixels, first=first, still=still)):
            frame.pts = index
            frame.time_base = 1 / Fraction(fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
