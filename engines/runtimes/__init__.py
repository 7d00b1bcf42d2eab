"""What executes a network: one module a runtime, all behind `engines.engine.Engine`.

`open_engine` takes a model file and gives a running engine; which one, and why, stands in its `description`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from engines.engine import Engine
from engines.heads import build_head
from engines.options import ModelOptions
from engines.runtimes.model_file import read_model_file
from engines.spec import find_spec
from vedette.errors import MissingExtraError

__all__ = ["open_engine", "read_model_file"]

# Both runtimes report their use to their makers as soon as they are imported: onnxruntime 1.31 to Microsoft (leaving
# `.ses` in the temporary folder), OpenVINO 2026 to Google Analytics (leaving ~/intel). A program that watches cameras
# reports to its owner alone. OpenVINO does without the package; onnxruntime has a variable, which 0 sets the other way.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # None: importing it fails, as documented


def open_engine(options: ModelOptions, *, now_ns: Callable[[], int]) -> Engine:
    """Open the model that `options` name on what this machine has; `now_ns` is a monotonic clock.

    Raises ModelError for a file or spec that does not fit, MissingExtraError for a runtime that is not installed.
    """
    path = Path(options.path)
    file = read_model_file(path)
    found = find_spec(file)
    build_head(found.spec).check({tensor.name: tensor.shape for tensor in file.outputs})
    backend, why = _choose(options)
    if backend == "openvino":
        from engines.runtimes.openvino import OpenVinoEngine

        return OpenVinoEngine(file, found.spec, options, now_ns=now_ns, why=why)
    from engines.runtimes.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(file, found.spec, options, now_ns=now_ns, why=why)


def _choose(options: ModelOptions) -> tuple[str, str]:
    """Which runtime, and why, in words."""
    have = {name for name in ("openvino", "onnxruntime") if _installed(name)}
    if options.backend != "auto":
        if options.backend not in have:
            msg = f"model.backend: {options.backend} is not installed"
            raise MissingExtraError(msg, hint="pip install 'vedette[cpu]'")
        return options.backend, "as configured"
    if "openvino" in have:
        return "openvino", "auto: the fastest on a CPU"
    if "onnxruntime" in have:
        return "onnxruntime", "auto: OpenVINO is not installed"
    msg = "no runtime for models is installed, expected openvino or onnxruntime"
    raise MissingExtraError(msg, hint="pip install 'vedette[cpu]'")


def _installed(name: str) -> bool:
    from importlib.util import find_spec as find_module

    return find_module(name) is not None
