"""What it costs to see something else than a teacher, at every anchor.

Classes: quality focal loss against the teacher's score, a soft label of every anchor, background included; a class that
the teacher does not know costs nothing. Boxes: GIoU and the distribution focal loss, where the teacher sees something,
as much as it is sure. Features: mean squared difference of standardised channels, the student's behind a 1x1 adapter.
Source: Li et al., arXiv 2006.04388 (soft labels in focal form); Cao et al., PKD, arXiv 2207.02039 (standardised
features: only their pattern matters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.train.boxes import BoxLoss, box_loss, distances
from engines.train.loss import bin_loss
from engines.train.teachers import Taught
from engines.yolo_nas.network import RawOutputs

_SEES = 0.1
"""Least score at which a teacher's box is followed (a guess: below, it is mostly noise)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillOptions:
    class_part: float = 1.0
    box_part: float = 1.0
    bins_part: float = 0.25
    feature_part: float = 1.0
    box: BoxLoss = "giou"


def distillation_loss(raw: RawOutputs, taught: Taught, options: DistillOptions) -> Tensor:
    """A scalar. The parts are divided by the sum of the teacher's scores, as those of labels are by theirs."""
    logits, wanted = raw.cls_logits, taught.scores
    # Focal: what is right already costs little, so that the many anchors of background don't drown the others.
    focus = (logits.detach().sigmoid() - wanted).square()
    cross = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    # Less what a perfect student would still pay, so that equal means 0.
    least = functional.binary_cross_entropy(wanted, wanted, reduction="none")
    classes = (focus * (cross - least) * taught.known).sum() / wanted.sum().clamp(min=1.0)

    sure = wanted.amax(dim=2)
    images, anchors = (sure > _SEES).nonzero(as_tuple=True)
    shares = sure[images, anchors]
    whole = shares.sum().clamp(min=1.0)
    truth = taught.boxes[images, anchors]
    apart = (box_loss(raw.boxes()[images, anchors], truth, options.box) * shares).sum() / whole
    sides = distances(truth, raw.anchor_points[anchors], raw.stride_tensor[anchors])
    bins = (bin_loss(raw.reg_distri[images, anchors], sides) * shares).sum() / whole
    return options.class_part * classes + options.box_part * apart + options.bins_part * bins


class Adapters(nn.Module):
    """1x1 convolutions from the student's features to a teacher's; trained with the student, dropped afterwards."""

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1) for inputs, outputs in zip(student, teacher, strict=True)
        )

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """The difference, a scalar; 0 for patterns that are equal up to an affine map of each channel."""
        parts = [
            (_standard(level(mine.float())) - _standard(theirs)).square().mean()
            for level, mine, theirs in zip(self.levels, student, teacher, strict=True)
        ]
        return torch.stack(parts).mean() / 2


def _standard(maps: Tensor) -> Tensor:
    """Each channel with mean 0 and deviation 1 over pictures and places."""
    variance, mean = torch.var_mean(maps, dim=(0, 2, 3), keepdim=True, correction=0)
    return (maps - mean) * torch.rsqrt(variance + 1e-4)
