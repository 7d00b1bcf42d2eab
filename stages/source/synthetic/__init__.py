"""The synthetic camera: a street with people, vehicles and bikes, rendered with the exact truth about each frame.

`options` reads and checks the URL; `traffic` says who is where when; `scene` turns that into shapes, `render` the
shapes into a picture and `truth` into boxes; `source` makes a camera of it. Importing this package brings neither numpy
nor OpenCV; what needs them is imported by name.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from vedette.secrets import SecretUrl

if TYPE_CHECKING:
    from stages.options import StreamOptions
    from stages.source.connection import Connection
    from stages.types import Clock

__all__ = ["open_synthetic"]


def open_synthetic(url: SecretUrl, options: StreamOptions, clock: Clock, stop: threading.Event) -> Connection:
    """Open a synthetic camera. Raises SourceError if its URL is wrong."""
    from stages.source.synthetic.source import SyntheticConnection

    return SyntheticConnection(url, options, clock, stop)
