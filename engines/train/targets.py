"""What a batch should show, as tensors: objects, and where background costs less or nothing.

One mechanism serves all that people did not say: a region is a rectangle with a weight for each class, and an anchor in
it pays so much of the cost of a class that it does not show. A crowd is a region of weight 0 for its class; a picture
(or a mosaic's tile) in which a class is not labelled is a region of weight 0 for that class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.train.sample import Truth
from engines.train.to_device import moved


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """Of n pictures, padded to the most objects (G) and regions (R) of one.

    `boxes` (n, G, 4) float32, input pixels; `class_ids` (n, G) int64; `weights` (n, G) float32: what the object counts,
    0 for rows that only pad. `regions` (n, R, 4); `region_weights` (n, R, C), 1 for rows that only pad.
    """

    boxes: Tensor
    class_ids: Tensor
    weights: Tensor
    regions: Tensor
    region_weights: Tensor

    def to(self, device: torch.device) -> Targets:
        return Targets(
            boxes=moved(self.boxes, device),
            class_ids=moved(self.class_ids, device),
            weights=moved(self.weights, device),
            regions=moved(self.regions, device),
            region_weights=moved(self.region_weights, device),
        )

    def part(self, rows: slice) -> Targets:
        """Of some of the pictures."""
        return Targets(
            boxes=self.boxes[rows],
            class_ids=self.class_ids[rows],
            weights=self.weights[rows],
            regions=self.regions[rows],
            region_weights=self.region_weights[rows],
        )

    def background(self, points: Tensor) -> Tensor:
        """(n, A, C): what a class that is not there costs at points (A, 2); the least of the regions around them."""
        n, rows, classes = self.region_weights.shape
        costs = torch.ones((n, len(points), classes), dtype=torch.float32, device=points.device)
        for row in range(rows):
            region = self.regions[:, row, None]
            inside = ((points >= region[..., :2]) & (points < region[..., 2:])).all(dim=2)
            there = torch.where(inside[:, :, None], self.region_weights[:, row, None], 1.0)
            costs = torch.minimum(costs, there)
        return costs


def collate(truths: Sequence[Truth], classes: int) -> Targets:
    objects = max((len(truth.class_ids) for truth in truths), default=0)
    regions = max((len(truth.regions) for truth in truths), default=0)
    n = len(truths)
    boxes, ids = np.zeros((n, objects, 4), np.float32), np.zeros((n, objects), np.int64)
    weights = np.zeros((n, objects), np.float32)
    areas, area_weights = np.zeros((n, regions, 4), np.float32), np.ones((n, regions, classes), np.float32)
    for row, truth in enumerate(truths):
        count, around = len(truth.class_ids), len(truth.regions)
        boxes[row, :count], ids[row, :count], weights[row, :count] = truth.xyxy_px, truth.class_ids, truth.weights
        areas[row, :around], area_weights[row, :around] = truth.regions, truth.region_weights
    return Targets(
        boxes=torch.from_numpy(boxes),
        class_ids=torch.from_numpy(ids),
        weights=torch.from_numpy(weights),
        regions=torch.from_numpy(areas),
        region_weights=torch.from_numpy(area_weights),
    )
