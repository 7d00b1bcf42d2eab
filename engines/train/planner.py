"""What is in each batch, decided with numbers alone: which pictures, where they lie, what they look like.

Batch `step` depends on the seed and `step` alone, not on threads or on what came before: that is what makes resuming
exact. Who makes the pictures of a plan (`batches` on the host, `device_batches`) draws no number of its own. No torch
here: processes that plan ahead start quickly without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.train.geometry import GeometryOptions, Layout, compose, letterbox
from engines.train.looks import AppearanceOptions, Looks, draw
from engines.train.sample import Known, Truth
from engines.types import SizeWH


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PicturePlan:
    """`rows`: of the source of each tile, in the first set and the further ones after each other."""

    rows: tuple[int, ...]
    layout: Layout
    looks: Looks


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchPlan:
    size_wh: SizeWH
    pictures: tuple[PicturePlan, ...]

    @property
    def truths(self) -> list[Truth]:
        return [one.layout.truth for one in self.pictures]


class Deck:
    """Pictures in a shuffled order, again and again, each as often as it is weighed."""

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        self._edges = np.cumsum(np.asarray(weights, np.float64) / np.sum(weights))
        self._seed = seed

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


class Planner:
    """May be asked by any number of threads at once."""

    def __init__(
        self,
        known: Sequence[Known],
        weights: Sequence[float],
        options: BatchOptions,
        *,
        extra: Sequence[Sequence[Known]] = (),
    ) -> None:
        """`weights`: how often each of `known` is drawn; `extra`: further sets, each with its share in `mixed`."""
        self._sets = (known, *extra)
        self._firsts = np.cumsum([0, *(len(one) for one in self._sets)]).tolist()
        self._edges = np.cumsum(options.mixed)
        self._deck = Deck(weights, options.seed)
        self._orders: dict[int, npt.NDArray[np.int64]] = {}
        self.options = options

    @property
    def steps_per_epoch(self) -> int:
        return max(1, -(-len(self._sets[0]) // self.options.batch))

    def plan(self, step: int, *, calm: bool) -> BatchPlan:
        """Batch number `step`; `calm`: pictures as running gives them, but for a mirror."""
        options = self.options
        rng = np.random.default_rng((options.seed, 2, step))
        size_wh = options.sizes[int(rng.integers(len(options.sizes)))]
        pictures = tuple(
            self._picture(step * options.batch + place, size_wh, rng, calm=calm) for place in range(options.batch)
        )
        return BatchPlan(size_wh=size_wh, pictures=pictures)

    def _picture(self, draw_number: int, size_wh: SizeWH, rng: np.random.Generator, *, calm: bool) -> PicturePlan:
        geometry = self.options.geometry
        which, row = self._drawn(rng, draw_number)
        known, rows = [self._sets[which][row]], [self._firsts[which] + row]
        if calm:
            layout = letterbox(known[0], size_wh, flip=bool(rng.random() < geometry.flip))
            return PicturePlan(rows=tuple(rows), layout=layout, looks=Looks())
        if rng.random() < geometry.mosaic:
            for _ in range(3):
                which, row = self._drawn(rng)
                known.append(self._sets[which][row])
                rows.append(self._firsts[which] + row)
        layout = compose(known, size_wh, geometry, rng)
        return PicturePlan(rows=tuple(rows), layout=layout, looks=draw(self.options.appearance, rng))

    def _drawn(self, rng: np.random.Generator, number: int | None = None) -> tuple[int, int]:
        """Which set, and which of its pictures."""
        if len(self._sets) > 1:
            which = int(np.searchsorted(self._edges, rng.random(), side="right"))
            if which < len(self._edges):
                return which + 1, int(rng.integers(len(self._sets[which + 1])))
        if number is None:
            return 0, self._deck.any(rng)
        epoch, place = divmod(number, len(self._deck))
        order = self._orders.get(epoch)
        if order is None:
            # Whichever thread comes first; others may make the same once more.
            order = self._orders[epoch] = self._deck.order(epoch)
            self._orders.pop(epoch - 2, None)
        return 0, int(order[place])
