"""How the learning rate rises and falls, and how far a run is."""

from __future__ import annotations

import math

from engines.train.options import TrainOptions


def rate(options: TrainOptions, step: int, progress: float) -> float:
    """Linear warm-up by steps, then half a cosine by `progress` (0 to 1) down to the final rate."""
    rising = min(1.0, (step + 1) / max(1, options.warmup_steps))
    low = options.final_rate
    return options.rate * rising * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


def progress(options: TrainOptions, step: int, steps_per_epoch: int, seconds: float) -> float:
    """How much of the run is done, 0 to 1 (or above): by epochs or by minutes, whichever ends first."""
    parts = [0.0]
    if options.epochs is not None:
        parts.append(step / max(1, math.ceil(options.epochs * steps_per_epoch)))
    if options.minutes is not None:
        parts.append(seconds / (60 * options.minutes))
    return max(parts)
