"""Batches out of pictures in memory, made by worker threads ahead of the training.

Batch `step` depends on the seed and `step` alone, not on threads or on what came before: that is what makes resuming
exact. OpenCV, numpy's copies and the teachers release the interpreter's lock, so threads do.
The seam for a GPU: whatever yields `Batch` will do; one whose samples and augmentation live on the device can take this
class's place in `loop`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engines.train.appearance import AppearanceOptions, changed
from engines.train.geometry import GeometryOptions, composed, letterboxed
from engines.train.sample import Sample
from engines.train.targets import Targets, collate
from engines.train.teachers import LevelsTeacher, Taught
from engines.types import SizeWH


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """`levels` (n, 3, H, W) uint8 RGB; what is in them; what teachers on the host say of them."""

    levels: Tensor
    targets: Targets
    taught: tuple[Taught, ...]

    def parts(self, count: int) -> tuple[Batch, ...]:
        """Cut into `count`, alike but for one picture; fewer if there are fewer pictures."""
        n = len(self.levels)
        edges = [n * index // min(count, n) for index in range(min(count, n) + 1)]
        rows = [slice(low, high) for low, high in itertools.pairwise(edges)]
        return tuple(
            Batch(
                levels=self.levels[one],
                targets=self.targets.part(one),
                taught=tuple(teacher.part(one) for teacher in self.taught),
            )
            for one in rows
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """`sizes`: each batch has one of them, all equally often. `mixed`: how much comes from each further set."""

    batch: int
    sizes: tuple[SizeWH, ...]
    seed: int
    classes: int
    geometry: GeometryOptions
    appearance: AppearanceOptions
    mixed: tuple[float, ...] = ()


class Deck:
    """Pictures in a shuffled order, again and again, each as often as it is weighed."""

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        self._edges = np.cumsum(np.asarray(weights, np.float64) / np.sum(weights))
        self._seed = seed
        self._epoch = -1
        self._order: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._edges)

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """As many draws as there are pictures: each is in it its share of times, rounded up or down."""
        rng = np.random.default_rng((self._seed, 1, epoch))
        marks = (np.arange(len(self)) + rng.random()) / len(self)
        drawn = np.minimum(np.searchsorted(self._edges, marks), len(self) - 1)
        return rng.permutation(drawn).astype(np.int64)

    def any(self, rng: np.random.Generator) -> int:
        return min(int(np.searchsorted(self._edges, rng.random())), len(self) - 1)


class Batches:
    def __init__(
        self,
        samples: Sequence[Sample],
        weights: Sequence[float],
        options: BatchOptions,
        *,
        extra: Sequence[Sequence[Sample]] = (),
        teachers: Sequence[LevelsTeacher] = (),
    ) -> None:
        self._samples = samples
        self._extra = extra
        self._edges = np.cumsum(options.mixed)
        self._deck = Deck(weights, options.seed)
        self._options = options
        self.teachers = teachers
        self._orders: dict[int, npt.NDArray[np.int64]] = {}

    @property
    def steps_per_epoch(self) -> int:
        return max(1, -(-len(self._samples) // self._options.batch))

    def make(self, step: int, *, calm: bool) -> Batch:
        """Batch number `step`; `calm`: pictures as running gives them, but for a mirror."""
        options = self._options
        rng = np.random.default_rng((options.seed, 2, step))
        size_wh = options.sizes[int(rng.integers(len(options.sizes)))]
        made = [self._picture(step * options.batch + place, size_wh, rng, calm=calm) for place in range(options.batch)]
        levels = np.stack([sample.rgb for sample in made])
        return Batch(
            levels=torch.from_numpy(np.ascontiguousarray(levels.transpose(0, 3, 1, 2))),
            targets=collate([sample.truth for sample in made], options.classes),
            taught=tuple(teacher.look(levels) for teacher in self.teachers),
        )

    def _picture(self, draw: int, size_wh: SizeWH, rng: np.random.Generator, *, calm: bool) -> Sample:
        options = self._options
        first = self._sample(rng, draw)
        if calm:
            return letterboxed(first, size_wh, flip=bool(rng.random() < options.geometry.flip))
        mosaic = rng.random() < options.geometry.mosaic
        others = [self._sample(rng) for _ in range(3)] if mosaic else []
        placed = composed([first, *others], size_wh, options.geometry, rng)
        return Sample(rgb=changed(placed.rgb, options.appearance, rng), truth=placed.truth)

    def _sample(self, rng: np.random.Generator, draw: int | None = None) -> Sample:
        if self._extra:
            which = int(np.searchsorted(self._edges, rng.random(), side="right"))
            if which < len(self._extra):
                further = self._extra[which]
                return further[int(rng.integers(len(further)))]
        if draw is None:
            return self._samples[self._deck.any(rng)]
        epoch, place = divmod(draw, len(self._deck))
        order = self._orders.get(epoch)
        if order is None:
            # Whichever thread comes first; others may make the same once more.
            order = self._orders[epoch] = self._deck.order(epoch)
            self._orders.pop(epoch - 2, None)
        return self._samples[int(order[place])]

    def stream(self, start: int, calm: Callable[[int], bool], *, threads: int, ahead: int = 4) -> Generator[Batch]:
        """Batches from `start` on, without end; `ahead` of them are made or being made. Close it when done."""
        with ThreadPoolExecutor(threads, "batches") as pool:
            waiting: deque[Future[Batch]] = deque()
            step = start
            try:
                while True:
                    while len(waiting) < max(ahead, threads):
                        waiting.append(pool.submit(self.make, step, calm=calm(step)))
                        step += 1
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


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
