"""The kernels of engines/cuda, compiled for the host by g++ and run with blocks and threads in a loop."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engines.cuda.launch import Launch

HERE = Path(__file__).parent

# Each product and sum rounded by itself, as the intrinsics of the device do it; x86-64 without -march has no fused
# operations anyway, but the next machine may be another.
FLAGS = ("-std=c++17", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror")


@functools.cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="vedette-kernels-")


@functools.cache
def compiled(name: str) -> ctypes.CDLL:
    """The library of `{name}.cpp`. Fails the test where there is no compiler: `make debian` installs it."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.fail("g++ is not installed: the tests compile engines/cuda/*.cu with it; `make debian` installs it")
    library = Path(_kept().name) / f"{name}.so"
    command = [compiler, *FLAGS, str(HERE / f"{name}.cpp"), "-o", str(library)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ctypes.CDLL(str(library))


def address(array: npt.NDArray[Any]) -> int:
    return int(array.ctypes.data)


def run(library: ctypes.CDLL, launch: Launch) -> None:
    """Run a kernel over all blocks, in the host's memory."""
    sides = [np.array(side, np.uint32) for side in (launch.grid, launch.block)]
    addresses = [*map(address, sides), *launch.arguments]
    getattr(library, f"host_{launch.kernel}")(*map(ctypes.c_void_p, addresses))


class HostKernels:
    """`engines.cuda.loader.Kernels` of a `.cpp` of this folder: run at once, whatever the stream."""

    def __init__(self, name: str) -> None:
        self._library = compiled(name)
        self.launched: list[str] = []

    def launch(self, launch: Launch, stream: int) -> None:
        del stream
        self.launched.append(launch.kernel)
        run(self._library, launch)
