"""One picture on the running way, with what each stage made of it kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.engine import Engine, Place
from engines.heads import Candidates, build_head
from engines.picture import PictureWriter, Placement
from engines.spec import InputSpec, ModelSpec
from engines.suppression import leave_best
from engines.types import Detections, Picture
from vedette.errors import EngineError

F64 = npt.NDArray[np.float64]

MOST = 300
"""Boxes of one picture, as the configuration's `max_objects` is by default."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What became of one picture at each stage.

    `values` (3, H, W) are the network's input as numbers, also where the engine takes bytes and makes them itself;
    `outputs` have the batch of 1 first. Nothing of the engine's memory is in it.
    """

    spec: ModelSpec
    values: F64
    placement: Placement
    outputs: Mapping[str, npt.NDArray[Any]]
    candidates: Candidates

    def detections(self, score: float) -> Detections:
        """What the running path shows at this threshold."""
        head = build_head(self.spec)
        return leave_best(
            head.decode(self.outputs, 0, score),
            self.placement,
            score=score,
            iou=self.spec.nms_iou if head.needs_nms else None,
            max_objects=MOST,
        )


def run(engine: Engine, picture: Picture, *, takes_bytes: bool) -> Run:
    """One picture through an engine; `takes_bytes` if the model itself does, not only the engine's buffer.

    Raises PictureError, EngineError.
    """
    spec = engine.spec
    buffer = engine.acquire()
    if buffer is None:
        msg = "the engine is closed"
        raise EngineError(msg)
    try:
        if buffer.place is not Place.HOST:
            msg = f"pictures in host memory cannot be written to a buffer on the {buffer.place.value}"
            raise EngineError(msg)
        placement = PictureWriter(spec.input).write(picture, buffer.array, 0)
        filled = buffer.array[0].astype(np.float64)
        values = filled if takes_bytes or buffer.array.dtype != np.uint8 else to_values(filled, spec.input)
        engine.submit(buffer, 1)
        completion = engine.completed()
        if completion is None or completion.outputs is None:
            msg = "the engine gave no result"
            raise EngineError(msg) from (None if completion is None else completion.error)
        outputs = {name: output[:1].copy() for name, output in completion.outputs.items()}
    finally:
        engine.release(buffer)
    candidates = build_head(spec).decode(outputs, 0, spec.score)
    return Run(spec=spec, values=values, placement=placement, outputs=outputs, candidates=candidates)


def to_values(levels: F64, spec: InputSpec) -> F64:
    """Levels (3, H, W), already in the input's order of channels, as the network's values."""
    values: F64 = (levels * spec.scale - _channels(spec.mean)) / _channels(spec.std)
    return values


def to_levels(values: F64, spec: InputSpec) -> F64:
    """The other way round."""
    levels: F64 = (values * _channels(spec.std) + _channels(spec.mean)) / spec.scale
    return levels


def _channels(three: tuple[float, float, float]) -> F64:
    return np.array(three).reshape(3, 1, 1)
