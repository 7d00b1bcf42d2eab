"""Histograms that grow: exact whatever they are shown, in whatever order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engines.quantize.histogram import HALF, Histogram

# Not nearer to zero than a bin's 2 ** -40th, where OpenCV cannot tell the sign any more.
VALUES = hnp.arrays(np.int32, st.integers(1, 200), elements=st.integers(-(2**24), 2**24)).map(
    lambda steps: (steps / 1024).astype(np.float32)
)


def same(one: Histogram, other: Histogram) -> bool:
    return (one.width, one.low, one.high, one.zeros) == (other.width, other.low, other.high, other.zeros) and bool(
        (one.counts == other.counts).all()
    )


@given(VALUES, VALUES, VALUES)
def test_the_order_in_which_pictures_come_changes_nothing(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    whole = Histogram.of(np.concatenate([a, b, c]))
    parts = [Histogram.of(part) for part in (a, b, c)]
    assert same(parts[0].plus(parts[1]).plus(parts[2]), whole)
    assert same(parts[2].plus(parts[0].plus(parts[1])), whole)


@given(VALUES)
def test_every_value_lies_in_its_bin(values: np.ndarray) -> None:
    histogram = Histogram.of(values)
    counts = np.zeros(2 * HALF, np.int64)
    for value in values[values != 0].astype(np.float64):
        counts[HALF + int(np.floor(value / histogram.width))] += 1
    assert (counts == histogram.counts).all()
    assert histogram.zeros == (values == 0).sum()
    assert histogram.total == values.size


@given(VALUES)
def test_the_outermost_value_lies_in_the_outer_half_of_the_bins(values: np.ndarray) -> None:
    histogram = Histogram.of(values)
    reach = float(np.abs(values).max())
    assert reach <= HALF * histogram.width
    assert reach == 0 or reach > HALF * histogram.width / 4


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_what_is_not_finite_is_refused(value: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Histogram.of(np.array([1.0, value, 2.0], np.float32))


def test_an_empty_histogram_adds_nothing() -> None:
    some = Histogram.of(np.array([0.0, 1.5, -2.0], np.float32))
    assert same(Histogram.empty().plus(some), some)
    assert same(some.plus(Histogram.empty()), some)
    assert Histogram.of(np.zeros((0, 3), np.float32)).total == 0
