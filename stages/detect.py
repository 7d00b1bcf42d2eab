"""Turns the network's outputs into candidates: boxes above the threshold, before suppression.

In:  Outputs of a completed buffer (views into engine memory) and the index of a picture in it.
Out: Candidates in network-input pixels, or, from an engine that suppresses on its device, the Detections that it left;
     the buffer may be released afterwards.
Called from the finish thread; stateless.
"""

from __future__ import annotations

from engines.cuda.suppression import FOUND_OUTPUT, detections
from engines.engine import Outputs
from engines.heads import Candidates, build_head
from engines.spec import ModelSpec
from engines.types import Detections


class Detect:
    """`score`: only what the network is at least so sure of becomes a candidate."""

    def __init__(self, spec: ModelSpec, *, score: float) -> None:
        self._head = build_head(spec)
        self._score = score

    def __call__(self, outputs: Outputs, index: int) -> Candidates | Detections:
        found = outputs.get(FOUND_OUTPUT)
        if found is not None:
            return detections(found[index : index + 1])[0]
        return self._head.decode(outputs, index, self._score)
