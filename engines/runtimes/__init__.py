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
from engines.runtimes.choice import check_precision, choose, refuse_signed
from engines.runtimes.model_file import read_model_file
from engines.runtimes.onnx_numbers import FLOAT, numbers_of
from engines.runtimes.tensorrt_api import Progress
from engines.spec import find_spec
from vedette.errors import ModelError

__all__ = ["open_engine", "read_model_file"]

# Both runtimes report their use to their makers as soon as they are imported: onnxruntime 1.31 to Microsoft (leaving
# `.ses` in the temporary folder), OpenVINO 2026 to Google Analytics (leaving ~/intel). A program that watches cameras
# reports to its owner alone. OpenVINO does without the package; onnxruntime has a variable, which 0 sets the other way.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # None: importing it fails, as documented

# torch's threads wait for each other by spinning, which takes the cores that decoders need, and where there are too few
# its own: two threads on two busy cores took 286 ms a picture (at worst 2672), and 109 (176) when they sleep; 4 times
# the CPU time. OpenMP reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def open_engine(
    options: ModelOptions,
    *,
    now_ns: Callable[[], int],
    batch: int | None = None,
    at_most: int | None = None,
    ahead: int = 0,
    gives_way: bool = False,
    one_size: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Engine:
    """Open the model that `options` name on what this machine has; `now_ns` is a monotonic clock.

    `batch`: pictures a buffer, by default what pays: 1 on a CPU, and no more than `at_most` on a GPU. `ahead`: so many
    buffers more than the engine works on at once, where it can queue them: it is never idle then, and what it takes
    next is older. `gives_way`: on a CPU, OpenVINO's and onnxruntime's threads stand behind the others of this process
    (vedette/priority.py): for pipelines, not for a program with work of its own. `one_size`: on a
    GPU, every run has the full batch, padded, so that a picture's numbers never depend on how many waited with it: for
    files. TensorRT keeps the engines that it builds in the folder `cache` (the user's own cache by default) and reports
    its `progress`, which may take minutes.
    Raises ModelError for a file or spec that does not fit, EngineError for an engine that does not run here (GpuError
    for one that the GPUs of this machine, or what `options.gpu` says of them, are the reason of),
    MissingExtraError for a runtime that is not installed.
    """
    path = Path(options.path)
    file = read_model_file(path)
    found = find_spec(file)
    build_head(found.spec).check({tensor.name: tensor.shape for tensor in file.outputs})
    numbers = numbers_of(path) if path.suffix == ".onnx" else FLOAT
    check_precision(options, numbers)
    if batch is not None and batch != 1 and file.inputs[0].shape[0] == 1:
        msg = f"{path}: takes one picture at a time, expected a free batch for {batch}"
        raise ModelError(msg, hint="`vedette model export` writes files with a free batch")
    backend, why = choose(options, numbers)
    spec = found.spec
    if backend == "openvino":
        from engines.runtimes.openvino import OpenVinoEngine

        refuse_signed(options.path, numbers)
        return OpenVinoEngine(
            file, spec, options, now_ns=now_ns, why=why, batch=batch or 1, ahead=ahead, gives_way=gives_way
        )
    if backend == "onnxruntime":
        from engines.runtimes.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(file, spec, options, now_ns=now_ns, why=why, batch=batch or 1, gives_way=gives_way)
    if backend == "torch":
        from engines.runtimes.torch import open_torch

        return open_torch(
            file, spec, options, numbers, now_ns=now_ns, why=why, batch=batch, at_most=at_most, one_size=one_size
        )
    from engines.runtimes.tensorrt import open_tensorrt

    return open_tensorrt(
        file, spec, options, why=why, batch=batch, at_most=at_most, one_size=one_size, folder=cache, progress=progress
    )
