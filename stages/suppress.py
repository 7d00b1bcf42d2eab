"""Leaves one box an object and says where it is in the source picture.

In:  Candidates in network-input pixels, and the picture's Placement in that input.
Out: Detections in source pixels, clipped to the picture, of the wanted classes, highest score first.
Called from the finish thread; stateless.
"""

from __future__ import annotations

import difflib

import numpy as np

from engines.heads import Candidates, build_head
from engines.nms import nms
from engines.options import ModelOptions
from engines.picture import Placement
from engines.spec import ModelSpec
from engines.types import Detections
from vedette.errors import ModelError


class Suppress:
    """What the configuration says of scores, overlap, number and classes; where it is silent, the model's own."""

    def __init__(self, spec: ModelSpec, options: ModelOptions) -> None:
        """Raises ModelError if `options.classes` names one that the model does not have."""
        self.score = spec.score if options.score is None else options.score
        self._iou = spec.nms_iou if options.nms_iou is None else options.nms_iou
        self._max_objects = options.max_objects
        self._needs_nms = build_head(spec).needs_nms
        self._wanted = None if options.classes is None else _wanted(spec.classes, options.classes)

    def __call__(self, candidates: Candidates, placement: Placement) -> Detections:
        if not len(candidates):
            return Detections.empty()
        # Boxes in the padding or wholly outside have no area in the picture; they must not use up `max_objects`.
        xyxy_px = placement.to_source(candidates.xyxy_px)
        stays = (xyxy_px[:, 2] > xyxy_px[:, 0]) & (xyxy_px[:, 3] > xyxy_px[:, 1]) & (candidates.scores >= self.score)
        if self._wanted is not None:
            stays &= self._wanted[candidates.class_ids]
        rows = np.flatnonzero(stays)
        scores, class_ids = candidates.scores[rows], candidates.class_ids[rows]
        if self._needs_nms:
            # Before clipping, as the models' own accuracy is measured.
            best = nms(candidates.xyxy_px[rows], scores, class_ids, self._iou, self._max_objects)
        else:
            best = np.argsort(-scores, kind="stable")[: self._max_objects]
        return Detections(xyxy_px=xyxy_px[rows[best]], scores=scores[best], class_ids=class_ids[best])


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
