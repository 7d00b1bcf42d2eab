"""Outputs to candidates; each head has its own tests in tests/engines."""

from __future__ import annotations

import numpy as np

from stages.detect import Detect
from tests.support.specs import small_spec


def test_detect_gives_what_the_specs_head_finds_above_the_score() -> None:
    outputs = {"boxes": np.zeros((1, 84, 4), np.float32), "scores": np.zeros((1, 84, 2), np.float32)}
    outputs["boxes"][0, 5:8] = [1, 2, 3, 4]
    outputs["scores"][0, 5:8, 1] = [0.49, 0.5, 0.51]

    found = Detect(small_spec("yolo_nas"), score=0.5)(outputs, 0)

    assert found.xyxy_px.tolist() == [[1, 2, 3, 4], [1, 2, 3, 4]]
    assert found.class_ids.tolist() == [1, 1]
