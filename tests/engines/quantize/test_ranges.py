"""Ranges of activations: what holds for every method, and what each promises."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engines.quantize.histogram import Histogram
from engines.quantize.ranges import (
    LEVELS,
    Method,
    Range,
    by_percentile,
    divergence,
    entropy,
    least_squares,
    minmax,
    range_of,
)

METHODS: tuple[Method, ...] = get_args(Method)
# As in test_histogram: nothing that OpenCV cannot tell from zero.
VALUES = hnp.arrays(np.int32, st.integers(1, 300), elements=st.integers(-(2**20), 2**20)).map(
    lambda steps: (steps / 1024).astype(np.float32)
)


def long_tailed(seed: int, count: int = 50_000) -> np.ndarray:
    """What comes out of a ReLU: half zeros, and a tail."""
    rng = np.random.default_rng(seed)
    return np.maximum(rng.normal(size=count) * rng.exponential(size=count), 0).astype(np.float32)


def squared_error(values: np.ndarray, extent: Range) -> float:
    """What rounding to 8 bits does, done."""
    step = (extent.high - extent.low) / LEVELS
    rounded = np.clip(
        np.rint(values.astype(np.float64) / step), np.rint(extent.low / step), np.rint(extent.high / step)
    )
    return float(((rounded * step - values) ** 2).mean())


@pytest.mark.parametrize("method", METHODS)
@given(values=VALUES)
def test_a_range_has_zero_in_it_and_nothing_beyond_what_was_seen(method: Method, values: np.ndarray) -> None:
    extent = range_of(Histogram.of(values), method)
    assert min(0.0, float(values.min())) <= extent.low <= 0.0 <= extent.high <= max(0.0, float(values.max()))


@pytest.mark.parametrize("method", METHODS)
@given(values=VALUES, power=st.integers(-8, 8))
def test_a_larger_unit_gives_the_same_range_in_it(method: Method, values: np.ndarray, power: int) -> None:
    extent = range_of(Histogram.of(values), method)
    scaled = range_of(Histogram.of(values * np.float32(2.0**power)), method)
    assert scaled.low == pytest.approx(extent.low * 2.0**power)
    assert scaled.high == pytest.approx(extent.high * 2.0**power)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_but_zeros_has_an_empty_range(method: Method) -> None:
    assert range_of(Histogram.of(np.zeros(100, np.float32)), method) == Range(low=0.0, high=0.0)


@given(VALUES)
def test_minmax_is_what_was_seen(values: np.ndarray) -> None:
    assert minmax(Histogram.of(values)) == Range(low=min(0.0, float(values.min())), high=max(0.0, float(values.max())))


@given(VALUES, st.floats(51, 100), st.floats(51, 100))
def test_a_higher_percentile_never_narrows(values: np.ndarray, one: float, other: float) -> None:
    histogram = Histogram.of(values)
    narrow, wide = (by_percentile(histogram, percent) for percent in sorted((one, other)))
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


@given(VALUES, st.floats(51, 100))
def test_a_percentile_leaves_out_no_more_than_it_may(values: np.ndarray, percent: float) -> None:
    extent = by_percentile(Histogram.of(values), percent)
    allowed = len(values) * (1 - percent / 100) + 1e-6
    assert (values > extent.high).sum() <= allowed
    assert (values < extent.low).sum() <= allowed


@pytest.mark.parametrize("seed", range(4))
def test_least_squares_is_better_than_minmax_and_than_a_narrower_range(seed: int) -> None:
    values = long_tailed(seed)
    histogram = Histogram.of(values)
    best = least_squares(histogram)
    assert squared_error(values, best) < squared_error(values, minmax(histogram))
    assert squared_error(values, best) < squared_error(values, Range(low=0.0, high=best.high / 2))


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_one_stray_value_is_clipped(method: Method) -> None:
    values = np.concatenate([long_tailed(5, 2_000_000), np.float32([500.0])])
    extent = range_of(Histogram.of(values), method, percentile=99.999)
    assert extent.high < 100.0


def test_zeros_do_not_change_what_entropy_takes() -> None:
    values = long_tailed(6)
    more = np.concatenate([values, np.zeros(200_000, np.float32)])
    assert entropy(Histogram.of(more)) == entropy(Histogram.of(values))


def test_entropy_keeps_all_of_what_is_spread_evenly() -> None:
    values = np.linspace(0.001, 1.0, 100_000, dtype=np.float32)
    assert entropy(Histogram.of(values)).high == pytest.approx(1.0, abs=0.02)


def test_no_step_is_lost_where_each_bin_is_one() -> None:
    counts = np.array([4, 0, 3, 1], np.int64)
    assert divergence(counts, 4, 4) == pytest.approx(0.0, abs=1e-9)
    assert divergence(counts, 4, 2) > 0.0


def test_both_signs_are_covered_from_both_ends() -> None:
    values = np.random.default_rng(8).normal(size=100_000).astype(np.float32)
    for method in METHODS:
        extent = range_of(Histogram.of(values), method)
        assert extent.low < -2.0
        assert extent.high > 2.0
