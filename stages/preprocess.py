"""Pre-process: a decoded picture into a slot of the engine's own input buffer.

In:  a picture (the decoder's planes), a buffer, the slot's index.
Out: the buffer's slot, filled, and the Placement that takes boxes back to the source. A picture that lies on the device
     is only noted in a buffer that lies there, too: the engine fetches the whole batch at once (`engines/cuda`).
Called from the dispatch thread. The definition is `engines/picture.py`'s, shared with calibration and validation.
"""

from __future__ import annotations

import cv2

from engines.cuda.surfaces import SurfacePicture
from engines.engine import Buffer, Place, SurfaceBuffer
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
        if buffer.place is Place.HOST:
            return self._writer.write(picture, buffer.array, index)
        if not isinstance(buffer, SurfaceBuffer):
            msg = f"pictures in host memory cannot be written to a buffer on the {buffer.place.value}"
            raise EngineError(msg)
        if isinstance(picture, SurfacePicture):
            return buffer.put(index, picture.surface())
        placement = self._writer.write(picture, buffer.array, index)
        buffer.written(index, placement)
        return placement
