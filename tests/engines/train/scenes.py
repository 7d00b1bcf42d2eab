"""Hand-made outputs and truths for the tests of the trainer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from engines.train.sample import Sample, Truth
from engines.train.targets import Targets, collate
from engines.yolo_nas.heads import anchor_grid
from engines.yolo_nas.network import RawOutputs
from engines.yolo_nas.variants import BINS

SIZE_WH = (96, 64)
CLASSES = 3
NEVER, SURE = -20.0, 20.0


def truth(
    boxes: Sequence[Sequence[float]] = (),
    class_ids: Sequence[int] = (),
    weights: Sequence[float] | None = None,
    regions: Sequence[tuple[Sequence[float], Sequence[float]]] = (),
) -> Truth:
    return Truth(
        xyxy_px=np.array(boxes, np.float32).reshape(-1, 4),
        class_ids=np.array(class_ids, np.int64),
        weights=np.ones(len(class_ids), np.float32) if weights is None else np.array(weights, np.float32),
        regions=np.array([box for box, _ in regions], np.float32).reshape(-1, 4),
        region_weights=np.array([weight for _, weight in regions], np.float32).reshape(-1, CLASSES),
    )


def targets(*truths: Truth) -> Targets:
    return collate(truths, CLASSES)


def grid(size_wh: tuple[int, int] = SIZE_WH) -> tuple[Tensor, Tensor]:
    return anchor_grid([(size_wh[1] // stride, size_wh[0] // stride) for stride in (8, 16, 32)])


def outputs(logits: Tensor, distances: Tensor, size_wh: tuple[int, int] = SIZE_WH) -> RawOutputs:
    """Of logits (n, A, C) and whole distances (n, A, 4), in strides: each is one sure bin."""
    points, strides = grid(size_wh)
    bins = torch.full((*distances.shape[:2], 4, BINS), -30.0)
    bins.scatter_(3, distances.long()[..., None], 30.0)
    return RawOutputs(cls_logits=logits, reg_distri=bins.flatten(2), anchor_points=points, stride_tensor=strides)


def nothing(pictures: int = 1) -> tuple[Tensor, Tensor]:
    """Logits of a network that sees nothing, and distances of 1."""
    points, _ = grid()
    return torch.full((pictures, len(points), CLASSES), NEVER), torch.ones((pictures, len(points), 4))


def square_picture(
    size_wh: tuple[int, int], box: tuple[int, int, int, int], colour: tuple[int, int, int] = (255, 255, 255)
) -> Sample:
    rgb = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    rgb[box[1] : box[3], box[0] : box[2]] = colour
    return Sample(rgb=rgb, truth=truth([box], [0]))
