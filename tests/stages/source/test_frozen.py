from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from engines.cuda.av_surface import SurfaceAvPicture
from engines.types import Picture
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


def on_device(seed: int = 1, *, change: tuple[int, int] | None = None, layout: str = "nv12") -> Picture:
    """As NVDEC leaves it, in the host's memory."""
    return SurfaceAvPicture(still(seed, change=change).frame.reformat(format=layout))


class Looked(SurfaceAvPicture):
    """Counts how often pictures are looked at."""

    looks = 0

    def digest(self) -> int:
        Looked.looks += 1
        return super().digest()


@pytest.mark.parametrize("layout", ["nv12", "p010le"])
class TestOnADevice:
    def test_picture_that_stays_the_same_is_frozen_soon_after_the_limit_and_told_once(self, layout: str) -> None:
        frozen = FrozenPicture(3.0)

        told = [frozen.see(on_device(layout=layout), index * SECOND // 5) for index in range(40)]

        (when,) = [index for index, changed in enumerate(told) if changed]
        assert 15 <= when <= 15 + 6  # looked at every 0.375 to 1.125 s
        assert frozen.frozen

    @pytest.mark.parametrize("change", [(0, 0), (3, 5), (119, 159)])
    def test_any_sample_that_changes_shows_that_it_moves(self, layout: str, change: tuple[int, int]) -> None:
        frozen = FrozenPicture(1.0)
        for index in range(20):
            frozen.see(on_device(layout=layout), index * SECOND // 5)
        assert frozen.frozen

        assert frozen.see(on_device(change=change, layout=layout), 10 * SECOND)
        assert not frozen.frozen

    def test_thing_that_moves_over_a_plain_wall_is_not_frozen(self, layout: str) -> None:
        """The same samples in other places."""
        frozen = FrozenPicture(2.0)
        for index in range(100):
            luma = np.full((120, 160), 90, np.uint8)
            luma[40:56, 8 * (index % 16) : 8 * (index % 16) + 16] = 200
            picture = av.VideoFrame.from_ndarray(luma, format="gray").reformat(format=layout)
            frozen.see(SurfaceAvPicture(picture), index * SECOND // 5)
            assert not frozen.frozen

    def test_looks_are_few(self, layout: str) -> None:
        Looked.looks = 0
        frozen = FrozenPicture(10.0)
        picture = still().frame.reformat(format=layout)

        for index in range(25 * 60):
            frozen.see(Looked(picture), index * SECOND // 25)

        assert 50 <= Looked.looks <= 70


def test_gpu_that_cannot_look_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        msg = "CUDA out of memory. Tried to allocate 2.00 MiB."
        raise torch.cuda.OutOfMemoryError(msg)

    monkeypatch.setattr(torch, "cat", full)
    frozen = FrozenPicture(1.0)

    assert not any(frozen.see(on_device(), index * SECOND // 5) for index in range(20))
