"""From candidates to detections: one box an object, in source pixels.

In:  Candidates in network-input pixels, and the picture's Placement in that input.
Out: Detections in source pixels, clipped to the picture, highest score first.
Called for every frame by `stages/suppress.py`, and by validation; stateless.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.heads import Candidates
from engines.nms import nms
from engines.picture import Placement
from engines.types import Detections


def leave_best(
    candidates: Candidates,
    placement: Placement,
    *,
    score: float,
    iou: float | None,
    max_objects: int,
    wanted: npt.NDArray[np.bool_] | None = None,
) -> Detections:
    """At most `max_objects` detections of at least `score`.

    `iou` None is for networks that leave one box an object themselves; `wanted` says by class id what may stay.
    """
    if not len(candidates):
        return Detections.empty()
    boxes, scores, class_ids = candidates.xyxy_px, candidates.scores, candidates.class_ids
    # Boxes in the padding or wholly outside have no area in the picture; they must not use up `max_objects`.
    xyxy_px = placement.to_source(boxes)
    stays = (xyxy_px[:, 2:] > xyxy_px[:, :2]).all(axis=1)
    stays &= scores >= score
    if wanted is not None:
        stays &= wanted[class_ids]
    if not stays.all():
        xyxy_px, boxes, scores, class_ids = xyxy_px[stays], boxes[stays], scores[stays], class_ids[stays]
    if iou is None:
        best = np.argsort(-scores, kind="stable")[:max_objects]
    else:
        # Before clipping, as the models' own accuracy is measured.
        best = nms(boxes, scores, class_ids, iou, max_objects)
    return Detections(xyxy_px=xyxy_px[best], scores=scores[best], class_ids=class_ids[best])
