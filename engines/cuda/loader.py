"""Kernels on the GPU: one loader for whatever compiled them.

In:  a `*.cu` of this folder, and the GPU's compute capability; Launch values, and a stream's handle as an int
     (`torch.cuda.Stream().cuda_stream`). The device's primary context must be current in the calling thread: it is
     once torch has used the device there, and torch, TensorRT and pycuda's autoprimaryctx share it.
Source: CUDA driver API (cuModuleLoadData, cuModuleGetFunction, cuLaunchKernel), by ctypes as in runtimes/gpus.py.
Could not be run where it was written (no GPU): see tests/gpu.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from engines.cuda.compilers import Capability, Compiler, find_compiler
from engines.cuda.launch import Launch
from vedette.errors import EngineError

HERE = Path(__file__).parent


class Kernels(Protocol):
    """A file's kernels, loaded; started on a stream, in order, without waiting."""

    def launch(self, launch: Launch, stream: int) -> None:
        """Start one kernel. Raises EngineError for a name that there is not, or if the device refuses."""
        ...


class CudaKernels:
    """A cubin in the current context; stays loaded as long as the context lives."""

    def __init__(self, image: bytes) -> None:
        self._driver = _driver()
        self._module = ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(self._module), image)
        self._functions: dict[str, ctypes.c_void_p] = {}

    def launch(self, launch: Launch, stream: int) -> None:
        function = self._functions.get(launch.kernel)
        if function is None:
            function = ctypes.c_void_p()
            self._call("cuModuleGetFunction", ctypes.byref(function), self._module, launch.kernel.encode())
            self._functions[launch.kernel] = function
        # The driver copies the arguments before it returns; it is given the address of each.
        values = [ctypes.c_uint64(argument) for argument in launch.arguments]
        places = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        sides = [ctypes.c_uint(side) for side in (*launch.grid, *launch.block)]
        self._call("cuLaunchKernel", function, *sides, ctypes.c_uint(0), ctypes.c_void_p(stream), places, None)

    def _call(self, name: str, *arguments: object) -> None:
        """Raises EngineError with CUDA's own name of what went wrong."""
        status = getattr(self._driver, name)(*arguments)
        if status != 0:
            said = ctypes.c_char_p()
            self._driver.cuGetErrorName(status, ctypes.byref(said))
            why = said.value.decode() if said.value else f"status {status}"
            msg = f"{name} failed: {why}"
            raise EngineError(msg, hint="the GPU must be in use by torch in this thread, and the memory be its own")


def load_kernels(
    name: str, capability: Capability, *, flags: Sequence[str] = (), compiler: Compiler | None = None
) -> Kernels:
    """The kernels of `{name}.cu`. Raises MissingExtraError without a compiler, EngineError without a driver."""
    chosen = compiler or find_compiler()
    return CudaKernels(chosen.compile(HERE / f"{name}.cu", capability, flags))


def _driver() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        msg = f"there is no NVIDIA driver to run kernels: {error}"
        raise EngineError(msg, hint="model.backend: openvino or onnxruntime run without a GPU") from error
