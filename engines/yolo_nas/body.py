"""Backbone and neck of YOLO-NAS: from the picture to features at strides 8, 16 and 32."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engines.yolo_nas.blocks import ConvBnRelu, CspLayer, Form, QaRepVgg, Spp, Stage
from engines.yolo_nas.variants import Variant


class BackboneMaps(NamedTuple):
    """Outputs (n, C, H, W) of the backbone's parts, at strides 2, 4, 8, 16, 32, 32; named as its modules are."""

    stem: Tensor
    stage1: Tensor
    stage2: Tensor
    stage3: Tensor
    stage4: Tensor
    context_module: Tensor


class NeckMaps(NamedTuple):
    """Outputs (n, C, H, W) of the neck's parts, at strides 16, 8, 16, 32; the last three go to the heads."""

    neck1: Tensor
    neck2: Tensor
    neck3: Tensor
    neck4: Tensor


class Backbone(nn.Module):
    def __init__(self, variant: Variant, form: Form) -> None:
        super().__init__()
        v = variant
        # The block is called `conv` in the checkpoints.
        self.stem = nn.Sequential(OrderedDict(conv=QaRepVgg(3, v.stem, stride=2, identity=False, form=form)))
        stages = []
        inputs = v.stem
        for outputs, hidden, blocks, concat in zip(
            v.stage_out, v.stage_hidden, v.stage_blocks, v.stage_concat, strict=True
        ):
            stages.append(Stage(inputs, outputs, hidden, blocks, concat=concat, form=form))
            inputs = outputs
        self.stage1, self.stage2, self.stage3, self.stage4 = stages
        self.context_module = Spp(inputs, v.context_out, form=form)

    def forward(self, images: Tensor) -> BackboneMaps:
        stem = self.stem(images)
        stage1 = self.stage1(stem)
        stage2 = self.stage2(stage1)
        stage3 = self.stage3(stage2)
        stage4 = self.stage4(stage3)
        return BackboneMaps(stem, stage1, stage2, stage3, stage4, self.context_module(stage4))


class UpStage(nn.Module):
    """Twice the size, joined with the backbone at that size and at the one finer. Returns (before, result)."""

    def __init__(
        self, inputs: int, skip1: int, skip2: int, outputs: int, hidden: int, blocks: int, *, form: Form
    ) -> None:
        super().__init__()
        self.reduce_skip1 = ConvBnRelu(skip1, outputs, 1, form=form)
        self.reduce_skip2 = ConvBnRelu(skip2, outputs, 1, form=form)
        self.conv = ConvBnRelu(inputs, outputs, 1, form=form)
        self.upsample = nn.ConvTranspose2d(outputs, outputs, kernel_size=2, stride=2)
        self.downsample = ConvBnRelu(outputs, outputs, 3, 2, form=form)
        self.reduce_after_concat = ConvBnRelu(3 * outputs, outputs, 1, form=form)
        self.blocks = CspLayer(outputs, outputs, hidden, blocks, repvgg=True, concat=False, form=form)

    def forward(self, x: Tensor, skip1: Tensor, skip2: Tensor) -> tuple[Tensor, Tensor]:
        before = self.conv(x)
        maps = [self.upsample(before), self.reduce_skip1(skip1), self.downsample(self.reduce_skip2(skip2))]
        return before, self.blocks(self.reduce_after_concat(torch.cat(maps, dim=1)))


class DownStage(nn.Module):
    """Half the size, joined with the way up at that size. Its bottlenecks are plain convolutions."""

    def __init__(self, inputs: int, skip: int, outputs: int, hidden: int, blocks: int, *, form: Form) -> None:
        super().__init__()
        self.conv = ConvBnRelu(inputs, outputs // 2, 3, 2, form=form)
        self.blocks = CspLayer(outputs // 2 + skip, outputs, hidden, blocks, repvgg=False, concat=False, form=form)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        result: Tensor = self.blocks(torch.cat([self.conv(x), skip], dim=1))
        return result


class Neck(nn.Module):
    """A PAN: up from stride 32 to 8, down again to 32; the way up also takes what lies one level finer («C2»)."""

    def __init__(self, variant: Variant, form: Form) -> None:
        super().__init__()
        c2, c3, c4, _ = variant.stage_out
        out, hidden, blocks = variant.neck_out, variant.neck_hidden, variant.neck_blocks
        self.neck1 = UpStage(variant.context_out, c4, c3, out[0], hidden[0], blocks[0], form=form)
        self.neck2 = UpStage(out[0], c3, c2, out[1], hidden[1], blocks[1], form=form)
        self.neck3 = DownStage(out[1], out[1], out[2], hidden[2], blocks[2], form=form)
        self.neck4 = DownStage(out[2], out[0], out[3], hidden[3], blocks[3], form=form)

    def forward(self, maps: BackboneMaps) -> NeckMaps:
        before1, neck1 = self.neck1(maps.context_module, maps.stage3, maps.stage2)
        before2, neck2 = self.neck2(neck1, maps.stage2, maps.stage1)
        neck3 = self.neck3(neck2, before2)
        return NeckMaps(neck1, neck2, neck3, self.neck4(neck3, before1))
