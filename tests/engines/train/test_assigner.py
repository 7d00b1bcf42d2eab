"""Which anchors get which object, by hand and by the plain definition."""

from __future__ import annotations

import numpy as np
import torch

from engines.train.assigner import assign
from tests.engines.train.scenes import CLASSES, grid, nothing, targets, truth


def flat(score: float = 0.5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Equal scores everywhere; each anchor's box is a square of four strides around it."""
    points, strides = grid()
    boxes = torch.cat([points - 2 * strides, points + 2 * strides], dim=1)[None]
    return torch.full((1, len(points), CLASSES), score), boxes, points, strides


def test_the_anchor_whose_box_fits_best_gets_the_highest_score() -> None:
    scores, boxes, points, strides = flat()
    # The square of the anchor of stride 8 at (36, 28).
    given = assign(scores, boxes, points, strides, targets(truth([(20.0, 12.0, 52.0, 44.0)], [1])))
    best = int(given.scores[0].argmax())
    assert points[best].tolist() == [36.0, 28.0]
    assert float(given.scores[0, best]) == 1.0
    assert bool(given.positive[0, best])
    assert 1 < int(given.positive.sum()) <= 13


def test_only_anchors_within_the_object_are_taken() -> None:
    scores, boxes, points, strides = flat()
    given = assign(scores, boxes, points, strides, targets(truth([(20.0, 12.0, 52.0, 44.0)], [1])))
    taken = points[given.positive[0]]
    assert (taken > torch.tensor([20.0, 12.0])).all()
    assert (taken < torch.tensor([52.0, 44.0])).all()
    assert (given.scores[0][~given.positive[0]] == 0.0).all()


def test_an_object_too_small_for_any_anchor_takes_the_nearest_of_the_finest() -> None:
    scores, boxes, points, strides = flat()
    given = assign(scores, boxes, points, strides, targets(truth([(29.0, 13.0, 32.0, 16.0)], [1])))
    (row,) = given.positive[0].nonzero()[:, 0].tolist()
    assert points[row].tolist() == [28.0, 12.0]
    assert float(strides[row]) == 8.0


def test_an_anchor_that_two_objects_want_goes_to_the_one_it_overlaps_more() -> None:
    scores, boxes, points, strides = flat()
    two = truth([(20.0, 12.0, 52.0, 44.0), (16.0, 8.0, 60.0, 52.0)], [1, 1])
    given = assign(scores, boxes, points, strides, targets(two))
    best = int(((points == torch.tensor([36.0, 28.0])).all(1) & (strides[:, 0] == 8)).nonzero())
    assert int(given.rows[0, best]) == 0
    coarse = int(((points == torch.tensor([40.0, 24.0])).all(1) & (strides[:, 0] == 16)).nonzero())
    assert int(given.rows[0, coarse]) == 1


def test_surer_anchors_are_preferred() -> None:
    scores, boxes, points, strides = flat(0.1)
    same = ((points[:, 0] - 36).abs() <= 4) & ((points[:, 1] - 28).abs() <= 4) & (strides[:, 0] == 8)
    assert int(same.sum()) == 1
    neighbour = int(((points == torch.tensor([44.0, 28.0])).all(1) & (strides[:, 0] == 8)).nonzero())
    scores[0, neighbour, 1] = 0.99
    boxes[0, neighbour] = torch.tensor([21.0, 12.0, 52.0, 44.0])
    given = assign(scores, boxes, points, strides, targets(truth([(20.0, 12.0, 52.0, 44.0)], [1])))
    assert int(given.scores[0].argmax()) == neighbour


def test_rows_that_only_pad_and_pictures_without_objects_get_nothing() -> None:
    scores, boxes, points, strides = flat()
    two = targets(truth([(20.0, 12.0, 52.0, 44.0)], [1]), truth())
    given = assign(scores.expand(2, -1, -1), boxes.expand(2, -1, -1), points, strides, two)
    assert given.positive[0].any()
    assert not given.positive[1].any()
    none = assign(scores, boxes, points, strides, targets(truth()))
    assert not none.positive.any()


def test_a_network_that_knows_nothing_yet_is_given_anchors_too() -> None:
    logits, _ = nothing()
    _, boxes, points, strides = flat()
    far = boxes + 1000.0
    given = assign(logits.sigmoid(), far, points, strides, targets(truth([(20.0, 12.0, 52.0, 44.0)], [1])))
    assert given.positive.any()


def test_it_is_the_plain_definition() -> None:
    rng = np.random.default_rng(5)
    points, strides = grid()
    for _ in range(20):
        corners = rng.uniform(0, 50, (4, 2))
        objects = np.concatenate([corners, corners + rng.uniform(10, 40, (4, 2))], axis=1)
        ids = rng.integers(0, CLASSES, 4).tolist()
        scores = torch.tensor(rng.uniform(0.01, 1, (1, len(points), CLASSES)), dtype=torch.float32)
        sides = torch.tensor(rng.uniform(0.5, 4, (1, len(points), 4)), dtype=torch.float32) * strides
        boxes = torch.cat([points - sides[..., :2], points + sides[..., 2:]], dim=2)
        given = assign(scores, boxes, points, strides, targets(truth(objects.tolist(), ids)))
        expected = plainly(scores[0].numpy(), boxes[0].numpy(), points.numpy(), objects.astype(np.float32), ids)
        np.testing.assert_allclose(given.scores[0].numpy(), expected, atol=1e-4)


def plainly(
    scores: np.ndarray, boxes: np.ndarray, points: np.ndarray, objects: np.ndarray, ids: list[int]
) -> np.ndarray:
    """The wanted scores of one picture, anchor by anchor."""
    chosen: dict[int, list[tuple[float, int, float]]] = {}
    for row, (box, class_id) in enumerate(zip(objects, ids, strict=True)):
        fits = []
        for anchor, (x, y) in enumerate(points):
            if box[0] < x < box[2] and box[1] < y < box[3]:
                overlap = plain_iou(box, boxes[anchor])
                fits.append((scores[anchor, class_id] * overlap**6, anchor, overlap))
        for fit, anchor, overlap in sorted(fits, reverse=True)[:13]:
            chosen.setdefault(anchor, []).append((overlap, row, fit))
    owners = {anchor: max(wanting, key=lambda one: one[0]) for anchor, wanting in chosen.items()}
    wanted = np.zeros(len(points), np.float32)
    for row in range(len(objects)):
        mine = {anchor: one for anchor, one in owners.items() if one[1] == row}
        most_fit = max((one[2] for one in mine.values()), default=0.0)
        most_overlap = max((one[0] for one in mine.values()), default=0.0)
        for anchor, one in mine.items():
            wanted[anchor] = one[2] / (most_fit + 1e-9) * most_overlap
    return wanted


def plain_iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(width * height / (areas - width * height))
