"""One heap for all threads, so that resident memory stays what it is.

glibc gives each thread a heap ("arena") of its own. With a thread a camera, each allocating packets of changing size,
every heap keeps growing towards its own worst moment: 20 RTSP cameras took 0.3 MiB more every 10 s, for minutes, and
with one heap 0.05. What allocates much here (decoders, numpy, the engine) pools or is large, so that the one lock costs
nothing that could be measured.
"""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # glibc, malloc.h


def use_one_heap() -> None:
    """Ask the C library for one heap; before threads are started. Does nothing where it is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_ARENA_MAX, 1)
