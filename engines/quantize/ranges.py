"""From how values are spread to the range that 8 bits shall cover: pure functions.

Each gives (low, high) with low <= 0 <= high, since zero must be exact: padding and ReLU are full of it. What lies
outside is clipped. Sources: entropy: Migacz, 8-bit inference with TensorRT, GTC 2017; MSE: the sum of rounding noise
(a uniform error, step ** 2 / 12) and of the clipped part, Banner et al., NeurIPS 2019 (arXiv 1810.05723).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from engines.quantize.histogram import HALF, Histogram

Method = Literal["entropy", "minmax", "percentile", "mse"]

LEVELS = 255
"""Steps from the lowest to the highest value of an 8-bit integer."""

_CLIPPING = 4.0
"""What a clipped value's error weighs: it always has the same sign, so that a sum over inputs does not average it out
as it does rounding (the seed's scores are off by 0.0073 with 1, by 0.0053 with 4, 0.0051 with 16; AP is the same)."""

_CANDIDATES = 256
"""Ranges that are tried: one a 256th of the largest (finer ones changed no AP that we could see: a guess)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Real numbers that 8 bits cover; low <= 0 <= high."""

    low: float
    high: float

    def union(self, other: Range) -> Range:
        return Range(low=min(self.low, other.low), high=max(self.high, other.high))


def range_of(histogram: Histogram, method: Method, *, percentile: float = 99.9999) -> Range:
    """The range of a tensor by `method`. `percentile` (50..100] is the share kept below `high` and above `low`."""
    match method:
        case "minmax":
            return minmax(histogram)
        case "percentile":
            return by_percentile(histogram, percentile)
        case "mse":
            return least_squares(histogram)
        case "entropy":
            return entropy(histogram)


def minmax(histogram: Histogram) -> Range:
    """All that was seen."""
    return Range(low=min(histogram.low, 0.0), high=max(histogram.high, 0.0))


def by_percentile(histogram: Histogram, percentile: float) -> Range:
    """All but `100 - percentile` per cent of the values at each end, to the outer edge of a bin."""
    whole = minmax(histogram)
    counts = histogram.counts.copy()
    counts[HALF] += histogram.zeros
    left_out = histogram.total * (1.0 - percentile / 100.0)
    # The first bin at whose end more than that share has passed, from either side.
    below = int(np.searchsorted(np.cumsum(counts), left_out, side="right"))
    above = int(np.searchsorted(np.cumsum(counts[::-1]), left_out, side="right"))
    low = (below - HALF) * histogram.width
    high = (HALF - above) * histogram.width
    return Range(low=max(whole.low, min(low, 0.0)), high=min(whole.high, max(high, 0.0)))


def least_squares(histogram: Histogram) -> Range:
    """The range whose expected squared error of rounding and of clipping, weighed, is least."""
    whole = minmax(histogram)
    counts, centres = histogram.counts, histogram.centres()
    seen = np.flatnonzero(counts)
    counts, centres = counts[seen], centres[seen]

    def loss(reach: float) -> float:
        low, high = max(whole.low, -reach), min(whole.high, reach)
        step = (high - low) / LEVELS
        clipped = np.maximum(centres - high, 0.0) + np.maximum(low - centres, 0.0)
        inside = int(counts[clipped == 0.0].sum())
        return _CLIPPING * float(counts @ clipped**2) + inside * step * step / 12.0

    return _best(histogram, whole, loss)


def entropy(histogram: Histogram) -> Range:
    """The range whose rounded values tell most of the distribution: least Kullback-Leibler divergence.

    Zeros are left out: they are exact in any range, and after a ReLU they would drown all else.
    """
    whole = minmax(histogram)
    magnitudes = histogram.magnitudes()
    # Zero splits a range that has both signs: half of the levels lie on the larger side, all of them if there is one.
    share = max(-whole.low, whole.high) / max(whole.high - whole.low, 1e-300)
    levels = max(2, round(LEVELS * share))

    def loss(reach: float) -> float:
        return divergence(magnitudes, round(reach / histogram.width), levels)

    return _best(histogram, whole, loss, least=(levels + 1) * histogram.width)


def divergence(magnitudes: npt.NDArray[np.int64], kept: int, levels: int) -> float:
    """KL divergence between the first `kept` bins, the rest clipped into the last, and these in `levels` steps.

    A step's values are spread evenly over those of its bins that hold any.
    """
    inside = magnitudes[:kept].astype(np.float64)
    reference = inside.copy()
    reference[-1] += magnitudes[kept:].sum()
    starts = np.minimum((np.arange(levels) * kept) // levels, kept - 1)
    sums = np.add.reduceat(inside, starts)
    held = np.add.reduceat((reference > 0.0).astype(np.float64), starts)
    lengths = np.diff(np.append(starts, kept))
    rounded = np.repeat(np.divide(sums, held, out=np.zeros_like(sums), where=held > 0.0), lengths)
    seen = reference > 0.0
    p, q = reference[seen] / reference.sum(), rounded[seen] / max(rounded[seen].sum(), 1e-300)
    # A last bin that holds nothing but what was clipped into it has no q: as improbable as can be told.
    return float(np.sum(p * np.log(p / np.maximum(q, 1e-12))))


def _best(histogram: Histogram, whole: Range, loss: Callable[[float], float], *, least: float = 0.0) -> Range:
    """The range of least loss among reaches from zero; the widest of equals."""
    furthest = max(-whole.low, whole.high)
    if furthest <= 0.0 or not histogram.counts.any():
        return whole
    bins = int(np.ceil(furthest / histogram.width))
    step = max(1, bins // _CANDIDATES)
    reaches = [kept * histogram.width for kept in range(bins, 0, -step) if kept * histogram.width >= least]
    if not reaches:
        return whole
    reach = min(reaches, key=loss)
    return Range(low=max(whole.low, -reach), high=min(whole.high, reach))
