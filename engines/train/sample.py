"""A picture in memory and what is known of it: what augmentation takes and gives. No torch in this module."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from engines.types import F32, U8, SizeWH

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What is known of a picture, in its pixels.

    `xyxy_px` (N, 4) float32, `class_ids` (N,) int64, `weights` (N,) float32: how much an object counts, 1 if people saw
    it, a score if a teacher did. `regions` (R, 4) float32 and `region_weights` (R, C) float32: see `targets`.
    """

    xyxy_px: F32
    class_ids: I64
    weights: F32
    regions: F32
    region_weights: F32

    def objects(self, kept: npt.NDArray[np.bool_], xyxy_px: F32) -> Truth:
        """With only some objects, at other places; `xyxy_px` is of those that stay."""
        return replace(self, xyxy_px=xyxy_px, class_ids=self.class_ids[kept], weights=self.weights[kept])

    @classmethod
    def joined(cls, parts: list[Truth]) -> Truth:
        return cls(
            xyxy_px=np.concatenate([part.xyxy_px for part in parts]),
            class_ids=np.concatenate([part.class_ids for part in parts]),
            weights=np.concatenate([part.weights for part in parts]),
            regions=np.concatenate([part.regions for part in parts]),
            region_weights=np.concatenate([part.region_weights for part in parts]),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What is known of a picture without its pixels: enough to plan what is done to it."""

    size_wh: SizeWH
    truth: Truth


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """`rgb` (H, W, 3) uint8, only read; `part` names where it is from."""

    rgb: U8
    truth: Truth
    part: str = ""

    @property
    def known(self) -> Known:
        return Known(size_wh=(self.rgb.shape[1], self.rgb.shape[0]), truth=self.truth)
