"""Pictures that lie on the device already: made once of a stream's first pictures, then shown for ever.

In:  streams of 4:2:0 files, decoded on the CPU; a device's memory, through torch.
Out: sources for the machine that cost next to nothing: no decoder, no copy. What remains is the pipeline itself.
Pictures are NV12 or P010 with rows as wide as NVDEC's, and go forth and back, so that what is tracked never jumps.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, NoReturn, cast

import numpy as np
import numpy.typing as npt
import torch

from engines.cuda.surfaces import Surface
from engines.types import SizeWH, YuvPlanes
from stages.options import StreamOptions
from stages.source import Connection, ConnectionInfo, Decoded, Trouble, open_connection
from stages.types import Clock
from vedette.errors import PictureError, SourceError

PITCH = 256
"""Rows begin at multiples of so many bytes, as a decoder's do that leaves pictures on a GPU."""

PICTURES = 24
"""Of a stream: a second of a camera, 75 MB in 1080p."""

TIME_BASE = Fraction(1, 25)


class DevicePicture:
    """An `engines.types.Picture` and `SurfacePicture` that is never used up."""

    __slots__ = ("_surface", "size_wh")

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self.size_wh: SizeWH = surface.size_wh

    def surface(self) -> Surface:
        return self._surface

    def release(self) -> None:
        """Somebody else shows it next."""

    def planes(self) -> NoReturn:
        msg = "the picture lies in the GPU's memory, where the host cannot read it"
        raise PictureError(msg)


def on_device(planes: YuvPlanes, device: torch.device) -> Surface:
    """A copy of a 4:2:0 or grey picture in the device's memory. Raises PictureError for others."""
    width, height = planes.size_wh
    halves = ((height + 1) // 2, (width + 1) // 2)
    luma = _rows(_high(planes.y, planes))
    if planes.uv is not None:
        chroma = planes.uv
    elif planes.u is not None and planes.v is not None:
        chroma = np.stack([planes.u, planes.v], axis=-1)
    else:
        chroma = np.full((*halves, 2), 1 << (planes.bits - 1), planes.y.dtype)
    if chroma.shape[:2] != halves:
        msg = f"expected 4:2:0, of which surfaces are made, got chroma of {chroma.shape[1]}x{chroma.shape[0]}"
        raise PictureError(msg, hint="take a file in 4:2:0, as cameras send")
    rows = (luma, _rows(_high(chroma, planes).reshape(halves[0], -1)))
    there = [torch.from_numpy(plane).to(device) for plane in rows]
    return Surface(
        size_wh=planes.size_wh,
        luma=there[0].data_ptr(),
        luma_pitch=there[0].stride(0),
        chroma=there[1].data_ptr(),
        chroma_pitch=there[1].stride(0),
        bits=planes.bits,
        msb_aligned=True,
        matrix=planes.matrix,
        full_range=planes.full_range,
        owner=there,
        gpu=device.index,
    )


def copied(surface: Surface) -> Surface:
    """The same picture of `on_device` in memory of its own."""
    there = [tensor.clone() for tensor in cast(list[torch.Tensor], surface.owner)]
    return replace(surface, luma=there[0].data_ptr(), chroma=there[1].data_ptr(), owner=there)


def _high(samples: npt.NDArray[Any], planes: YuvPlanes) -> npt.NDArray[Any]:
    """Samples of more than 8 bits in the high bits of their words, as P010 has them."""
    if planes.bits == 8 or planes.msb_aligned:
        return samples
    return samples << (16 - planes.bits)


def _rows(samples: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """(rows, bytes) with each row filled up to a multiple of PITCH."""
    row = np.ascontiguousarray(samples).view(np.uint8).reshape(samples.shape[0], -1)
    return np.pad(row, ((0, 0), (0, -row.shape[1] % PITCH)))


def first_pictures(options: StreamOptions, clock: Clock, device: torch.device, count: int) -> list[DevicePicture]:
    """The first `count` pictures of a stream, or all that it has, on the device. Raises SourceError, PictureError."""
    made: list[DevicePicture] = []
    connection = open_connection(options, clock, threading.Event())
    try:
        for item in connection.pictures():
            if len(made) == count:
                break
            if isinstance(item, Decoded):
                planes = item.picture.planes()
                if not isinstance(planes, YuvPlanes):
                    msg = f"stream {options.id}: expected pictures in YUV, of which surfaces are made, got RGB"
                    raise PictureError(msg)
                made.append(DevicePicture(on_device(planes, device)))
    finally:
        connection.close()
    if not made:
        msg = f"stream {options.id}: no picture to make surfaces of"
        raise SourceError(msg, reason="corrupt")
    return made


class SurfaceConnection:
    """`stages.source.Connection`: the pictures forth and back, as fast as they are taken; without an end."""

    def __init__(self, pictures: Sequence[DevicePicture], clock: Clock, stop: threading.Event) -> None:
        self._pictures = [*pictures, *pictures[-2:0:-1]]
        self._clock = clock
        self._stop = stop
        self.info = ConnectionInfo(codec="surfaces", size_wh=pictures[0].size_wh, decoder="none: made once")

    def pictures(self) -> Iterator[Decoded | Trouble]:
        number = 0
        while not self._stop.is_set():
            now_ns = self._clock.mono_ns()
            picture = self._pictures[number % len(self._pictures)]
            yield Decoded(pts=number, time_base=TIME_BASE, mono_ns=now_ns, decoded_ns=now_ns, picture=picture)
            number += 1

    def close(self) -> None:
        """Whoever made the pictures keeps them."""


class Surfaces:
    """An `open_connection` whose streams show the given pictures, by the name of the stream."""

    def __init__(self, pictures: Mapping[str, Sequence[DevicePicture]]) -> None:
        self._pictures = pictures

    def __call__(
        self, options: StreamOptions, clock: Clock, stop: threading.Event, *, gpu: int | None = None
    ) -> Connection:
        del gpu  # they lie there
        return SurfaceConnection(self._pictures[options.id], clock, stop)


def surfaces_of(
    streams: Sequence[StreamOptions], clock: Clock, device: torch.device, count: int = PICTURES
) -> Surfaces:
    """Each stream's first pictures on the device; streams of the same file share theirs."""
    by_url: dict[str, list[DevicePicture]] = {}
    for options in streams:
        if options.url.reveal() not in by_url:
            by_url[options.url.reveal()] = first_pictures(options, clock, device, count)
    return Surfaces({options.id: by_url[options.url.reveal()] for options in streams})
