"""Boxes stay on what they are around, whatever is done to the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.train import appearance
from engines.train.appearance import changed
from engines.train.geometry import CALM, PAD, GeometryOptions, Layout, compose, letterbox, widened
from engines.train.looks import NOTHING, AppearanceOptions, Looks, Noise, draw
from engines.train.sample import Sample
from engines.train.warp import warped
from engines.train.warp import widened as picture_widened
from engines.types import F32, SizeWH
from tests.engines.train.scenes import square_picture, truth

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))
seeds = st.integers(0, 2**32 - 1)


def made(layout: Layout, samples: list[Sample]) -> Sample:
    return Sample(rgb=warped(layout, [sample.rgb for sample in samples]), truth=layout.truth)


def composed(samples: list[Sample], size_wh: SizeWH, options: GeometryOptions, rng: np.random.Generator) -> Sample:
    return made(compose([sample.known for sample in samples], size_wh, options, rng), samples)


def letterboxed(sample: Sample, size_wh: SizeWH, *, flip: bool = False) -> Sample:
    return made(letterbox(sample.known, size_wh, flip=flip), [sample])


def seen(sample: Sample, colour: tuple[int, int, int]) -> F32 | None:
    """Around the pixels that are of this colour for the most part; None if there are hardly any."""
    apart = np.abs(sample.rgb.astype(np.int32) - np.array(colour)).max(axis=2)
    y, x = np.nonzero(apart < 110)
    if len(x) < 12:
        return None
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float32)


@st.composite
def squares(draw: st.DrawFn, colour: tuple[int, int, int] = COLOURS[0]) -> Sample:
    width, height = draw(st.integers(40, 200)), draw(st.integers(40, 200))
    x, y = draw(st.integers(0, width - 16)), draw(st.integers(0, height - 16))
    right, bottom = draw(st.integers(x + 16, width)), draw(st.integers(y + 16, height))
    return square_picture((width, height), (x, y, right, bottom), colour)


def check(sample: Sample, colour: tuple[int, int, int], box: F32, slack: float) -> None:
    found = seen(sample, colour)
    assert found is not None
    np.testing.assert_allclose(box, found, atol=slack)


@given(squares(), seeds)
def test_a_square_stays_in_its_box(sample: Sample, seed: int) -> None:
    options = replace(GeometryOptions(), turn_degrees=0.0, shear=0.0, wide=0.0)
    out = composed([sample], (160, 96), options, np.random.default_rng(seed))
    assert out.rgb.shape == (96, 160, 3)
    for box in out.truth.xyxy_px:
        if (box[2:] - box[:2]).min() >= 6:
            check(out, COLOURS[0], box, 1.6)


@given(squares(), seeds)
def test_a_box_holds_a_turned_square_and_no_more_than_its_corners(sample: Sample, seed: int) -> None:
    options = replace(GeometryOptions(), turn_degrees=10.0, wide=0.0)
    out = composed([sample], (160, 96), options, np.random.default_rng(seed))
    for box in out.truth.xyxy_px:
        found = seen(out, COLOURS[0])
        if found is not None:
            assert (box[:2] <= found[:2] + 1.6).all()
            assert (box[2:] >= found[2:] - 1.6).all()


@given(st.tuples(*(squares(colour) for colour in COLOURS)), seeds)
def test_in_a_mosaic_each_square_stays_in_its_box(samples: tuple[Sample, ...], seed: int) -> None:
    named = [
        replace(sample, truth=replace(sample.truth, class_ids=np.array([row], np.int64)))
        for row, sample in enumerate(samples[:3])
    ]
    four = [*named, replace(samples[3], truth=replace(samples[3].truth, class_ids=np.array([0], np.int64)))]
    options = replace(GeometryOptions(), turn_degrees=0.0, shear=0.0, wide=0.0)
    out = composed(four, (192, 128), options, np.random.default_rng(seed))
    for box, class_id in zip(out.truth.xyxy_px, out.truth.class_ids, strict=True):
        if class_id and (box[2:] - box[:2]).min() >= 6:
            check(out, COLOURS[class_id], box, 1.6)


@given(squares(), st.floats(0.05, 0.5))
def test_behind_a_wide_angle_a_square_stays_in_its_box(sample: Sample, strength: float) -> None:
    placed = letterboxed(sample, (192, 128))
    out = Sample(rgb=picture_widened(placed.rgb, strength), truth=widened(placed.truth, placed.known.size_wh, strength))
    for box in out.truth.xyxy_px:
        if (box[2:] - box[:2]).min() >= 8:
            check(out, COLOURS[0], box, 2.5)


@given(squares(), st.booleans())
def test_a_letterboxed_picture_is_whole_and_in_the_middle(sample: Sample, flip: bool) -> None:
    out = letterboxed(sample, (160, 96), flip=flip)
    (box,) = out.truth.xyxy_px
    if (box[2:] - box[:2]).min() >= 4:
        check(out, COLOURS[0], box, 1.6)
    height, width = sample.rgb.shape[:2]
    if width * 96 > height * 160 * 1.2:
        assert (out.rgb[0] == PAD).all()
        assert (out.rgb[-1] == PAD).all()


def test_what_is_hardly_seen_is_neither_object_nor_background() -> None:
    sample = square_picture((100, 100), (60, 60, 100, 100))
    options = replace(CALM, scale=(2.4, 2.4), flip=0.0)
    outs = [composed([sample], (64, 64), options, np.random.default_rng(seed)) for seed in range(80)]
    cut = [out for out in outs if not len(out.truth.class_ids) and len(out.truth.regions)]
    assert cut
    for out in cut:
        assert out.truth.region_weights[0].tolist() == [0.0, 1.0, 1.0]


def test_regions_move_with_the_picture() -> None:
    sample = square_picture((100, 50), (20, 10, 60, 40), COLOURS[1])
    both = replace(sample, truth=truth([(20, 10, 60, 40)], [0], regions=[((20, 10, 60, 40), (0, 1, 1))]))
    out = letterboxed(both, (128, 128), flip=True)
    np.testing.assert_allclose(out.truth.regions[0], out.truth.xyxy_px[0])
    check(out, COLOURS[1], out.truth.regions[0], 1.6)


def test_the_same_seed_gives_the_same_picture() -> None:
    sample = square_picture((100, 80), (20, 10, 60, 40))
    for seed in range(12):
        first, again = (
            composed([sample] * 4, (128, 96), GeometryOptions(wide=1.0), np.random.default_rng(seed)) for _ in range(2)
        )
        np.testing.assert_array_equal(first.rgb, again.rgb)
        one, other = (changed(first.rgb, draw(AppearanceOptions(), np.random.default_rng(seed))) for _ in range(2))
        np.testing.assert_array_equal(one, other)


def test_without_any_chance_a_picture_stays_as_it_is() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    np.testing.assert_array_equal(changed(rgb, draw(NOTHING, np.random.default_rng(2))), rgb)
    np.testing.assert_array_equal(changed(rgb, Looks()), rgb)


@pytest.mark.parametrize("name", ["light", "colour", "night", "infrared", "blur", "noise", "jpeg", "small"])
def test_looks_change_levels_alone(name: str) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    before = rgb.copy()
    out = changed(rgb, draw(replace(NOTHING, **{name: 1.0}), np.random.default_rng(4)))
    assert (out.shape, out.dtype) == (rgb.shape, np.uint8)
    np.testing.assert_array_equal(rgb, before)
    assert (out != rgb).any()
    if name == "infrared":
        assert (out[..., 0] == out[..., 1]).all()
        assert (out[..., 1] == out[..., 2]).all()
    if name == "night":
        assert out.mean() < 0.7 * rgb.mean()


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    grey = np.full((300, 400, 3), 128, np.uint8)
    out = appearance.noisy(grey, Noise(deviation=8.0, start=1_040_000)).astype(np.float64)
    assert out.std() == pytest.approx(8.0, rel=0.05)
    assert out.mean() == pytest.approx(128.0, abs=0.7)


def test_compression_leaves_a_likeness() -> None:
    smooth = np.repeat(np.linspace(0, 255, 96, dtype=np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    out = appearance.compressed(smooth, 30)
    assert 0 < np.abs(out.astype(int) - smooth).mean() < 6
