"""What turns `*.cu` into machine code for one GPU: pycuda's compiler (nvcc) where it is, else NVRTC by cuda-bindings.

In:  a kernel file of this folder. Out: a cubin, which `loader.py` loads. Neither needs a GPU to compile.
Both come with the extra `gpu`; pycuda is preferred only with nvcc beside it, since it calls that, and what nvcc refuses
NVRTC is asked for. Whatever compiled it, a kernel is loaded and started in one way (`loader.py`), on streams and memory
that torch owns: pycuda has no way to start a kernel on a stream that it did not make, which is why `SourceModule` is
not used as a whole.
"""

from __future__ import annotations

import importlib
import logging
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from vedette.errors import EngineError, MissingExtraError

logger = logging.getLogger(__name__)

HINT = "pip install 'vedette[gpu]'"

Capability = tuple[int, int]
"""Compute capability, (9, 0) for sm_90."""


class Compiler(Protocol):
    @property
    def name(self) -> str: ...

    def compile(self, source: Path, capability: Capability, flags: Sequence[str] = ()) -> bytes:
        """The cubin of a file. Raises EngineError with the compiler's first words."""
        ...


class Nvcc:
    """pycuda.compiler, which keeps what it compiled and compiles nothing twice. Raises MissingExtraError."""

    def __init__(self) -> None:
        self._compiler = _imported("pycuda.compiler")
        self.name = "pycuda"

    def compile(self, source: Path, capability: Capability, flags: Sequence[str] = ()) -> bytes:
        text = source.read_text(encoding="utf-8")
        options = ["-std=c++17", *flags]
        try:
            image: bytes = self._compiler.compile(
                text, options=options, no_extern_c=True, arch=f"sm_{_digits(capability)}"
            )
        except Exception as error:
            if type(error).__module__.split(".")[0] not in {"pycuda", "pytools"}:
                raise
            said = getattr(error, "stderr", None) or str(error)
            raise _failed(source, "nvcc", str(said)) from error
        return image


class NvccElseNvrtc:
    """nvcc, and for what it refuses NVRTC, if that is there: an old toolkit on PATH does not know a new GPU's sm.

    Raises MissingExtraError where pycuda cannot be imported.
    """

    def __init__(self) -> None:
        self._first = Nvcc()
        self.name = self._first.name

    def compile(self, source: Path, capability: Capability, flags: Sequence[str] = ()) -> bytes:
        try:
            return self._first.compile(source, capability, flags)
        except EngineError as error:
            if not _there("cuda.bindings"):
                raise
            try:
                image = Nvrtc().compile(source, capability, flags)
            except (EngineError, MissingExtraError) as other:
                msg = f"{error.message}; {other.message}"
                raise EngineError(msg) from error
            logger.warning("%s; NVRTC compiled it", error.message)
            return image


class Nvrtc:
    """NVRTC through cuda-bindings: a library, no toolkit needed. Raises MissingExtraError."""

    def __init__(self) -> None:
        self._nvrtc = _imported("cuda.bindings.nvrtc")
        try:
            major, minor = self._checked(self._nvrtc.nvrtcVersion())
        except RuntimeError as error:  # cuda-bindings found no library; what it raises derives from this
            msg = f"cuda-bindings finds no NVRTC: {str(error).splitlines()[0]}"
            raise MissingExtraError(msg, hint=f"{HINT}, or pip install nvidia-cuda-nvrtc") from error
        self.name = f"NVRTC {major}.{minor}"

    def compile(self, source: Path, capability: Capability, flags: Sequence[str] = ()) -> bytes:
        nvrtc = self._nvrtc
        text = source.read_bytes()
        program = self._checked(nvrtc.nvrtcCreateProgram(text, source.name.encode(), 0, [], []))
        options = [f"--gpu-architecture=sm_{_digits(capability)}", "--std=c++17", *flags]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        try:
            if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
                log = bytearray(self._checked(nvrtc.nvrtcGetProgramLogSize(program)))
                self._checked(nvrtc.nvrtcGetProgramLog(program, log))
                raise _failed(source, self.name, log.decode(errors="replace").strip("\0") or str(status))
            image = bytearray(self._checked(nvrtc.nvrtcGetCUBINSize(program)))
            self._checked(nvrtc.nvrtcGetCUBIN(program, image))
        finally:
            nvrtc.nvrtcDestroyProgram(program)
        return bytes(image)

    def _checked(self, answer: Sequence[Any]) -> Any:
        """What a call of NVRTC gave beside its status. Raises EngineError."""
        status, *values = answer
        if status != self._nvrtc.nvrtcResult.NVRTC_SUCCESS:
            msg = f"NVRTC failed: {status}"
            raise EngineError(msg)
        return values[0] if len(values) == 1 else values


def find_compiler() -> Compiler:
    """The one that is there. Raises MissingExtraError if none is."""
    if _there("pycuda") and shutil.which("nvcc") is not None:
        return NvccElseNvrtc()
    if _there("cuda.bindings"):
        return Nvrtc()
    msg = "the kernels of engines/cuda need pycuda with nvcc, or cuda-bindings, to be compiled; neither is installed"
    raise MissingExtraError(msg, hint=HINT)


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it lies in
        return False


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        msg = f"{module.partition('.')[0]} cannot be imported: {error}"
        raise MissingExtraError(msg, hint=HINT) from error


def _digits(capability: Capability) -> str:
    return f"{capability[0]}{capability[1]}"


def _failed(source: Path, compiler: str, said: str) -> EngineError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    first = next((line for line in lines if "error" in line), lines[0] if lines else "it did not say why")
    return EngineError(f"{source.name} does not compile with {compiler}: {first}")
