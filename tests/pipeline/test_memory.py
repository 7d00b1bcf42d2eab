"""One heap for all threads: what the C library itself says."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import ctypes, threading
from pipeline.memory import use_one_heap

if {one}:
    use_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(4)

def allocate():
    together.wait()
    libc.malloc(5000)
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_stats()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heaps")
@pytest.mark.parametrize("one", [True, False])
def test_threads_share_one_heap(one: bool) -> None:
    said = subprocess.run(
        [sys.executable, "-c", CODE.format(one=one)], check=True, capture_output=True, text=True, timeout=60
    ).stderr

    assert "Arena 0" in said
    assert ("Arena 1" not in said) is one
