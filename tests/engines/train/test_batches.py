"""Batches: the same for the same seed and step, whoever makes them; each picture as often as it is weighed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from engines.train.batches import Batch, Batches
from engines.train.geometry import CALM, GeometryOptions
from engines.train.looks import AppearanceOptions
from engines.train.planner import BatchOptions, Deck
from engines.train.sample import Sample
from engines.train.weighing import balanced, class_weights
from tests.engines.train.scenes import square_picture

SIZES = ((96, 64), (64, 64))


def pictures(count: int = 6) -> list[Sample]:
    return [square_picture((100, 80), (10, 10, 40 + index, 50), (255, 20 * index, 0)) for index in range(count)]


def batches(samples: list[Sample] | None = None, *, extra: dict[float, list[Sample]] | None = None) -> Batches:
    options = BatchOptions(
        batch=3,
        sizes=SIZES,
        seed=5,
        classes=3,
        geometry=GeometryOptions(),
        appearance=AppearanceOptions(),
        mixed=tuple(extra or {}),
    )
    samples = pictures() if samples is None else samples
    return Batches(samples, [1.0] * len(samples), options, extra=list((extra or {}).values()))


def equal(one: Batch, other: Batch) -> bool:
    return torch.equal(one.levels, other.levels) and torch.equal(one.targets.boxes, other.targets.boxes)


def test_a_batch_depends_on_its_number_alone() -> None:
    first = [batches().make(step, calm=False) for step in range(5)]
    backwards = batches()
    again = [backwards.make(step, calm=False) for step in reversed(range(5))][::-1]
    assert all(equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0].levels, first[1].levels[: len(first[0].levels)])


def test_threads_change_nothing_and_a_stream_begins_anywhere() -> None:
    expected = [batches().make(step, calm=step > 3) for step in range(6)]
    stream = batches().stream(0, lambda step: step > 3, threads=3)
    assert all(equal(next(stream), one) for one in expected)
    stream.close()
    later = batches().stream(4, lambda step: step > 3, threads=1)
    assert equal(next(later), expected[4])
    later.close()


def test_batches_have_all_sizes() -> None:
    made = batches()
    shapes = {tuple(made.make(step, calm=False).levels.shape[2:]) for step in range(12)}
    assert shapes == {(64, 96), (64, 64)}


def test_an_epoch_shows_each_picture_once() -> None:
    deck = Deck([1.0] * 20, seed=3)
    for epoch in range(3):
        assert sorted(deck.order(epoch).tolist()) == list(range(20))
    assert deck.order(0).tolist() != deck.order(1).tolist()
    assert deck.order(1).tolist() == Deck([1.0] * 20, seed=3).order(1).tolist()


def test_a_picture_is_drawn_as_often_as_it_is_weighed() -> None:
    deck = Deck([1.0] * 9 + [3.0], seed=3)
    drawn = Counter(np.concatenate([deck.order(epoch) for epoch in range(60)]).tolist())
    assert drawn[9] == pytest.approx(60 * 10 * 3 / 12, rel=0.1)
    assert drawn[0] == pytest.approx(60 * 10 / 12, rel=0.25)


def test_further_sets_have_their_shares() -> None:
    red, green, blue = (
        [square_picture((100, 80), (0, 0, 100, 80), colour)] for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    )
    made = batches(red, extra={0.25: blue, 0.1: green})
    calm = torch.cat([made.make(step, calm=True).levels[:, :, 32, 32] for step in range(100)])
    assert float((calm[:, 2] == 255).float().mean()) == pytest.approx(0.25, abs=0.06)
    assert float((calm[:, 1] == 255).float().mean()) == pytest.approx(0.1, abs=0.05)


def test_parts_of_a_batch_are_the_batch() -> None:
    whole = batches().make(3, calm=False)
    parts = whole.parts(2)
    assert [len(part.levels) for part in parts] == [1, 2]
    assert torch.equal(torch.cat([part.levels for part in parts]), whole.levels)
    assert torch.equal(torch.cat([part.targets.boxes for part in parts]), whole.targets.boxes)
    assert len(whole.parts(9)) == 3


def test_calm_pictures_are_what_running_gives_and_their_mirror_images() -> None:
    made = batches(pictures(1))
    calm = torch.cat(
        [batch.levels for step in range(40) if (batch := made.make(step, calm=True)).levels.shape[3] == 96]
    )
    kinds = {picture.numpy().tobytes() for picture in calm}
    assert len(kinds) == 2
    assert CALM.mosaic == 0.0


def test_rare_classes_are_drawn_more_and_cost_more() -> None:
    common = pictures(9)
    rare = replace(common[0], truth=replace(common[0].truth, class_ids=np.array([2], np.int64)))
    samples = [*common, rare]
    factors = balanced(samples, 3)
    assert factors[:9] == [1.0] * 9
    assert 1.0 < factors[9] <= 4.0
    weights = class_weights(samples, 3)
    assert weights[2] > weights[0]
    assert np.mean(weights) == pytest.approx(1.0)
