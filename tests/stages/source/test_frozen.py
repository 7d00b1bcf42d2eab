from __future__ import annotations

import av
import numpy as np

from stages.source.frozen import FrozenPicture
from stages.source.picture import AvPicture

SECOND = 1_000_000_000


def still(seed: int = 1, *, change: tuple[int, int] | None = None) -> AvPicture:
    luma = np.random.default_rng(seed).integers(0, 256, (120, 160), np.uint8)
    if change:
        luma[change] ^= 255
    return AvPicture(av.VideoFrame.from_ndarray(luma, format="gray"))


def test_picture_that_stays_the_same_is_frozen_after_the_limit_and_told_once() -> None:
    frozen = FrozenPicture(3.0)
    told = [frozen.see(still(), index * SECOND // 5) for index in range(40)]
    assert [index for index, changed in enumerate(told) if changed] == [15]
    assert frozen.frozen


def test_picture_that_moves_again_is_told_once() -> None:
    frozen = FrozenPicture(1.0)
    for index in range(10):
        frozen.see(still(), index * SECOND // 5)
    assert frozen.frozen
    assert frozen.see(still(2), 3 * SECOND)
    assert not frozen.frozen
    assert not frozen.see(still(3), 4 * SECOND)


def test_noise_is_not_frozen() -> None:
    frozen = FrozenPicture(1.0)
    assert not any(frozen.see(still(index), index * SECOND // 5) for index in range(50))


def test_small_movement_between_the_grid_points_is_not_frozen() -> None:
    frozen = FrozenPicture(2.0)
    for index in range(100):
        frozen.see(still(change=(3, 5 + index % 3)), index * SECOND // 5)
    assert not frozen.frozen


def test_picture_that_cannot_be_converted_is_passed_by() -> None:
    frozen = FrozenPicture(1.0)
    pictures = [AvPicture(av.VideoFrame(16, 16, "pal8")) for _ in range(20)]
    assert not any(frozen.see(picture, index * SECOND) for index, picture in enumerate(pictures))
