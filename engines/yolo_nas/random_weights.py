"""A YOLO-NAS with random weights: it finds nothing, but is as fast as a trained one.

torch's fresh weights would not do: without batch statistics the numbers vanish from layer to layer, become denormal,
and floats get slow. So the statistics are those of a batch of noise, as if the network had been trained on it.
"""

from __future__ import annotations

import torch
from torch import nn

from engines.yolo_nas.network import YoloNas, build
from engines.yolo_nas.variants import VariantName

_NOISE = (4, 3, 128, 128)


def random_network(variant: VariantName, classes: int, *, seed: int = 0) -> YoloNas:
    """A network in training form, in eval mode; the same for the same seed. torch's global generator is left alone."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = build(variant, classes)
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0  # the statistics of this batch, whole
        network.train().maps(torch.rand(_NOISE))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.zero_()  # type: ignore[union-attr]  # None without statistics
    return network.eval()
