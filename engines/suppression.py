"""From candidates to detections: one box an object, in source pixels.

In:  Candidates in network-input pixels, and the picture's Placement in that input.
Out: Detections in source pixels, clipped to the picture, highest score first.
Called for every frame by `stages/suppress.py`, and by validation; stateless.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.heads import Candidates, build_head
from engines.nms import nms
from engines.options import ModelOptions
from engines.picture import Placement
from engines.spec import ModelSpec
from engines.types import Detections
from vedette.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rules:
    """What stays of a network's boxes; see `leave_best`."""

    score: float
    iou: float | None
    max_objects: int
    wanted: npt.NDArray[np.bool_] | None


def rules_of(spec: ModelSpec, options: ModelOptions) -> Rules:
    """What the configuration says of scores, overlap, number and classes; where it is silent, the model's own.

    Raises ModelError if `options.classes` names one that the model does not have.
    """
    iou = spec.nms_iou if options.nms_iou is None else options.nms_iou
    return Rules(
        score=spec.score if options.score is None else options.score,
        iou=iou if build_head(spec).needs_nms else None,
        max_objects=options.max_objects,
        wanted=None if options.classes is None else _wanted(spec.classes, options.classes),
    )


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
