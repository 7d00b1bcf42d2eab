"""Leaves one box an object and says where it is in the source picture.

In:  Candidates in network-input pixels, and the picture's Placement in that input.
Out: Detections in source pixels, clipped to the picture, of the wanted classes, highest score first.
Called from the finish thread; stateless. The definition is `engines/suppression.py`'s, shared with validation.
"""

from __future__ import annotations

import difflib

import numpy as np

from engines.heads import Candidates, build_head
from engines.options import ModelOptions
from engines.picture import Placement
from engines.spec import ModelSpec
from engines.suppression import leave_best
from engines.types import Detections
from vedette.errors import ModelError


class Suppress:
    """What the configuration says of scores, overlap, number and classes; where it is silent, the model's own."""

    def __init__(self, spec: ModelSpec, options: ModelOptions) -> None:
        """Raises ModelError if `options.classes` names one that the model does not have."""
        self.score = spec.score if options.score is None else options.score
        iou = spec.nms_iou if options.nms_iou is None else options.nms_iou
        self._iou = iou if build_head(spec).needs_nms else None
        self._max_objects = options.max_objects
        self._wanted = None if options.classes is None else _wanted(spec.classes, options.classes)

    def __call__(self, candidates: Candidates, placement: Placement) -> Detections:
        return leave_best(
            candidates,
            placement,
            score=self.score,
            iou=self._iou,
            max_objects=self._max_objects,
            wanted=self._wanted,
        )


def _wanted(known: tuple[str, ...], names: tuple[str, ...]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """By class id, whether it is one of `names`. Raises ModelError naming every one that is unknown."""
    problems = []
    for index, name in enumerate(names):
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            problems.append(
                f"model.classes[{index}]: expected one of the model's classes, got {name!r}"
                + (f", did you mean {near[0]!r}?" if near else "")
            )
    if problems:
        shown = ", ".join(known[:12]) + (f", … ({len(known)} in all)" if len(known) > 12 else "")
        msg = "; ".join(problems)
        raise ModelError(msg, hint=f"the model's classes: {shown}")
    return np.array([name in names for name in known])
