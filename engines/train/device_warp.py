"""The data set's pictures on the device, and batches of them at the places that `geometry` planned, for all at once.

A pixel is one number of 32 bits (red, green, blue, nothing), so that one look-up fetches all its channels; pictures of
any size lie one after the other. Each pixel of the batch finds its tile, its place in the tile's source and the four
pixels around it. As OpenCV's `warpAffine` on the host, but that its coordinates are not rounded to 1/32 of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.train.geometry import PAD, Layout, Tile, lens
from engines.train.planner import PicturePlan
from engines.train.to_device import sent
from engines.types import F32, U8, SizeWH

_AT_ONCE = 1 << 23
"""Pixels of the batch that are worked on at a time: about 100 bytes of passing memory each."""


class DevicePictures:
    """Pictures (H, W, 3) uint8 RGB, copied to the device; `bytes` they take there."""

    def __init__(self, pictures: Sequence[U8], device: torch.device) -> None:
        sizes = np.array([picture.shape[:2] for picture in pictures], np.int64)
        counts = sizes.prod(axis=1)
        starts = np.concatenate([[0], np.cumsum(counts)])
        packed = torch.zeros((int(starts[-1]), 4), dtype=torch.uint8, device=device)
        for picture, start, count in zip(pictures, starts[:-1].tolist(), counts.tolist(), strict=True):
            flat = torch.from_numpy(np.ascontiguousarray(picture).reshape(-1, 3))
            packed[start : start + count, :3] = flat.to(device)
        self._pixels = packed.view(torch.int32)[:, 0]
        self._where = np.concatenate([starts[:-1, None], sizes[:, ::-1]], axis=1)
        self.device = device

    @staticmethod
    def bytes_of(pictures: Sequence[U8]) -> int:
        """That so many take on a device."""
        return 4 * sum(picture.shape[0] * picture.shape[1] for picture in pictures)

    def warped(self, plans: Sequence[PicturePlan], size_wh: SizeWH) -> Tensor:
        """(n, 3, H, W) float32, whole levels; every plan has this size."""
        made = torch.empty((len(plans), 3, size_wh[1], size_wh[0]), device=self.device)
        step = max(1, _AT_ONCE // (size_wh[0] * size_wh[1]))
        for start in range(0, len(plans), step):
            made[start : start + step] = self._placed(plans[start : start + step], size_wh)
        wide = [row for row, plan in enumerate(plans) if plan.layout.wide is not None]
        if wide:
            rows = sent(wide, self.device)
            made[rows] = _widened(made[rows], [plans[row].layout for row in wide])
        return made

    def _placed(self, plans: Sequence[PicturePlan], size_wh: SizeWH) -> Tensor:
        """Of some plans, before any wide angle."""
        width, height = size_wh
        n = len(plans)
        ways, where, splits = (sent(array, self.device) for array in self._tiles(plans, size_wh))
        x = torch.arange(width, device=self.device)
        y = torch.arange(height, device=self.device)[:, None]
        # Which of the picture's four tiles: left or right, above or below.
        tile = (x >= splits[:, :1, None]).long() + 2 * (y >= splits[:, 1:, None]).long()
        tile += 4 * torch.arange(n, device=self.device)[:, None, None]
        ways = ways.flatten(0, 1)[tile]
        at_x = ways[..., 0] * (x + 0.5) + ways[..., 1] * (y + 0.5) + ways[..., 2]
        at_y = ways[..., 3] * (x + 0.5) + ways[..., 4] * (y + 0.5) + ways[..., 5]
        first, wide, high = where.flatten(0, 1)[tile].unbind(3)
        made = torch.full((n, height, width, 3), float(PAD), device=self.device)
        left, above = at_x.floor(), at_y.floor()
        part_x, part_y = at_x - left, at_y - above
        column, row = left.long(), above.long()
        for right in (0, 1):
            for below in (0, 1):
                here_x, here_y = column + right, row + below
                there = (here_x >= 0) & (here_x < wide) & (here_y >= 0) & (here_y < high)
                share = (part_x if right else 1 - part_x) * (part_y if below else 1 - part_y) * there
                index = torch.where(there, first + here_y * wide + here_x, 0)
                pixels = self._pixels[index].view(torch.uint8).view(n, height, width, 4)
                # What is not picture is PAD: only differences from it add up.
                made += share[..., None] * (pixels[..., :3].float() - PAD)
        return made.permute(0, 3, 1, 2).round_().clamp_(0, 255)

    def _tiles(self, plans: Sequence[PicturePlan], size_wh: SizeWH) -> tuple[F32, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        """The way back (n, 4, 6) of each tile, its source (n, 4, 3: first pixel, width, height), the splits (n, 2)."""
        n = len(plans)
        ways, where = np.zeros((n, 4, 6), np.float32), np.zeros((n, 4, 3), np.int64)
        splits = np.tile(np.array(size_wh, np.int64), (n, 1))
        for row, plan in enumerate(plans):
            tiles = plan.layout.tiles
            if len(tiles) > 1:
                splits[row] = tiles[0].place[2:]
            for column, (tile, source) in enumerate(zip(tiles, plan.rows, strict=True)):
                ways[row, column] = _way_back(tile)
                where[row, column] = self._where[source]
        return ways, where, splits


def _way_back(tile: Tile) -> F32:
    """(6,) by rows: from the middle of a pixel of the picture, counted from edges, to the source's, from middles."""
    back = np.linalg.inv(tile.matrix[:, :2])
    offset = -back @ (tile.matrix[:, 2] + tile.place[:2]) - 0.5
    return np.asarray(np.concatenate([back, offset[:, None]], axis=1).ravel(), np.float32)


def _widened(levels: Tensor, layouts: Sequence[Layout]) -> Tensor:
    """(m, 3, H, W) behind the wide angle of each."""
    width, height = layouts[0].size_wh
    half, border = lens((width, height))
    strength = sent([layout.wide or 0.0 for layout in layouts], levels.device)[:, None, None]
    x = torch.arange(width, device=levels.device) + 0.5 - width / 2
    y = (torch.arange(height, device=levels.device) + 0.5 - height / 2)[:, None]
    factor = (1.0 + strength / half**2 * (x * x + y * y)) / (1.0 + strength * border)
    grid = torch.stack([x * factor * (2 / width), y * factor * (2 / height)], dim=3)
    bent = functional.grid_sample(levels - PAD, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (bent + PAD).round_().clamp_(0, 255)
