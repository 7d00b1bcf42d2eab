"""onnxruntime on a CPU: two runs in flight, on its own thread pool, behind the same protocol.

`run_async` calls back from a thread of onnxruntime's own pool, so that no thread of ours is needed. Spinning is off:
its waiting threads would take the cores that decoding and a neighbouring OpenVINO need (FACTS: 32 ms against 15).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from engines.engine import Buffer, Completion, Outputs
from engines.options import ModelOptions
from engines.runtimes.cpus import int8_sums_saturate, usable_cpus
from engines.runtimes.description import title
from engines.runtimes.onnx_numbers import Numbers, numbers_of
from engines.runtimes.onnxruntime_errors import refusals, said
from engines.runtimes.pool import BufferPool, HostBuffer
from engines.spec import ModelFile, ModelSpec
from vedette.errors import EngineError, ModelError
from vedette.priority import behind

REQUESTS = 2

EXIT_WAIT_S = 5.0
"""At most so long does the end of the process wait for runs in flight (a guess: a run takes far less)."""


class _Run(HostBuffer):
    __slots__ = ("count", "ended_ns", "error", "outputs", "started_ns")

    def __init__(self, array: Any, index: int) -> None:
        super().__init__(array, index)
        self.count = 0
        self.started_ns = 0
        self.ended_ns = 0
        self.outputs: Outputs | None = None
        self.error: str = ""


class _InFlight:
    """How many runs onnxruntime has not called back for yet."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def add(self, number: int) -> None:
        with self._changed:
            self._count += number
            self._changed.notify_all()

    def wait_for_none(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0, EXIT_WAIT_S)


class OnnxRuntimeEngine:
    """`engines.engine.Engine` over one session. Thread-safe."""

    def __init__(
        self,
        file: ModelFile,
        spec: ModelSpec,
        options: ModelOptions,
        *,
        now_ns: Callable[[], int],
        why: str,
        batch: int = 1,
        gives_way: bool = False,
    ) -> None:
        """`gives_way`: see `open_engine`."""
        numbers = numbers_of(Path(file.path))
        if options.precision == "bf16":
            msg = "model.precision: bf16 is not to be had from onnxruntime on a CPU, expected fp32 or auto"
            raise ModelError(msg, hint="model.backend: openvino has it")
        if options.precision == "fp16" and numbers.floats != "float16":
            msg = f"model.precision: fp16, but {file.path} is a float32 file, and onnxruntime takes files as they are"
            raise ModelError(msg, hint="take a file that is FP16 itself, or precision: auto")
        self._spec = spec
        self._batch = batch
        self._now_ns = now_ns
        # run_async needs a pool of its own: at least two threads, or it refuses.
        threads = max(2, options.threads or usable_cpus())
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if int8_sums_saturate():  # its kernels for uint8 weights are slower, and their sums are exact
            settings.add_session_config_entry("session.x64quantprecision", "1")
        settings.log_severity_level = 4
        self._refusals = refusals()
        try:
            self._session = behind(
                lambda: onnxruntime.InferenceSession(file.path, settings, providers=["CPUExecutionProvider"]),
                wanted=gives_way,
            )
        except self._refusals as error:
            msg = f"{file.path}: onnxruntime does not take it: {said(error)}"
            raise ModelError(msg, hint="try model.backend: openvino") from error
        self._input = file.inputs[0].name
        self._outputs = [tensor.name for tensor in file.outputs]
        width, height = spec.input.size
        dtype = np.dtype(file.inputs[0].dtype)
        self._runs = [_Run(np.zeros((batch, 3, height, width), dtype), index) for index in range(REQUESTS)]
        self._pool = BufferPool(self._runs)
        self._in_flight = _InFlight()
        # A process that ends (a crash elsewhere, say) while onnxruntime still wants to call back would be aborted.
        weakref.finalize(self, self._in_flight.wait_for_none)
        self._description = (
            f"onnxruntime {onnxruntime.__version__} on CPU ({why}), {title(spec)}, {_said_of(numbers)}, "
            f"{f'batch {batch}, ' if batch > 1 else ''}{threads} threads, {REQUESTS} runs in flight"
        )

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def description(self) -> str:
        return self._description

    @property
    def max_batch(self) -> int:
        return self._batch

    def acquire(self) -> Buffer | None:
        return self._pool.acquire()

    def submit(self, buffer: Buffer, count: int) -> None:
        run = self._own(buffer)
        if not 1 <= count <= self._batch:
            most = "1 picture" if self._batch == 1 else f"1 to {self._batch} pictures"
            msg = f"expected {most} a run, got {count}"
            raise EngineError(msg)
        self._pool.submitted(run)
        run.count = count
        run.started_ns = self._now_ns()
        self._in_flight.add(1)
        try:
            self._session.run_async(self._outputs, {self._input: run.array[:count]}, self._back, run)
        except self._refusals as error:
            self._in_flight.add(-1)
            self._pool.refused(run)
            msg = f"onnxruntime did not start a run: {said(error)}"
            raise EngineError(msg) from error

    def completed(self) -> Completion | None:
        run = self._pool.next()
        if run is None:
            return None
        self._pool.completed(run)
        outputs, run.outputs = run.outputs, None
        return Completion(
            buffer=run,
            count=run.count,
            outputs=outputs,
            error=EngineError(f"onnxruntime failed: {said(run.error)}") if outputs is None else None,
            engine_ns=run.ended_ns - run.started_ns,
        )

    def release(self, buffer: Buffer) -> None:
        self._pool.release(self._own(buffer))

    def close(self) -> None:
        self._pool.close()

    def _back(self, results: list[Any], run: _Run, error: str) -> None:
        """Called from onnxruntime's pool."""
        run.ended_ns = self._now_ns()
        run.outputs = None if error else dict(zip(self._outputs, results, strict=True))
        run.error = error
        self._pool.started(run)
        self._in_flight.add(-1)

    def _own(self, buffer: Buffer) -> _Run:
        for run in self._runs:
            if run is buffer:
                return run
        msg = "this buffer belongs to another engine"
        raise EngineError(msg)


def _said_of(numbers: Numbers) -> str:
    if not numbers.quantized:
        return {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16"}[numbers.floats]
    # Signed ones come out right (what OpenVINO makes of them does not), but slower than floats on x86.
    return f"INT8 with {numbers.activations} activations" + (
        "" if numbers.activations == "unsigned" else ", slow on a CPU"
    )
