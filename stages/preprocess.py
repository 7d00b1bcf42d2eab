"""Pre-process: a decoded picture into a slot of the engine's own input buffer.

In:  a picture (the decoder's planes), a buffer, the slot's index.
Out: the buffer's slot, filled, and the Placement that takes boxes back to the source.
Called from the dispatch thread. The definition is `engines/picture.py`'s, shared with calibration and validation.
"""

from __future__ import annotations

import cv2

from engines.engine import Buffer, Place
from engines.picture import PictureWriter, Placement
from engines.spec import ModelSpec
from engines.types import Picture
from vedette.errors import EngineError


class Preprocess:
    """Writes pictures as `spec` wants them; one thread."""

    def __init__(self, spec: ModelSpec) -> None:
        # OpenCV would start threads of its own, one a core, and share pictures of half a millisecond out among them;
        # the cores are the decoders' and the engine's. It is one setting for the whole process.
        cv2.setNumThreads(1)
        self._writer = PictureWriter(spec.input)

    def write(self, picture: Picture, buffer: Buffer, index: int) -> Placement:
        """Fill slot `index` of the buffer. Raises PictureError for a picture that cannot be converted."""
        if buffer.place is not Place.HOST:
            msg = f"pictures in host memory cannot be written to a buffer on the {buffer.place.value}"
            raise EngineError(msg)
        return self._writer.write(picture, buffer.array, index)
