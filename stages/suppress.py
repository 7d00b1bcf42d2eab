"""Leaves one box an object and says where it is in the source picture.

In:  what `stages/detect.py` made of a picture's outputs, and the picture's Placement in the network's input.
Out: Detections in source pixels, clipped to the picture, of the wanted classes, highest score first.
Called from the finish thread; stateless. The definition is `engines/suppression.py`'s, shared with validation.
"""

from __future__ import annotations

from engines.heads import Candidates
from engines.options import ModelOptions
from engines.picture import Placement
from engines.spec import ModelSpec
from engines.suppression import leave_best, rules_of
from engines.types import Detections


class Suppress:
    """What the configuration says of scores, overlap, number and classes; where it is silent, the model's own."""

    def __init__(self, spec: ModelSpec, options: ModelOptions) -> None:
        """Raises ModelError if `options.classes` names one that the model does not have."""
        self._rules = rules_of(spec, options)
        self.score = self._rules.score

    def __call__(self, found: Candidates | Detections, placement: Placement) -> Detections:
        if isinstance(found, Detections):  # the engine has done it, by the same rules
            return found
        rules = self._rules
        return leave_best(
            found,
            placement,
            score=rules.score,
            iou=rules.iou,
            max_objects=rules.max_objects,
            wanted=rules.wanted,
        )
