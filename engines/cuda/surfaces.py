"""What the pre-processing kernel is told of each picture and of the batch: the two records of `preprocess.cu`.

In:  where a picture's planes lie (NV12, P010 or grey; addresses and pitches as NVDEC or DLPack give them), and the
     InputSpec of the network.
Out: SURFACE and TARGET records, to be copied to the device as they are, and each picture's Placement.
The arithmetic is that of `engines/picture.py`: `place` says where a picture lies, `yuv_to_rgb` what its colours are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from engines.cuda.launch import Launch
from engines.picture import Placement, place, yuv_to_rgb
from engines.spec import InputSpec
from engines.types import SizeWH, YuvMatrix
from vedette.errors import PictureError

Filter = Literal["bilinear", "area"]
"""How samples are scaled: `bilinear` as everywhere; `area` takes the mean of all that a pixel covers where a side
shrinks, for networks that were trained on pictures scaled so."""

InputType = Literal["uint8", "float16", "float32"]

BLOCK = (32, 8, 1)
"""Threads; each makes 2 x 2 pixels, so that a warp writes whole lines of 128 bytes of FP16 (a guess otherwise)."""

LARGEST_SIDE = 16384
"""Positions are whole numbers of 32 bits: (2 * 8192 + 1) * 16384 is the largest. NVDEC ends at 8192."""

SURFACE = np.dtype(
    [
        ("luma", np.uint64), ("chroma", np.uint64),
        ("luma_pitch", np.int32), ("chroma_pitch", np.int32),
        ("size_wh", np.int32, 2), ("inner_wh", np.int32, 2), ("offset_xy", np.int32, 2),
        ("slot", np.int32), ("wide", np.int32), ("to_8bit", np.float32),
        ("black", np.float32), ("gain", np.float32),
        ("red_v", np.float32), ("green_u", np.float32), ("green_v", np.float32), ("blue_u", np.float32),
    ],
    align=True,
)  # fmt: skip
"""`struct Surface` of preprocess.cu."""

TARGET = np.dtype(
    [
        ("size_wh", np.int32, 2), ("bgr", np.int32), ("area", np.int32),
        ("gain", np.float32, 3), ("shift", np.float32, 3), ("pad", np.float32),
    ],
    align=True,
)  # fmt: skip
"""`struct Target` of preprocess.cu."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """A decoded picture in the device's memory: addresses and bytes from row to row, of luma and of interleaved chroma.

    `chroma` None is a grey picture. 8 bits are bytes; more are 16-bit words, in whose high bits (`msb_aligned`: P010,
    P012, P016) or low bits the samples lie. Only read; lives as long as `owner`, which whoever launches a kernel keeps
    until that has run. `gpu`: on which it lies, where that is known.
    """

    size_wh: SizeWH
    luma: int
    luma_pitch: int
    chroma: int | None
    chroma_pitch: int = 0
    bits: int = 8
    msb_aligned: bool = True
    matrix: YuvMatrix = YuvMatrix.BT601
    full_range: bool = False
    gpu: int | None = None
    owner: object = field(default=None, repr=False, compare=False)


@runtime_checkable
class SurfacePicture(Protocol):
    """A picture (`engines.types.Picture`) that lies in the device's memory."""

    def surface(self) -> Surface:
        """Where it lies; its owner keeps it there, also after `release`. Raises PictureError."""
        ...


def surface_records(surfaces: Sequence[Surface], spec: InputSpec) -> tuple[npt.NDArray[Any], list[Placement]]:
    """(n,) SURFACE records that put picture i into slot i, and where each lies. Raises PictureError."""
    records = np.zeros(len(surfaces), SURFACE)
    placements = []
    for slot, (record, surface) in enumerate(zip(records, surfaces, strict=True)):
        _check(surface)
        placement = place(surface.size_wh, spec)
        placements.append(placement)
        record["luma"], record["luma_pitch"] = surface.luma, surface.luma_pitch
        record["chroma"], record["chroma_pitch"] = surface.chroma or 0, surface.chroma_pitch
        record["size_wh"] = surface.size_wh
        record["inner_wh"], record["offset_xy"] = placement.inner_wh, placement.offset_xy
        record["slot"], record["wide"] = slot, surface.bits > 8
        record["to_8bit"] = 2.0 ** (8 - (16 if surface.msb_aligned and surface.bits > 8 else surface.bits))
        red, green, blue = yuv_to_rgb(surface.matrix, full_range=surface.full_range)
        record["black"], record["gain"] = (0 if surface.full_range else 16), red[0]
        record["red_v"], record["green_u"], record["green_v"], record["blue_u"] = red[2], green[1], green[2], blue[1]
    return records, placements


def target_record(spec: InputSpec, dtype: InputType, how: Filter = "bilinear") -> npt.NDArray[Any]:
    """(1,) TARGET record. An input of uint8 takes the levels themselves, whatever scale, mean and std are."""
    record = np.zeros(1, TARGET)
    record["size_wh"], record["bgr"], record["area"] = spec.size, spec.colour == "bgr", how == "area"
    record["pad"] = spec.pad
    if dtype == "uint8":
        record["gain"] = 1.0
    else:
        record["gain"] = [spec.scale / std for std in spec.std]
        record["shift"] = [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    return record


def preprocess_launch(spec: InputSpec, dtype: InputType, count: int, *, records: int, target: int, out: int) -> Launch:
    """The launch for `count` pictures; addresses of SURFACE (count,), TARGET (1,) and the input (n, 3, H, W)."""
    width, height = spec.size
    return Launch(
        kernel=f"preprocess_{dtype}",
        grid=(-(-width // (2 * BLOCK[0])), -(-height // (2 * BLOCK[1])), count),
        block=BLOCK,
        arguments=(records, target, out),
    )


def _check(surface: Surface) -> None:
    """What the kernel would read beyond a plane for, or not at all. Raises PictureError."""
    width, height = surface.size_wh
    if max(width, height) > LARGEST_SIDE:
        msg = f"expected a picture of at most {LARGEST_SIDE} pixels a side, got {width}x{height}"
        raise PictureError(msg)
    if not 8 <= surface.bits <= 16:
        msg = f"expected samples of 8 to 16 bits, got {surface.bits}"
        raise PictureError(msg)
    sample = 1 if surface.bits == 8 else 2
    planes = [("luma", surface.luma, surface.luma_pitch, width * sample, sample)]
    if surface.chroma is not None:
        planes.append(("chroma", surface.chroma, surface.chroma_pitch, (width + 1) // 2 * 2 * sample, sample))
    for name, address, pitch, row, aligned in planes:
        if pitch < row:
            wants = f"at least {row} bytes for {width} pixels of {surface.bits} bits"
            msg = f"{name}: expected a pitch of {wants}, got {pitch}"
            raise PictureError(msg)
        if address == 0 or address % aligned or pitch % aligned:
            msg = f"{name}: expected an address and a pitch that {aligned} divides, got {address:#x} and {pitch}"
            raise PictureError(msg)
