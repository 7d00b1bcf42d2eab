"""How the values of one tensor are spread: a histogram that grows with what it is shown.

Bins have a power of two as their width and zero as an edge. A value out of range doubles the width by joining bins in
pairs, which loses nothing that a fresh histogram of that width would have: one pass is enough, and neither the order of
the pictures nor how they come together changes the result. (The idea of doubling bins: torch's HistogramObserver.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from engines.types import F32

HALF = 4096
"""Bins on each side of zero; the outermost value lies in the outer half of them."""

Counts = npt.NDArray[np.int64]

_LEAST_EXPONENT = -100
"""Bins narrower than 2 ** -100 would leave float32; a tensor that small is all zero."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histogram:
    """`counts` (2 * HALF,): bin k holds the values in [(k - HALF) * width, (k - HALF + 1) * width), zeros not counted.

    `low`, `high`: the least and the greatest value seen (0, 0 before any); `zeros`: how many were exactly 0.
    """

    width: float
    counts: Counts
    low: float
    high: float
    zeros: int

    @classmethod
    def empty(cls) -> Histogram:
        return cls(width=2.0**_LEAST_EXPONENT, counts=np.zeros(2 * HALF, np.int64), low=0.0, high=0.0, zeros=0)

    @classmethod
    def of(cls, values: F32) -> Histogram:
        """The histogram of an array. Raises ValueError, saying what was met, if a value is not finite."""
        flat = np.ascontiguousarray(values, np.float32).reshape(1, -1)
        if not flat.size:
            return cls.empty()
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("NaN" if math.isnan(low) or math.isnan(high) else "infinity")
        width = _width(low, high)
        # float32 counts are exact up to 2 ** 24 a bin; no bin of a larger array is trusted to stay below that.
        counts = np.zeros(2 * HALF, np.int64)
        for start in range(0, flat.shape[1], 1 << 24):
            part = flat[:, start : start + (1 << 24)]
            found = cv2.calcHist([part], [0], None, [2 * HALF], [-HALF * width, HALF * width])
            counts += found.reshape(-1).astype(np.int64)
        zeros = flat.size - int(np.count_nonzero(flat))
        counts[HALF] -= zeros
        return cls(width=width, counts=counts, low=low, high=high, zeros=zeros)

    @property
    def total(self) -> int:
        return int(self.counts.sum()) + self.zeros

    def plus(self, other: Histogram) -> Histogram:
        """Both together, as if one had been shown all the values."""
        if not self.total or not other.total:
            return other if not self.total else self
        width = max(self.width, other.width)
        return Histogram(
            width=width,
            counts=_widened(self, width) + _widened(other, width),
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            zeros=self.zeros + other.zeros,
        )

    def magnitudes(self) -> Counts:
        """(HALF,): how many values lie in each bin away from zero, whatever their sign."""
        return self.counts[HALF:] + self.counts[HALF - 1 :: -1]

    def centres(self) -> npt.NDArray[np.float64]:
        """(2 * HALF,): the middle of each bin."""
        return (np.arange(-HALF, HALF) + 0.5) * self.width


def _width(low: float, high: float) -> float:
    """The least power of two for which all lies within HALF bins of zero (an upper edge is not within)."""
    reach = max(-low, high)
    if reach <= 0.0:
        return 2.0**_LEAST_EXPONENT
    exponent = max(math.frexp(reach / HALF)[1], _LEAST_EXPONENT)
    return math.ldexp(1.0, exponent)


def _widened(histogram: Histogram, width: float) -> Counts:
    """The counts in bins of `width`, a power of two times their own."""
    factor = round(width / histogram.width)
    if factor == 1:
        return histogram.counts
    if factor >= HALF:  # all of it lies in the two bins beside zero
        counts = np.zeros(2 * HALF, np.int64)
        counts[HALF - 1], counts[HALF] = histogram.counts[:HALF].sum(), histogram.counts[HALF:].sum()
        return counts
    counts = np.zeros(2 * HALF, np.int64)
    joined = histogram.counts.reshape(-1, factor).sum(axis=1)
    start = HALF - len(joined) // 2
    counts[start : start + len(joined)] = joined
    return counts
