"""One heap for all threads, and holes in it are given back: what the C library and the kernel themselves say."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipeline.assembly
from tests.support.machine import Running, camera
from tests.support.outlets import eventually

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


_MIB = 1 << 20
_PIECE, _PIECES = 65_536, 1024
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heaps")


@on_linux
@pytest.mark.parametrize("one", [True, False])
def test_threads_share_one_heap(one: bool) -> None:
    said = subprocess.run(
        [sys.executable, "-c", CODE.format(one=one)], check=True, capture_output=True, text=True, timeout=60
    ).stderr

    assert "Arena 0" in said
    assert ("Arena 1" not in said) is one


@contextlib.contextmanager
def holes_in_the_heap() -> Iterator[int]:
    """64 MiB are used in pieces too small to be mapped by themselves, then every other one is freed.

    Gives how many bytes were resident before that was freed.
    """
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    pieces = [libc.malloc(_PIECE) for _ in range(_PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, _PIECE)
    full = resident_bytes()
    for piece in pieces[::2]:
        libc.free(piece)
    yield full
    for piece in pieces[1::2]:
        libc.free(piece)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@on_linux
def test_a_running_machine_gives_the_holes_of_its_heap_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.assembly, "_GIVE_BACK_S", 0.01)
    run = Running(cameras={"cam": camera()}).start()
    run.outlet.wait_frames(1)
    with holes_in_the_heap() as full:
        eventually(lambda: resident_bytes() < full - 24 * _MIB)
    assert run.stop().ledger_problems == []
