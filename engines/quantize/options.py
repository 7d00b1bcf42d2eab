"""How a model is quantized."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from engines.quantize.ranges import Method

LEAST_IMAGES = 32
"""Fewer pictures show too little of what the network may see (a guess; 100 are as good as 1000: docs/results)."""

UpBranch = Literal["zero_point", "float"]
Rounding = Literal["compensated", "nearest"]


class QuantizeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a float model becomes an INT8 one.

    `method`: how the range of an activation follows from its values; `percentile`: the share of them that stays within
    (for that method alone). `images`: how many of the pictures are looked at. `per_channel`: a scale for each output
    channel of the weights, or one for all. `exclude`: shell patterns of names of nodes that stay float. `up_branch`:
    what comes out of a transposed convolution can be negative: bytes with a zero point, or left float together with
    the convolution that reads it. `rounding` of weights: each to its nearest step, or so that their errors cancel
    (engines/quantize/rounding.py: better, for some time and memory).
    """

    method: Method = "mse"
    percentile: Annotated[float, msgspec.Meta(gt=50.0, le=100.0)] = 99.9999
    images: Annotated[int, msgspec.Meta(ge=LEAST_IMAGES, le=100_000)] = 300
    per_channel: bool = True
    rounding: Rounding = "compensated"
    exclude: tuple[str, ...] = ()
    up_branch: UpBranch = "zero_point"
