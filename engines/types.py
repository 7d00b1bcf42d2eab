"""The values that engines take and give: pictures as a decoder left them, boxes as a network found them.

Called from everywhere; depends on numpy alone.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

SizeWH = tuple[int, int]
"""(width, height) in pixels."""

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]


class YuvMatrix(enum.Enum):
    """Which luma weights the picture was coded with (ITU-R BT.601, BT.709)."""

    BT601 = "bt601"
    BT709 = "bt709"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class YuvPlanes:
    """A decoded picture as its planes, read-only views into the decoder's own memory (a write would corrupt it).

    `y` (H, W); 4:2:0 planar: `u` and `v` (ceil(H/2), ceil(W/2)); semi-planar NV12: `uv` (ceil(H/2), ceil(W/2), 2) and
    `u`, `v` None; 4:2:2 and 4:4:4 planar likewise with their own chroma shapes; grey: all chroma None. dtype uint8, or
    uint16 with `bits` significant low bits (yuv420p10le); P010 keeps them in the high bits (`msb_aligned`).
    Strides may exceed the width.
    """

    y: npt.NDArray[Any]
    u: npt.NDArray[Any] | None = None
    v: npt.NDArray[Any] | None = None
    uv: npt.NDArray[Any] | None = None
    bits: int = 8
    msb_aligned: bool = False
    matrix: YuvMatrix = YuvMatrix.BT601
    full_range: bool = False

    @property
    def size_wh(self) -> SizeWH:
        return (int(self.y.shape[1]), int(self.y.shape[0]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RgbPicture:
    """A still image, (H, W, 3) uint8 RGB, for calibration, validation and one-off prediction."""

    rgb: U8

    @property
    def size_wh(self) -> SizeWH:
        return (int(self.rgb.shape[1]), int(self.rgb.shape[0]))


class Picture(Protocol):
    """A picture that stays where the decoder left it until someone asks for its planes."""

    @property
    def size_wh(self) -> SizeWH: ...

    def planes(self) -> YuvPlanes | RgbPicture:
        """The picture's planes; valid until `release`. Raises PictureError for a format we cannot convert."""
        ...

    def release(self) -> None:
        """Nobody will ask for planes again: whoever's memory it is may use it. `size_wh` stays."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """Boxes of one picture, highest score first.

    `xyxy_px` (N, 4) float32, source pixels, clipped to the picture; `scores` (N,) float32 in [0, 1];
    `class_ids` (N,) int32, indices into the model's class names.
    """

    xyxy_px: F32
    scores: F32
    class_ids: I32

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> Detections:
        return cls(
            xyxy_px=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32), class_ids=np.zeros(0, np.int32)
        )
