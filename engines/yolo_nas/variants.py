"""The sizes of YOLO-NAS: S, M and L as Deci published them, N ours, half as wide as S, for CPUs and edge devices.

Channels throughout; read by `network`, whose modules take their widths from here alone. No torch in this module.
Source of S, M and L: the architecture files of super-gradients (Apache-2.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

VariantName = Literal["n", "s", "m", "l"]
Quadruple = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Widths and depths of one size. Four figures are of the four stages, or of the four parts of the neck."""

    name: VariantName
    stem: int
    stage_out: Quadruple
    stage_blocks: Quadruple
    stage_hidden: Quadruple
    stage_concat: tuple[bool, bool, bool, bool]
    """Whether the stage concatenates the output of each of its bottlenecks, or only that of the last."""
    context_out: int
    neck_out: Quadruple
    neck_blocks: Quadruple
    neck_hidden: Quadruple
    head_width: tuple[int, int, int]
    """Of the heads at strides 8, 16 and 32."""


_NONE = (False, False, False, False)

VARIANTS: Final[dict[VariantName, Variant]] = {
    "n": Variant(
        name="n",
        stem=24,
        stage_out=(48, 96, 192, 384),
        stage_blocks=(2, 3, 5, 2),
        stage_hidden=(16, 32, 48, 96),
        stage_concat=_NONE,
        context_out=384,
        neck_out=(96, 48, 96, 192),
        neck_blocks=(2, 2, 2, 2),
        neck_hidden=(32, 24, 32, 32),
        head_width=(32, 64, 128),
    ),
    "s": Variant(
        name="s",
        stem=48,
        stage_out=(96, 192, 384, 768),
        stage_blocks=(2, 3, 5, 2),
        stage_hidden=(32, 64, 96, 192),
        stage_concat=_NONE,
        context_out=768,
        neck_out=(192, 96, 192, 384),
        neck_blocks=(2, 2, 2, 2),
        neck_hidden=(64, 48, 64, 64),
        head_width=(64, 128, 256),
    ),
    "m": Variant(
        name="m",
        stem=48,
        stage_out=(96, 192, 384, 768),
        stage_blocks=(2, 3, 5, 2),
        stage_hidden=(64, 128, 256, 384),
        stage_concat=(True, True, True, False),
        context_out=768,
        neck_out=(192, 96, 192, 384),
        neck_blocks=(2, 3, 2, 3),
        neck_hidden=(192, 64, 192, 256),
        head_width=(96, 192, 384),
    ),
    "l": Variant(
        name="l",
        stem=48,
        stage_out=(96, 192, 384, 768),
        stage_blocks=(2, 3, 5, 2),
        stage_hidden=(96, 128, 256, 512),
        stage_concat=(True, True, True, True),
        context_out=768,
        neck_out=(192, 96, 192, 384),
        neck_blocks=(4, 4, 4, 4),
        neck_hidden=(128, 128, 128, 256),
        head_width=(128, 256, 512),
    ),
}

STRIDES: Final = (8, 16, 32)
"""Of the three heads, in the order in which their anchors follow each other."""

BINS: Final = 17
"""Distances 0..16, in strides, over which each side of a box has a distribution (reg_max 16)."""
