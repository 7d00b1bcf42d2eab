"""OpenVINO and onnxruntime with several pictures a request, on a CPU: for a bench alone.

The product runs one picture a request there (a frame's result must not depend on its company, and a batch gains
little); this is how one sees what it would gain. Needs a file whose batch is free.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engines.engine import Outputs
from engines.options import ModelOptions
from engines.runtimes.cpus import usable_cpus
from engines.runtimes.lanes import Lane, LaneEngine
from engines.spec import ModelFile, ModelSpec
from engines.types import SizeWH
from vedette.errors import EngineError, ModelError


def check_batch(file: ModelFile, batch: int) -> None:
    """Raises ModelError for a file whose batch is fixed at another."""
    fixed = file.inputs[0].shape[0]
    if fixed not in (-1, batch):
        msg = f"the batch of its file is fixed at {fixed}"
        raise ModelError(msg, hint="export it with a free batch")


def fix_batch(path: str, size_wh: SizeWH, batch: int, out: Path) -> None:
    """Write the network with a fixed batch as OpenVINO's file: its engine then takes a whole batch for one picture."""
    import openvino

    model = openvino.Core().read_model(path)
    model.reshape([batch, 3, size_wh[1], size_wh[0]])
    openvino.save_model(model, out, compress_to_fp16=False)


def open_onnxruntime(
    file: ModelFile, spec: ModelSpec, options: ModelOptions, batch: int, *, now_ns: Callable[[], int]
) -> LaneEngine:
    """One run at a time, each with every core; its settings are those of `engines.runtimes.onnxruntime`."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads or usable_cpus()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(file.path, settings, providers=["CPUExecutionProvider"])
    width, height = spec.input.size
    array = np.zeros((batch, 3, height, width), np.dtype(file.inputs[0].dtype))
    lane = _Lane(session, file.inputs[0].name, array, now_ns)
    return LaneEngine([lane], spec, f"onnxruntime {onnxruntime.__version__} on CPU, {batch} pictures a run")


class _Lane(Lane):
    """Runs in the thread that asks for what is completed."""

    __slots__ = ("_input", "_now_ns", "_session")

    def __init__(self, session: Any, name: str, array: Any, now_ns: Callable[[], int]) -> None:
        super().__init__(array, 0)
        self._session = session
        self._input = name
        self._now_ns = now_ns

    def start(self, count: int) -> None:
        """Nothing to start."""

    def finish(self) -> tuple[Outputs, int]:
        started_ns = self._now_ns()
        try:
            self._session.run(None, {self._input: self.array})
        except RuntimeError as error:
            raise EngineError(str(error)) from error
        return {}, self._now_ns() - started_ns
