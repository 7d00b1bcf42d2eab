"""`dense` for a whole batch of tensors on a device: the same definitions, and no wait for the host.

In:  outputs (n, …) of an ONNX detector, any floating type. Out: scores (n, A, classes) and boxes (n, A, 4) float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from engines.heads.grid import anchor_points
from engines.spec import ModelSpec
from engines.train.dense import NANODET_BINS, NANODET_STRIDES, coarse_cells, says_nothing
from engines.types import SizeWH
from engines.yolo_nas.variants import STRIDES


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grid:
    """Cells (A, 2), strides (A, 1); `above`: of each cell of stride 32 the row of the cell of stride 64 over it."""

    cells: Tensor
    strides: Tensor
    above: Tensor
    finer: int


@lru_cache(maxsize=64)
def _grid(size_wh: SizeWH, strides: tuple[int, ...], device: torch.device) -> _Grid:
    cells, sides = anchor_points(size_wh, strides)
    finer = int((sides[:, 0] < 64).sum())
    above = coarse_cells(size_wh, finer) if 64 in strides else np.zeros(0, np.int64)
    made = [torch.from_numpy(array).to(device) for array in (cells, sides, above)]
    return _Grid(cells=made[0], strides=made[1], above=made[2], finer=finer)


def dense_batch(spec: ModelSpec, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Scores and boxes in input pixels at every anchor of strides 8, 16, 32. Raises ModelError."""
    size_wh = spec.input.size
    if spec.head == "yolo_nas":
        return outputs["scores"].float(), outputs["boxes"].float()
    (raw,) = (output.float() for output in outputs.values())
    if spec.head == "yolov8":
        centres, halves = raw[:, :2].mT, raw[:, 2:4].mT / 2
        return raw[:, 4:].mT.contiguous(), torch.cat([centres - halves, centres + halves], dim=2)
    if spec.head == "yolox":
        grid = _grid(size_wh, STRIDES, raw.device)
        centres = (raw[..., :2] + grid.cells) * grid.strides
        halves = raw[..., 2:4].clamp(max=8.0).exp() * (grid.strides / 2)
        return raw[..., 5:] * raw[..., 4:5], torch.cat([centres - halves, centres + halves], dim=2)
    if spec.head == "nanodet_plus":
        return _nanodet(raw, len(spec.classes), _grid(size_wh, NANODET_STRIDES, raw.device))
    raise says_nothing(spec)


def _nanodet(raw: Tensor, classes: int, grid: _Grid) -> tuple[Tensor, Tensor]:
    shares = raw[..., classes:].reshape(*raw.shape[:2], 4, NANODET_BINS).softmax(dim=3)
    steps = torch.arange(NANODET_BINS, dtype=torch.float32, device=raw.device)
    sides = (shares * steps).sum(dim=3) * grid.strides
    points = grid.cells * grid.strides
    boxes = torch.cat([points - sides[..., :2], points + sides[..., 2:]], dim=2)
    scores = raw[..., :classes]
    start = grid.finer - len(grid.above)
    here = slice(start, grid.finer)
    theirs = scores.index_select(1, grid.above)
    surer = (theirs.amax(dim=2) > scores[:, here].amax(dim=2))[..., None]
    kept_scores = torch.where(surer, theirs, scores[:, here])
    kept_boxes = torch.where(surer, boxes.index_select(1, grid.above), boxes[:, here])
    return torch.cat([scores[:, :start], kept_scores], dim=1), torch.cat([boxes[:, :start], kept_boxes], dim=1)
