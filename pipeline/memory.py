"""Keeps resident memory what it is: one heap for all threads, large pieces outside it, and a garbage collector that
looks at little.

glibc gives each thread a heap ("arena") of its own. With a thread a camera, each allocating packets of changing size,
every heap keeps growing towards its own worst moment: 20 RTSP cameras took 0.3 MiB more every 10 s, for minutes, and
with one heap 0.05. What allocates much here (decoders, numpy, the engine) pools or is large, so that the one lock costs
nothing that could be measured. A large piece is mapped by itself, and unmapped when it is freed; glibc would stop doing
so after the first, and small pieces would then settle in the holes that large ones leave.

What is smaller leaves holes, too. Each time that more is under way at once than ever before (a camera comes back while
Redis is away and the disk is full) the heap grows by that, and what is freed then lies between pieces that stay: under
faults for hours no more was in use, but more and more was resident. Holes as large as a page are given back now and
then.
"""

from __future__ import annotations

import ctypes
import functools
import gc
from collections.abc import Callable

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # glibc, malloc.h
_LARGE = 128 * 1024


def use_one_heap() -> None:
    """Ask the C library for one heap; before threads are started. Does nothing where it is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Give the pages of freed pieces back to the system; for half a millisecond nobody else can allocate."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None


def forget_the_start() -> None:
    """Take everything made so far out of the garbage collector's sight; after the parts are built, before they run.

    A full collection waits until a quarter of all objects it knows are new, and stops every thread for as long as it
    looks at all of them. Most are modules, which never go away: without them it is short, and cycles (of HTTP requests,
    say) go away when they are few.
    """
    gc.collect()
    gc.freeze()
