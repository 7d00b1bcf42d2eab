"""Turns the network's outputs into candidates: boxes above the threshold, before suppression.

In:  Outputs of a completed buffer (views into engine memory) and the index of a picture in it.
Out: Candidates in network-input pixels; the buffer may be released afterwards.
Called from the finish thread; stateless.
"""

from __future__ import annotations

from engines.engine import Outputs
from engines.heads import Candidates, build_head
from engines.spec import ModelSpec


class Detect:
    """`score`: only what the network is at least so sure of becomes a candidate."""

    def __init__(self, spec: ModelSpec, *, score: float) -> None:
        self._head = build_head(spec)
        self._score = score

    def __call__(self, outputs: Outputs, index: int) -> Candidates:
        return self._head.decode(outputs, index, self._score)
