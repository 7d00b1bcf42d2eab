"""YOLO-NAS: pictures in, boxes and class scores out.

In:  images (n, 3, H, W), RGB, 0..1; H and W multiples of 32.
Out: boxes (n, A, 4) x1, y1, x2, y2 in input pixels, not clipped; scores (n, A, C) in 0..1; A = H*W/64 * 21/16.

One class in all its forms (`blocks.Form`): the training form is trained, the others come from `fuse`. State dicts are
those of super-gradients' checkpoints. Called by the trainer, by the torch runtime and by the export.
Source: Deci's YOLO-NAS, 2023; reproduced from its description, compared tensor by tensor in tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.yolo_nas.blocks import Form
from engines.yolo_nas.body import Backbone, Neck
from engines.yolo_nas.heads import HeadMaps, Heads, anchor_grid, decoded, flattened
from engines.yolo_nas.variants import VARIANTS, Variant, VariantName

ANCHOR_SIDE = 5.0
"""Side of the squares around the anchors that the assigner of the training uses, in strides."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawOutputs:
    """What a loss needs; float32.

    `cls_logits` (n, A, C); `reg_distri` (n, A, 68), sides left, top, right, bottom, 17 bins each;
    `anchor_points` (A, 2) x, y in input pixels; `stride_tensor` (A, 1).
    """

    cls_logits: Tensor
    reg_distri: Tensor
    anchor_points: Tensor
    stride_tensor: Tensor

    def anchors(self) -> Tensor:
        """(A, 4) x1, y1, x2, y2 in input pixels: a square of 5 strides around each anchor."""
        half = self.stride_tensor * (ANCHOR_SIDE / 2)
        return torch.cat([self.anchor_points - half, self.anchor_points + half], dim=1)

    def boxes(self) -> Tensor:
        """(n, A, 4) x1, y1, x2, y2 in input pixels."""
        return decoded(self.reg_distri, self.anchor_points, self.stride_tensor)


class YoloNas(nn.Module):
    def __init__(self, variant: Variant, classes: int, form: Form = Form.TRAINING) -> None:
        super().__init__()
        if classes < 1:
            msg = f"classes: expected at least 1, got {classes}"
            raise ValueError(msg)
        self.variant = variant
        self.classes = classes
        self.form = form
        self.backbone = Backbone(variant, form)
        self.neck = Neck(variant, form)
        self.heads = Heads(variant, classes, form)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and scores; see the module. Raises ValueError for a size that is no multiple of 32."""
        raw = self.raw(images)
        return raw.boxes(), raw.cls_logits.sigmoid()

    def raw(self, images: Tensor) -> RawOutputs:
        """What a loss needs. Raises ValueError for a size that is no multiple of 32."""
        _check(images)
        return self.gathered(self.maps(images))

    def maps(self, images: Tensor) -> tuple[HeadMaps, HeadMaps, HeadMaps]:
        """The outputs of the three heads as maps: all of the network that is worth quantizing."""
        maps: tuple[HeadMaps, HeadMaps, HeadMaps] = self.heads(self.neck(self.backbone(images)))
        return maps

    def gathered(self, maps: tuple[HeadMaps, HeadMaps, HeadMaps]) -> RawOutputs:
        """Maps as rows of anchors."""
        logits, distributions = flattened(maps)
        shapes = [(int(level.cls_pred.shape[2]), int(level.cls_pred.shape[3])) for level in maps]
        points, strides = anchor_grid(shapes, logits.device)
        return RawOutputs(cls_logits=logits, reg_distri=distributions, anchor_points=points, stride_tensor=strides)

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """The output of every part by the name of its module: where two networks begin to differ."""
        _check(images)
        backbone = self.backbone(images)
        neck = self.neck(backbone)
        found = {f"backbone.{name}": value for name, value in backbone._asdict().items()}
        found |= {f"neck.{name}": value for name, value in neck._asdict().items()}
        for number, head in enumerate(self.heads(neck), 1):
            found |= {f"heads.head{number}.{name}": value for name, value in head._asdict().items()}
        return found


def _check(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % 32 or images.shape[3] % 32:
        msg = f"images: expected (n, 3, H, W) with H and W multiples of 32, got {tuple(images.shape)}"
        raise ValueError(msg)


def build(variant: VariantName, classes: int) -> YoloNas:
    """A network in training form with fresh weights (torch's own initialisation, from its global generator)."""
    return YoloNas(VARIANTS[variant], classes)
