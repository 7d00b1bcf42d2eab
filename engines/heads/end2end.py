"""Networks that leave one box an object themselves (YOLO26, YOLOv10): one array (batch, K, 6).

Columns: x1, y1, x2, y2 in input pixels, score, class. Rows that are not needed are zero.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from engines.engine import Outputs
from engines.heads.candidates import Candidates
from engines.heads.head import Shape, check_outputs, sole_output
from engines.spec import ModelSpec

logger = logging.getLogger(__name__)


class End2EndHead:
    needs_nms = False

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    def check(self, shapes: Mapping[str, Shape]) -> None:
        check_outputs(self._spec, shapes, {"": (-1, -1, 6)})

    def decode(self, outputs: Outputs, index: int, score: float) -> Candidates:
        raw = sole_output(outputs, index)
        # A row of padding is not an object of score 0, so > 0 even if the threshold is 0.
        found = raw[(raw[:, 4] >= score) & (raw[:, 4] > 0.0)]
        found = found[np.isfinite(found[:, 5])]
        known = (found[:, 5] >= 0.0) & (found[:, 5] < len(self._spec.classes))
        if not known.all():
            # The shape of the output does not tell how many classes there are, so a spec with too few shows here only.
            other = found[~known, 5].max()
            logger.warning(
                "model %s gave class %g, but its spec names %d", self._spec.name, other, len(self._spec.classes)
            )
            found = found[known]
        return Candidates.of(found[:, :4].copy(), found[:, 4], found[:, 5].astype(np.int32))
