"""The blocks of YOLO-NAS: convolutions that are trained in pieces and run as one.

    form       QARepVGG block                              convolution with BN
    training   3x3 + BN, 1x1, identity, BN behind the sum  conv, BN
    partial    one 3x3 with bias, BN behind it             conv, BN
    full       one 3x3 with bias                           conv, BN
    folded     one 3x3 with bias                           one conv with bias

`partial` and `full` are the two fused forms of super-gradients; `folded` is what is exported and run: no batch
normalisation is left. Names of modules and parameters are those of its checkpoints, so that state dicts load strictly.
Every block is convolution, BN, ReLU; `fuse` turns one form into another.
Source: Chu et al., QARepVGG, 2022 (arXiv 2212.01593): the BN behind the sum of the branches keeps the variance of the
fused weights small, which is what makes the block fit for INT8.
"""

from __future__ import annotations

import enum

import torch
from torch import Tensor, nn

BN_EPS = 1e-3
BN_MOMENTUM = 0.03


class Form(enum.Enum):
    """How far the branches and batch normalisations are merged into convolutions; see the table above."""

    TRAINING = "training"
    PARTIAL = "partial"
    FULL = "full"
    FOLDED = "folded"


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=BN_MOMENTUM)


class ConvBnRelu(nn.Module):
    """A convolution, BN and ReLU; side and stride of the kernel are given, the padding is half the side."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1, *, form: Form) -> None:
        super().__init__()
        folded = form is Form.FOLDED
        self.conv = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=folded)
        if not folded:
            self.bn = _batch_norm(outputs)
        self.act = nn.ReLU(inplace=True)
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        if self.form is not Form.FOLDED:
            y = self.bn(y)
        result: Tensor = self.act(y)
        return result


class _Branch(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn = _batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.bn(self.conv(x))
        return result


class QaRepVgg(nn.Module):
    """ReLU(BN(BN(conv 3x3) + conv 1x1 [+ identity])) in training, one 3x3 convolution and ReLU when fused.

    The training form has the target of the fusion, `rbr_reparam`, too: checkpoints carry it. It is not used there and
    takes no gradient.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, identity: bool, form: Form) -> None:
        super().__init__()
        if identity and (inputs, stride) != (outputs, 1):
            msg = f"identity: expected as many inputs as outputs and stride 1, got {inputs}, {outputs}, {stride}"
            raise ValueError(msg)
        self.form = form
        self.identity = identity
        self.stride = stride
        if form is Form.TRAINING:
            self.branch_3x3 = _Branch(inputs, outputs, stride)
            # Stride 1 on what `forward` has thinned out; see there.
            self.branch_1x1 = nn.Conv2d(inputs, outputs, 1, bias=True)
        if form in {Form.TRAINING, Form.PARTIAL}:
            self.post_bn = _batch_norm(outputs)
        self.rbr_reparam = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=True)
        if form is Form.TRAINING:
            self.rbr_reparam.requires_grad_(False)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.form is Form.TRAINING:
            y = self.branch_3x3(x) + self.branch_1x1(_thinned(x, self.stride))
            if self.identity:
                y = y + x
        else:
            y = self.rbr_reparam(x)
        if self.form in {Form.TRAINING, Form.PARTIAL}:
            y = self.post_bn(y)
        result: Tensor = self.act(y)
        return result


def _thinned(x: Tensor, stride: int) -> Tensor:
    """Every `stride`-th row and column: what a 1x1 convolution of that stride sees.

    torch 2.13 corrupts the heap in the backward pass of Conv2d(3 or 4 -> C, kernel 1, stride 2) on a CPU in
    channels_last, which is the stem's 1x1 branch; with stride 1 on the thinned input nothing happens.
    """
    if stride == 1:
        return x
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    return x[:, :, ::stride, ::stride].contiguous(memory_format=layout)


class Bottleneck(nn.Module):
    """x * alpha + cv2(cv1(x)), both 3x3 and as wide as x; alpha is learnt. No activation behind the sum."""

    def __init__(self, channels: int, *, repvgg: bool, form: Form) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1))
        self.cv1 = _square(channels, repvgg=repvgg, form=form)
        self.cv2 = _square(channels, repvgg=repvgg, form=form)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x * self.alpha + self.cv2(self.cv1(x))
        return result


def _square(channels: int, *, repvgg: bool, form: Form) -> nn.Module:
    if repvgg:
        return QaRepVgg(channels, channels, identity=True, form=form)
    return ConvBnRelu(channels, channels, 3, form=form)


class CspLayer(nn.Module):
    """Two 1x1 paths, one of them through the bottlenecks, joined by a third.

    `concat`: the outputs of conv1 and of every bottleneck are joined, instead of that of the last bottleneck alone.
    Source: Wang et al., CSPNet, 2019 (arXiv 1911.11929).
    """

    def __init__(
        self, inputs: int, outputs: int, hidden: int, blocks: int, *, repvgg: bool, concat: bool, form: Form
    ) -> None:
        super().__init__()
        self.concat = concat
        self.conv1 = ConvBnRelu(inputs, hidden, 1, form=form)
        self.conv2 = ConvBnRelu(inputs, hidden, 1, form=form)
        self.conv3 = ConvBnRelu(hidden * (blocks + 2 if concat else 2), outputs, 1, form=form)
        self.bottlenecks = nn.Sequential(*(Bottleneck(hidden, repvgg=repvgg, form=form) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.conv1(x)]
        for bottleneck in self.bottlenecks:
            maps.append(bottleneck(maps[-1]))
        kept = maps if self.concat else maps[-1:]
        result: Tensor = self.conv3(torch.cat([*kept, self.conv2(x)], dim=1))
        return result


class Stage(nn.Module):
    """Half the size by a QARepVGG block, then a CSP layer."""

    def __init__(self, inputs: int, outputs: int, hidden: int, blocks: int, *, concat: bool, form: Form) -> None:
        super().__init__()
        self.downsample = QaRepVgg(inputs, outputs, stride=2, identity=False, form=form)
        self.blocks = CspLayer(outputs, outputs, hidden, blocks, repvgg=True, concat=concat, form=form)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.blocks(self.downsample(x))
        return result


class Spp(nn.Module):
    """Spatial pyramid pooling: maxima over squares of 5, 9 and 13 cells beside the map itself.

    The larger squares are pooled from the smaller ones: the maximum over 9 is that over 5 of the maxima over 5, exactly
    (the border counts as minus infinity). A ninth of the comparisons.
    Source: He et al., 2014 (arXiv 1406.4729); in a chain as YOLOv5 does it.
    """

    def __init__(self, inputs: int, outputs: int, *, form: Form) -> None:
        super().__init__()
        self.cv1 = ConvBnRelu(inputs, inputs // 2, 1, form=form)
        self.cv2 = ConvBnRelu(inputs // 2 * 4, outputs, 1, form=form)
        self.m = nn.ModuleList(nn.MaxPool2d(5, stride=1, padding=2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.cv1(x)]
        for pool in self.m:
            maps.append(pool(maps[-1]))
        result: Tensor = self.cv2(torch.cat(maps, dim=1))
        return result
