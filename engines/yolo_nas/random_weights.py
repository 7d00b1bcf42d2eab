"""A YOLO-NAS with random weights: it finds nothing, but is as fast as a trained one.

torch's fresh weights would not do: without batch statistics the numbers vanish from layer to layer, become denormal,
and floats get slow. Here every tensor is uniform, as wide as keeps the numbers of the order of 1 from the picture to
the heads; nothing is measured on a picture, so that the weights do not depend on the machine.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engines.yolo_nas.network import YoloNas, build
from engines.yolo_nas.variants import VariantName

# Variance that a convolution gives to an input of mean square 1, by part of its name; found by trying.
_GAINS = (
    (".branch_3x3.", 0.5),
    (".branch_1x1.", 0.25),
    (".cls_pred.", 3.0),
    (".reg_pred.", 12.0),
    (".upsample.", 1.0),
)
_GAIN = 1.5


def random_network(variant: VariantName, classes: int, *, seed: int = 0) -> YoloNas:
    """A network in training form, in eval mode; the same for the same seed. torch's global generator is left alone."""
    with torch.device("meta"):
        network = build(variant, classes)
    generator = torch.Generator().manual_seed(seed)
    learns = {key: value.requires_grad for key, value in network.named_parameters()}
    state = {key: _drawn(key, value, generator) for key, value in network.state_dict().items()}
    network.load_state_dict(state, assign=True)
    for key, value in network.named_parameters():
        value.requires_grad_(learns[key])
    return network.eval()


def _drawn(key: str, like: Tensor, generator: torch.Generator) -> Tensor:
    """A tensor of the shape and type of `like`."""
    if not like.is_floating_point():
        return torch.zeros(like.shape, dtype=like.dtype)
    u = torch.rand(like.shape, generator=generator)
    match key.rpartition(".")[2]:
        case "alpha":
            return 0.4 + 0.4 * u
        case "running_var":
            # Behind the sum of three branches the variance is larger.
            return (0.5 + u) * (3.0 if ".post_bn." in key and ".bottlenecks." in key else 1.0)
        case "running_mean":
            return 0.4 * u - 0.2
        case "bias":
            return 0.4 * u - 0.2 - (2.0 if ".cls_pred." in key else 0.0)
        case _ if like.ndim == 1:
            return 0.5 + u
    # Each place of a transposed 2x2 convolution of stride 2 sees one weight of every input.
    fan_in = like.shape[0] if ".upsample." in key else like[0].numel()
    gain = next((gain for part, gain in _GAINS if part in key), _GAIN)
    return (2.0 * u - 1.0) * math.sqrt(3.0 * gain / fan_in)
