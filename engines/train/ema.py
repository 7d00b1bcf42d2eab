"""The running average of a network's weights, which is what is validated and kept.

Source: Polyak & Juditsky, 1992; the decay rises from 0 as in YOLOv5, so that a short run is not held back by its start.
"""

from __future__ import annotations

import copy
import math

import torch

from engines.yolo_nas import YoloNas

_RISE_STEPS = 300.0


class Average:
    """`network` is the average, in eval mode; it takes no gradient."""

    def __init__(self, network: YoloNas, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay
        mine, theirs = self.network.state_dict(), network.state_dict()
        floating = [key for key, value in mine.items() if value.is_floating_point()]
        self._mine = [mine[key] for key in floating]
        self._theirs = [theirs[key].detach() for key in floating]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the network's weights after step number `step`."""
        decay = self._decay * (1.0 - math.exp(-(step + 1) / _RISE_STEPS))
        torch._foreach_lerp_(self._mine, self._theirs, 1.0 - decay)
