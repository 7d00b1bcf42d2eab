"""TensorRT 10, 11 or TensorRT-RTX: the same Python interface under two package names.

TensorRT is preferred; RTX serves where it alone is installed, on the GPUs that it knows. What differs is asked of the
module itself, never of its version: strong typing is asked for in all (10 needs the flag, 11 and RTX have nothing
else), precision comes from the ONNX file alone (11 has no other way), a target other than the GPU at hand and the
absence of a timing cache are RTX's.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from engines.runtimes.gpus import Gpu
from vedette.errors import EngineError, MissingExtraError

logger = logging.getLogger(__name__)

PACKAGES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}

Progress = Callable[[str, int, int], None]
"""Called while an engine is built: what is done now, steps done, steps in all. Raising stops nothing."""

_OLDEST = (7, 5)
"""What TensorRT 10 and 11 run on: Turing or younger (their support matrix)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorRt:
    """A TensorRT that can be imported: `module`, what it calls itself, and its version."""

    module: Any
    flavour: str
    version: str

    @property
    def name(self) -> str:
        return f"{self.flavour} {self.version}"

    @property
    def builds_for_others(self) -> bool:
        """Whether an engine may be built for another GPU than the one at hand, or without any."""
        return hasattr(self.module, "ComputeCapability")

    def target(self, capability: tuple[int, int]) -> Any:
        """RTX's name for a compute capability. Raises EngineError if it has none."""
        found = getattr(self.module.ComputeCapability, f"SM{capability[0]}{capability[1]}", None)
        if found is None:
            known = sorted(name for name in dir(self.module.ComputeCapability) if name[:2] == "SM")
            msg = (
                f"{self.name} does not build for sm_{capability[0]}{capability[1]}, expected one of {', '.join(known)}"
            )
            raise EngineError(msg)
        return found

    def runs_on(self, gpu: Gpu) -> bool:
        if self.builds_for_others:
            return hasattr(self.module.ComputeCapability, f"SM{gpu.capability[0]}{gpu.capability[1]}")
        return gpu.capability >= _OLDEST


def installed() -> tuple[str, ...]:
    """The packages that are there, the preferred one first; nothing is imported."""
    return tuple(package for package in PACKAGES if find_spec(package) is not None)


def load(package: str | None = None) -> TensorRt:
    """Import TensorRT: `package`, or the first of those that there are which can be imported.

    Raises MissingExtraError, EngineError: of several that cannot be imported, what is wrong with the first.
    """
    first: EngineError | MissingExtraError | None = None
    for name in installed() if package is None else (package,):
        try:
            return _imported(name)
        except (EngineError, MissingExtraError) as error:
            first = first or error
    if first is not None:
        raise first
    msg = "model.backend: tensorrt is not installed"
    raise MissingExtraError(msg, hint="pip install 'vedette[gpu]'")


def _imported(package: str) -> TensorRt:
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        msg = f"{package} cannot be imported: it needs {error.name}"
        raise MissingExtraError(msg, hint="pip install 'vedette[gpu]'") from error
    except (ImportError, OSError, RuntimeError) as error:  # a library of CUDA that is missing or too old
        msg = f"{package} is installed, but cannot be imported: {error}"
        raise EngineError(msg, hint="its CUDA libraries and the driver have to fit its version") from error
    return TensorRt(module=module, flavour=PACKAGES[package], version=str(module.__version__))


class Said:
    """What TensorRT said: errors are kept for our own message, the rest goes to our log at DEBUG."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def take(self, severe: bool, message: str) -> None:
        if severe:
            self.errors.append(" ".join(message.split()))
        logger.debug("TensorRT: %s", message)

    def why(self) -> str:
        """The first error since the last time that this was asked; one line."""
        heard, self.errors = self.errors, []
        return heard[0][:300] if heard else "it does not say why"


def listening(api: TensorRt) -> tuple[Any, Said]:
    """A TensorRT logger, and what it heard. Both must live as long as what was made with the logger."""
    said = Said()

    class Logger(api.module.ILogger):  # type: ignore[misc,name-defined]  # a class of whichever module there is
        def __init__(self) -> None:
            api.module.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            said.take(severity in (api.module.ILogger.INTERNAL_ERROR, api.module.ILogger.ERROR), msg)

    return Logger(), said


def monitor(api: TensorRt, progress: Progress) -> Any:
    """TensorRT's progress monitor that reports its outermost phases; None where the API has none."""
    if not hasattr(api.module, "IProgressMonitor"):
        return None

    class Monitor(api.module.IProgressMonitor):  # type: ignore[misc,name-defined]  # see above
        def __init__(self) -> None:
            api.module.IProgressMonitor.__init__(self)
            self.outer = ""
            self.steps = 1
            self.done = 0
            self.inner = ""

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self.outer, self.steps, self.done = phase_name, max(1, num_steps), 0
            if parent_phase is None or parent_phase == self.outer:
                self.inner = phase_name
                progress(phase_name, self.done, self.steps)

        def phase_finish(self, phase_name: str) -> None:
            if phase_name == self.outer:
                progress(phase_name, self.steps, self.steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name == self.outer:
                self.done = step + 1
                progress(self.inner, self.done, self.steps)
            return True

    return Monitor()
