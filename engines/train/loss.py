"""What a network's outputs cost, against what people (and pseudo-labels) say: classes, boxes, distributions.

Classification is varifocal or quality focal against the score that the assignment wants; a class that is not there
costs what `Targets.background` says, nothing where nobody labelled it. Boxes: GIoU or CIoU, and the distribution focal
loss of each side. All is computed in float32 and divided by the sum of the wanted scores.
Source: YOLO-NAS (PP-YOLOE's loss, arXiv 2203.16250); varifocal: arXiv 2008.13367; quality and distribution focal:
arXiv 2006.04388.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from engines.train.assigner import assign
from engines.train.boxes import BoxLoss, box_loss, distances
from engines.train.targets import Targets
from engines.yolo_nas.network import RawOutputs
from engines.yolo_nas.variants import BINS

ClassLoss = Literal["varifocal", "quality"]

# Varifocal's own, as in YOLO-NAS.
_ALPHA, _GAMMA = 0.75, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOptions:
    """The kinds, and what each part counts (YOLO-NAS: 1, 2.5, 0.5). `class_weights`: one a class, empty for all 1."""

    classification: ClassLoss = "varifocal"
    box: BoxLoss = "giou"
    class_part: float = 1.0
    box_part: float = 2.5
    bins_part: float = 0.5
    class_weights: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Losses:
    """The parts, each a scalar that already counts as much as it shall; `positives` is a number of anchors."""

    classes: Tensor
    boxes: Tensor
    bins: Tensor
    positives: Tensor

    @property
    def total(self) -> Tensor:
        return self.classes + self.boxes + self.bins


def detection_loss(raw: RawOutputs, targets: Targets, options: LossOptions) -> Losses:
    """What these outputs cost. Where there are no objects, boxes cost nothing."""
    logits = raw.cls_logits
    boxes = raw.boxes()
    scores = logits.detach().sigmoid()
    given = assign(scores, boxes.detach(), raw.anchor_points, raw.stride_tensor, targets)
    wanted, costs = _wanted(given.positive, given.rows, given.scores, targets, raw)
    if options.class_weights:
        costs = costs * costs.new_tensor(options.class_weights)
    by_class = _class_costs(logits, scores, wanted, options.classification)
    whole = (wanted * costs).sum().clamp(min=1.0)

    images, anchors = given.positive.nonzero(as_tuple=True)
    rows = given.rows[images, anchors]
    # An object counts as it was weighed, in classes and boxes alike.
    shares = given.scores[images, anchors] * targets.weights[images, rows]
    truth = targets.boxes[images, rows]
    overlap = box_loss(boxes[images, anchors], truth, options.box)
    points, strides = raw.anchor_points[anchors], raw.stride_tensor[anchors]
    sides = bin_loss(raw.reg_distri[images, anchors], distances(truth, points, strides))
    return Losses(
        classes=options.class_part * (by_class * costs).sum() / whole,
        boxes=options.box_part * (overlap * shares).sum() / whole,
        bins=options.bins_part * (sides * shares).sum() / whole,
        positives=given.positive.sum(),
    )


def _wanted(positive: Tensor, rows: Tensor, scores: Tensor, targets: Targets, raw: RawOutputs) -> tuple[Tensor, Tensor]:
    """Scores that are wanted, and what each costs: (n, A, C) both."""
    costs = targets.background(raw.anchor_points)
    wanted = torch.zeros_like(raw.cls_logits)
    images, anchors = positive.nonzero(as_tuple=True)
    objects = rows[images, anchors]
    classes = targets.class_ids[images, objects]
    wanted[images, anchors, classes] = scores[images, anchors]
    # What is there counts, also where nobody looked for all of its kind.
    costs[images, anchors, classes] = targets.weights[images, objects]
    return wanted, costs


def _class_costs(logits: Tensor, scores: Tensor, wanted: Tensor, kind: ClassLoss) -> Tensor:
    cross = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    if kind == "quality":
        return (scores - wanted).square() * cross
    return torch.where(wanted > 0.0, wanted, _ALPHA * scores.pow(_GAMMA)) * cross


def bin_loss(distributions: Tensor, sides: Tensor) -> Tensor:
    """Distribution focal loss (N,): the bins beside each distance should hold it; the mean of the four sides.

    `distributions` (N, 68) logits, `sides` (N, 4) in strides, taken into the range of the bins.
    """
    sides = sides.clamp(0.0, BINS - 1 - 0.01)
    low = sides.floor()
    share = sides - low
    logs = distributions.reshape(-1, 4, BINS).log_softmax(dim=2)
    below = logs.gather(2, low.long()[..., None])[..., 0]
    above = logs.gather(2, low.long()[..., None] + 1)[..., 0]
    return -(below * (1.0 - share) + above * share).mean(dim=1)
