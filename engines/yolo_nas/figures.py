"""How large a YOLO-NAS is: parameters that count, operations for one picture."""

from __future__ import annotations

import math

import torch
from torch import nn

from engines.types import SizeWH
from engines.yolo_nas.blocks import Form
from engines.yolo_nas.network import YoloNas
from engines.yolo_nas.variants import Variant


def parameters(network: YoloNas) -> int:
    """Parameters without those that the training form has and does not use (the targets of its fusion)."""
    unused = network.form is Form.TRAINING
    return sum(value.numel() for key, value in network.named_parameters() if not (unused and ".rbr_reparam." in key))


def gflops(variant: Variant, classes: int, size_wh: SizeWH) -> float:
    """Operations of the convolutions for one picture, in 1e9; a multiplication and an addition are two.

    Of the fused network, counted on shapes alone.
    """
    counts: list[int] = []

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # A weight is used once for each place: of the output, or of the input of a transposed convolution.
            places = (inputs[0] if isinstance(module, nn.ConvTranspose2d) else output).shape[2:]
            counts.append(2 * module.weight.numel() * math.prod(places))

    with torch.device("meta"), torch.no_grad():
        network = YoloNas(variant, classes, Form.FOLDED)
        for module in network.modules():
            module.register_forward_hook(count)
        width, height = size_wh
        network.maps(torch.empty(1, 3, height, width))
    return sum(counts) / 1e9
