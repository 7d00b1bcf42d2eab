"""From the form in which a network is trained to those in which it runs. See `blocks` for the forms.

Computed in float64: fusing happens once, and its rounding would stay for ever.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from engines.yolo_nas.blocks import ConvBnRelu, Form, QaRepVgg
from engines.yolo_nas.network import YoloNas

_ORDER = (Form.TRAINING, Form.PARTIAL, Form.FULL, Form.FOLDED)


class _Kernel(NamedTuple):
    """A convolution as its weight (out, in, k, k) and bias (out), float64."""

    weight: Tensor
    bias: Tensor

    def behind(self, bn: nn.BatchNorm2d) -> _Kernel:
        """The convolution with `bn` behind it in one: gamma / sqrt(var + eps) scales it, the mean shifts the bias."""
        if bn.running_mean is None or bn.running_var is None:
            msg = "expected a batch normalisation with running statistics"
            raise ValueError(msg)
        factor = bn.weight.double() / torch.sqrt(bn.running_var.double() + bn.eps)
        shift = bn.bias.double() - bn.running_mean.double() * factor
        return _Kernel(self.weight * factor.reshape(-1, 1, 1, 1), self.bias * factor + shift)


def fuse(network: YoloNas, form: Form = Form.FULL) -> YoloNas:
    """A new network in `form`, in eval mode, of the same dtype and on the same device; shares nothing with `network`.

    Raises ValueError if `network` is fused further than that already.
    """
    if _ORDER.index(form) < _ORDER.index(network.form):
        msg = f"expected a network that can be brought into form {form.value!r}, got one in form {network.form.value!r}"
        raise ValueError(msg)
    with torch.device("meta"):  # for the names alone: every tensor is assigned below
        fused = YoloNas(network.variant, network.classes, form)
    sources = dict(network.named_modules())
    example = next(network.parameters())
    state: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, _ in fused.named_modules():
            source = sources.get(name)
            if isinstance(source, QaRepVgg):
                state |= _named(f"{name}.rbr_reparam", _fused(source, form), example)
            elif isinstance(source, ConvBnRelu) and form is Form.FOLDED:
                state |= _named(f"{name}.conv", _folded(source), example)
        # What is not merged stands in both under the same name.
        own = network.state_dict()
        state |= {key: own[key].clone() for key in fused.state_dict() if key not in state}
    fused.load_state_dict(state, assign=True)
    return fused.requires_grad_(True).eval()


def _named(prefix: str, kernel: _Kernel, example: Tensor) -> dict[str, Tensor]:
    return {
        f"{prefix}.weight": kernel.weight.to(example, copy=True),
        f"{prefix}.bias": kernel.bias.to(example, copy=True),
    }


def _plain(conv: nn.Conv2d) -> _Kernel:
    weight = conv.weight.double()
    return _Kernel(weight, weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.double())


def _fused(block: QaRepVgg, form: Form) -> _Kernel:
    """The block's one 3x3 convolution in `form`."""
    if block.form is Form.TRAINING:
        branch = block.branch_3x3
        weight, bias = _plain(branch.conv).behind(branch.bn)
        point = _plain(block.branch_1x1)
        centre = point.weight[:, :, 0, 0]
        if block.identity:
            centre = centre + torch.eye(len(centre), dtype=centre.dtype, device=centre.device)
        weight = weight.clone()
        weight[:, :, 1, 1] += centre
        kernel = _Kernel(weight, bias + point.bias)
    else:
        kernel = _plain(block.rbr_reparam)
    if form is Form.PARTIAL or block.form in {Form.FULL, Form.FOLDED}:
        return kernel
    return kernel.behind(block.post_bn)


def _folded(block: ConvBnRelu) -> _Kernel:
    kernel = _plain(block.conv)
    return kernel if block.form is Form.FOLDED else kernel.behind(block.bn)
