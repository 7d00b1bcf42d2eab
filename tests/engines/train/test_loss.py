"""What costs something and what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch

from engines.train.boxes import box_loss, distances
from engines.train.loss import LossOptions, bin_loss, detection_loss
from engines.yolo_nas.network import RawOutputs
from engines.yolo_nas.variants import BINS
from tests.engines.train.scenes import CLASSES, NEVER, SURE, grid, nothing, outputs, targets, truth

WHOLE = (0.0, 0.0, 96.0, 64.0)
# Its sides lie on whole strides from the points of stride 8: 4, 12, 20, 28.
BOX = (4.0, 4.0, 28.0, 28.0)


def seeing(box: tuple[float, float, float, float], class_id: int, logit: float = SURE) -> RawOutputs:
    """Outputs that show the box at every anchor of stride 8 in it, exactly, and nothing else."""
    logits, sides = nothing()
    points, strides = grid()
    inside = (points[:, 0] > box[0]) & (points[:, 0] < box[2]) & (points[:, 1] > box[1]) & (points[:, 1] < box[3])
    inside &= strides[:, 0] == 8
    logits[0, inside, class_id] = logit
    sides[0, inside] = distances(torch.tensor(box).expand(len(points), 4), points, strides)[inside]
    return outputs(logits, sides)


@pytest.mark.parametrize("kind", ["varifocal", "quality"])
@pytest.mark.parametrize("box", ["giou", "ciou"])
def test_what_is_seen_exactly_costs_nothing(
    kind: Literal["varifocal", "quality"], box: Literal["giou", "ciou"]
) -> None:
    losses = detection_loss(seeing(BOX, 1), targets(truth([BOX], [1])), LossOptions(classification=kind, box=box))
    assert float(losses.total) < 1e-3
    assert int(losses.positives) >= 4


def test_a_picture_without_objects_costs_nothing_to_who_sees_none() -> None:
    logits, sides = nothing(2)
    losses = detection_loss(outputs(logits, sides), targets(truth(), truth()), LossOptions())
    assert float(losses.total) == pytest.approx(0.0, abs=1e-6)


def test_what_is_missed_costs_and_what_is_invented_costs() -> None:
    missed = detection_loss(seeing(BOX, 1, logit=-3.0), targets(truth([BOX], [1])), LossOptions())
    invented = detection_loss(seeing(BOX, 1), targets(truth()), LossOptions())
    assert float(missed.classes) > 1.0
    assert float(missed.boxes) == pytest.approx(0.0, abs=1e-4)
    assert float(invented.classes) > 1.0


def gradient(*regions: tuple[tuple[float, float, float, float], tuple[float, float, float]]) -> torch.Tensor:
    """Of logits that are unsure everywhere, with an object of class 1 in its place and these regions."""
    raw = seeing(BOX, 1)
    logits = torch.zeros_like(raw.cls_logits).requires_grad_()
    said = targets(truth([BOX], [1], regions=regions))
    detection_loss(replace(raw, cls_logits=logits), said, LossOptions()).total.backward()
    assert logits.grad is not None
    return logits.grad[0]


def test_a_class_that_nobody_labelled_gets_no_gradient_where_it_is_not() -> None:
    plain, partial = gradient(), gradient((WHOLE, (1.0, 0.0, 0.0)))
    assert (plain != 0.0).all()
    assert (partial[:, 2] == 0.0).all()
    # An object that has a box counts all the same, and the labelled class as before.
    assert (partial[:, 1] < 0.0).any()
    points, _ = grid()
    outside = ((points < 4.0) | (points > 28.0)).any(dim=1)
    assert (partial[outside, 1] == 0.0).all()
    assert torch.equal(partial[:, 0], plain[:, 0])


def test_a_crowd_is_neither_object_nor_background_of_its_class() -> None:
    crowd = (48.0, 0.0, 96.0, 64.0)
    plain, crowded = gradient(), gradient((crowd, (0.0, 1.0, 1.0)))
    points, _ = grid()
    inside = points[:, 0] >= 48.0
    assert (crowded[inside, 0] == 0.0).all()
    assert torch.equal(crowded[~inside], plain[~inside])
    assert torch.equal(crowded[:, 1:], plain[:, 1:])


def test_regions_that_overlap_leave_the_least() -> None:
    left, right = (0.0, 0.0, 60.0, 64.0), (40.0, 0.0, 96.0, 64.0)
    costs = targets(truth(regions=[(left, (0.5, 1, 1)), (right, (0.25, 1, 1))])).background(grid()[0])[0, :, 0]
    x = grid()[0][:, 0]
    assert (costs[x < 40] == 0.5).all()
    assert (costs[x >= 40] == 0.25).all()


def test_an_object_counts_as_it_is_weighed() -> None:
    logits, sides = nothing()
    raw = outputs(torch.zeros_like(logits), sides)
    far = (60.0, 36.0, 84.0, 60.0)

    def cost(weight: float) -> torch.Tensor:
        return detection_loss(raw, targets(truth([BOX, far], [1, 1], [1.0, weight])), LossOptions()).boxes

    assert float(cost(0.01)) == pytest.approx(float(cost(0.0001)), rel=0.1)
    assert float(cost(1.0)) > 0.0


def test_weights_of_classes_and_sums_of_parts() -> None:
    logits, sides = nothing()
    raw = outputs(torch.zeros_like(logits), sides)
    said = targets(truth())
    plain = detection_loss(raw, said, LossOptions()).classes
    heavy = detection_loss(raw, said, LossOptions(class_weights=(2.0, 2.0, 2.0), class_part=0.5)).classes
    assert float(heavy) == pytest.approx(float(plain))


def test_bins_cost_least_where_they_hold_the_distance() -> None:
    logits = torch.zeros(1, 4 * BINS)
    wanted = torch.tensor([[2.25, 0.0, 16.0, 7.5]])
    logits = logits.requires_grad_()
    optimizer = torch.optim.Adam([logits], 0.5)
    for _ in range(200):
        optimizer.zero_grad()
        bin_loss(logits, wanted).sum().backward()
        optimizer.step()
    found = (logits.detach().reshape(4, BINS).softmax(1) * torch.arange(BINS)).sum(1)
    assert found.tolist() == pytest.approx([2.25, 0.0, 15.99, 7.5], abs=0.05)


@pytest.mark.parametrize("kind", ["giou", "ciou"])
def test_box_loss_falls_as_boxes_come_together(kind: Literal["giou", "ciou"]) -> None:
    still = torch.tensor([[10.0, 10.0, 20.0, 30.0]])
    costs = [float(box_loss(still + shift, still, kind)) for shift in (0.0, 1.0, 5.0, 30.0, 100.0)]
    assert costs[0] == pytest.approx(0.0, abs=1e-6)
    assert costs == sorted(costs)
    assert box_loss(torch.zeros(0, 4), torch.zeros(0, 4), kind).shape == (0,)


def test_iou_losses_of_known_pairs() -> None:
    one, other = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]])
    # IoU 2/6, hull 6, union 6: GIoU is IoU; centres 1 apart, diagonal of the hull squared 13, equal shapes.
    assert float(box_loss(one, other, "giou")) == pytest.approx(1 - 1 / 3)
    assert float(box_loss(one, other, "ciou")) == pytest.approx(1 - 1 / 3 + 1 / 13)


def test_logits_of_every_kind_stay_finite() -> None:
    logits, sides = nothing()
    for value in (NEVER * 5, SURE * 5):
        raw = outputs(torch.full_like(logits, value), sides)
        losses = detection_loss(raw, targets(truth([BOX], [CLASSES - 1])), LossOptions())
        assert torch.isfinite(losses.total)
