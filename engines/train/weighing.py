"""What rare classes count: how often their pictures are drawn, or what their cost weighs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.train.sample import Sample


def balanced(samples: Sequence[Sample], classes: int, share: float = 0.3, most: float = 4.0) -> list[float]:
    """How often to draw each picture, so that rare classes are seen more: sqrt(share / part of the pictures with it).

    Source: repeat factor sampling, Gupta et al., LVIS, 2019 (arXiv 1908.03195), with a higher threshold (a guess).
    """
    has = np.zeros((len(samples), classes), np.bool_)
    for row, sample in enumerate(samples):
        has[row, sample.truth.class_ids] = True
    part = has.mean(axis=0)
    factors = np.clip(np.sqrt(share / np.maximum(part, 1e-6)), 1.0, most)
    return [float(value) for value in np.where(has, factors, 1.0).max(axis=1)]


def class_weights(samples: Sequence[Sample], classes: int, most: float = 4.0) -> tuple[float, ...]:
    """What each class's cost counts: more where it has few objects; square root, mean 1."""
    counts = np.zeros(classes)
    for sample in samples:
        np.add.at(counts, sample.truth.class_ids, sample.truth.weights)
    factors = np.sqrt(counts.max() / np.maximum(counts, 1.0)).clip(1.0, most)
    return tuple(float(value) for value in factors / factors.mean())
