"""The synthetic camera as a source: frames of a scene, paced as a camera's or as fast as they are wanted.

Out: `Decoded` pictures, as `stages.source.connection` promises. Runs in the stream's own thread. A live one renders
only what is due: frames whose time has passed are skipped, as a camera's shutter does not wait for its reader.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction

from stages.options import StreamOptions
from stages.source.connection import ConnectionInfo, Decoded, Trouble
from stages.source.synthetic.options import parse_synthetic
from stages.source.synthetic.render import Renderer
from stages.source.synthetic.scene import Scene
from stages.types import Clock, Reason
from vedette.errors import ConfigError, SourceError
from vedette.secrets import SecretUrl, scrub


class SyntheticConnection:
    """One synthetic camera; with `seconds=` it ends, else it films for ever."""

    def __init__(self, url: SecretUrl, options: StreamOptions, clock: Clock, stop: threading.Event) -> None:
        try:
            self._synthetic = parse_synthetic(url.reveal())
        except ConfigError as error:
            raise SourceError(scrub(str(error), url), reason=Reason.NOT_FOUND.value, fatal=True) from error
        self._lossless = options.is_file
        self._clock = clock
        self._stop = stop
        self._renderer: Renderer | None = Renderer(Scene(self._synthetic))
        self.info = ConnectionInfo(
            codec="synthetic",
            size_wh=self._synthetic.size_wh,
            fps=self._synthetic.fps,
            duration_s=self._synthetic.seconds,
            finite=self._synthetic.seconds is not None,
        )

    def pictures(self) -> Iterator[Decoded | Trouble]:
        """Yield one picture after the other; the number of the frame is its time stamp."""
        total = self._synthetic.frames
        time_base = 1 / Fraction(self._synthetic.fps).limit_denominator(1001)
        start_ns = self._clock.mono_ns()
        frame = 0
        while (total is None or frame < total) and not self._stop.is_set():
            if not self._lossless:
                due_ns = start_ns + int(frame * time_base * 1_000_000_000)
                wait_ns = due_ns - self._clock.mono_ns()
                if wait_ns > 0 and self._clock.wait(self._stop, wait_ns / 1e9):
                    return
                # late: what is missed is missed
                frame = max(frame, int((self._clock.mono_ns() - start_ns) / (1_000_000_000 * time_base)))
                if total is not None and frame >= total:
                    return
            renderer = self._renderer
            if renderer is None:
                return
            mono_ns = self._clock.mono_ns()
            picture = renderer.render(frame)
            yield Decoded(
                pts=frame,
                time_base=time_base,
                mono_ns=mono_ns,
                decoded_ns=self._clock.mono_ns(),
                picture=picture,
            )
            frame += 1

    def close(self) -> None:
        self._renderer = None
