"""A network twice as wide that computes the same: an S that begins as the N it was made of.

Every channel is there twice, side by side, and what reads a channel reads the two in shares that add up to one: drawn
at random for each pair of channels, since twins with equal shares would learn the same for ever. N has half of S's
widths and all of its depth, so nothing else differs.
Source: Chen, Goodfellow, Shlens, Net2Net, 2015 (arXiv 1511.05641), its Net2WiderNet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engines.yolo_nas.network import YoloNas
from engines.yolo_nas.variants import VARIANTS, VariantName


def can_widen(narrow: VariantName, wide: VariantName) -> bool:
    """Whether `wide` is `narrow` with twice the channels everywhere."""
    small, large = VARIANTS[narrow], VARIANTS[wide]
    depths = (small.stage_blocks, small.stage_concat, small.neck_blocks)
    widths = (
        (small.stem, large.stem),
        (small.context_out, large.context_out),
        *zip(small.stage_out, large.stage_out, strict=True),
        *zip(small.stage_hidden, large.stage_hidden, strict=True),
        *zip(small.neck_out, large.neck_out, strict=True),
        *zip(small.neck_hidden, large.neck_hidden, strict=True),
        *zip(small.head_width, large.head_width, strict=True),
    )
    same_depth = depths == (large.stage_blocks, large.stage_concat, large.neck_blocks)
    return same_depth and all(2 * one == other for one, other in widths)


def widened(network: YoloNas, variant: VariantName, generator: torch.Generator) -> YoloNas:
    """`network`, of any form, as one of `variant` with equal outputs, up to rounding. Shares nothing with it.

    Raises ValueError for a variant that is not twice as wide.
    """
    if not can_widen(network.variant.name, variant):
        msg = f"expected a variant twice as wide as {network.variant.name!r} and as deep, got {variant!r}"
        raise ValueError(msg)
    wide = YoloNas(VARIANTS[variant], network.classes, network.form)
    transposed = {f"{name}.weight" for name, one in wide.named_modules() if isinstance(one, nn.ConvTranspose2d)}
    own, target = network.state_dict(), wide.state_dict()
    state = {key: _doubled(value, target[key], key in transposed, generator) for key, value in own.items()}
    wide.load_state_dict(state)
    return wide


def _doubled(value: Tensor, like: Tensor, transposed: bool, generator: torch.Generator) -> Tensor:
    """`value` with each dimension that is twice as long in `like` doubled, the one that is read in shares."""
    if value.shape == like.shape:
        return value.clone()
    if value.ndim == 1:
        return value.repeat_interleave(2)
    written, read = (1, 0) if transposed else (0, 1)
    if value.shape[written] != like.shape[written]:
        value = value.repeat_interleave(2, dim=written)
    if value.shape[read] == like.shape[read]:
        return value
    share = torch.rand((*value.shape[:2], 1, 1), generator=generator).to(value)
    return torch.stack([value * share, value * (1 - share)], dim=read + 1).flatten(read, read + 1)
