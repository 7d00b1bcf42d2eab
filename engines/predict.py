"""One picture at a time through an engine: what a single prediction needs, without threads.

In:  pictures in host memory. Out: the network's candidates and where the picture lay in its input.
Called by `vedette.Model`; the running pipeline keeps several buffers in flight instead.
"""

from __future__ import annotations

from engines.engine import Engine, Place
from engines.heads import Candidates, Labels, build_head
from engines.picture import PictureWriter, Placement
from engines.types import Picture, RgbPicture
from vedette.errors import EngineError


class OneByOne:
    """Runs single pictures; one thread. The engine is the caller's to close."""

    def __init__(self, engine: Engine, *, score: float, labels: Labels = "best") -> None:
        self._engine = engine
        self._writer = PictureWriter(engine.spec.input)
        self._head = build_head(engine.spec, labels=labels)
        self._score = score

    def __call__(self, picture: Picture | RgbPicture) -> tuple[Candidates, Placement]:
        """The candidates of one picture that score at least `score`, in network-input pixels.

        Raises PictureError for a picture that cannot be converted, EngineError.
        """
        buffer = self._engine.acquire()
        if buffer is None:
            msg = "the engine is closed"
            raise EngineError(msg)
        try:
            if buffer.place is not Place.HOST:
                msg = f"pictures in host memory cannot be written to a buffer on the {buffer.place.value}"
                raise EngineError(msg)
            placement = self._writer.write(picture, buffer.array, 0)
            self._engine.submit(buffer, 1)
            completion = self._engine.completed()
            if completion is None or completion.outputs is None:
                msg = "the engine gave no result"
                raise EngineError(msg) from (None if completion is None else completion.error)
            return self._head.decode(completion.outputs, 0, self._score), placement
        finally:
            self._engine.release(buffer)
