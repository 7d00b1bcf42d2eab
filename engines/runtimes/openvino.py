"""OpenVINO on a CPU: asynchronous, a few requests in flight, each buffer a request's own input tensor.

One request is one picture unless more are asked for: on a CPU a batch gains nothing, and a frame's result must not
depend on its company. With the THROUGHPUT hint and two requests the cores are split between them; each waits less for
its threads to meet than one request on all cores does, which on two cores is 15 to 25 % more frames
(docs/decisions/0005-two-requests.md).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, Literal

import openvino
from openvino.preprocess import PrePostProcessor

from engines.engine import Buffer, Completion, Outputs
from engines.options import ModelOptions
from engines.runtimes.cpus import bound_cpus, int8_sums_saturate, usable_cpus
from engines.runtimes.description import title
from engines.runtimes.openvino_core import core
from engines.runtimes.openvino_sound import sound
from engines.runtimes.openvino_types import executed
from engines.runtimes.openvino_weights import in_seven_bits
from engines.runtimes.pool import BufferPool, HostBuffer
from engines.spec import InputSpec, ModelFile, ModelSpec
from vedette.errors import EngineError, ModelError
from vedette.priority import behind

logger = logging.getLogger(__name__)

Hint = Literal["LATENCY", "THROUGHPUT"]

REQUESTS = 2
"""In flight: as many as run at once."""

# Of an INT8 file: what its few other nodes compute in. FP16 is executed as BF16 on a CPU, without a word: refused.
_PRECISIONS = {"auto": "f32", "fp32": "f32", "bf16": "bf16", "int8": "f32"}


class _Request(HostBuffer):
    __slots__ = ("_names", "_outputs", "count", "request", "started_ns")

    def __init__(self, request: Any, index: int, names: list[str], *, fixed: bool) -> None:
        super().__init__(request.get_input_tensor().data, index)
        self.request = request
        self.count = 0
        self.started_ns = 0
        self._names = names
        self._outputs = self._views() if fixed else None

    def outputs(self) -> Outputs:
        """Views of what the request gave. Outputs of a free shape lie somewhere else after each run."""
        outputs = self._outputs or self._views()
        if self.count == len(self.array):
            return outputs
        return {name: array[: self.count] for name, array in outputs.items()}

    def _views(self) -> Outputs:
        return {name: self.request.get_output_tensor(number).data for number, name in enumerate(self._names)}


class OpenVinoEngine:
    """`engines.engine.Engine` over one compiled model. Thread-safe."""

    def __init__(
        self,
        file: ModelFile,
        spec: ModelSpec,
        options: ModelOptions,
        *,
        now_ns: Callable[[], int],
        why: str,
        hint: Hint = "THROUGHPUT",
        requests: int = REQUESTS,
        batch: int = 1,
        ahead: int = 0,
        gives_way: bool = False,
    ) -> None:
        """`requests` are worked on at once, which the hint is told; `ahead` more wait in OpenVINO's own queue.

        `gives_way`: see `open_engine`.
        """
        self._spec = spec
        self._now_ns = now_ns
        self._serial = hint == "LATENCY"
        self._batch = batch
        compiled = compile_model(file, spec, options, hint, requests, batch, gives_way=gives_way)
        # OpenVINO keeps the file's order; its own names may be others.
        names = [tensor.name for tensor in file.outputs]
        fixed = not any(output.partial_shape.is_dynamic for output in compiled.outputs)
        self._requests = [
            _Request(compiled.create_infer_request(), index, names, fixed=fixed) for index in range(requests + ahead)
        ]
        self._pool = BufferPool(self._requests)
        self._last_end_ns = 0
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        many = f"batch {batch}, " if batch > 1 else ""
        self._description = (
            f"OpenVINO {openvino.get_version().partition('-')[0]} on CPU ({why}), {title(spec)}, "
            f"{executed(compiled).said}float type {precision}, "
            f"{many}{threads} threads, {requests + ahead} requests in flight, {hint.lower()}"
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
        request = self._own(buffer)
        if not 1 <= count <= self._batch:
            most = "1 picture" if self._batch == 1 else f"1 to {self._batch} pictures"
            msg = f"expected {most} a request, got {count}"
            raise EngineError(msg)
        self._pool.submitted(request)
        request.count = count
        request.started_ns = self._now_ns()
        try:
            request.request.start_async()
        except RuntimeError as error:
            self._pool.refused(request)
            msg = f"OpenVINO did not start a request: {_said(error)}"
            raise EngineError(msg) from error
        self._pool.started(request)

    def completed(self) -> Completion | None:
        """Requests are waited for in the order of their starting, in which one stream of execution also ends them."""
        request = self._pool.next()
        if request is None:
            return None
        error: EngineError | None = None
        try:
            request.request.wait()
        except RuntimeError as failure:
            error = EngineError(f"OpenVINO failed: {_said(failure)}")
            error.__cause__ = failure
        completion = Completion(
            buffer=request,
            count=request.count,
            outputs=None if error else request.outputs(),
            error=error,
            engine_ns=self._engine_ns(request, error),
        )
        self._pool.completed(request)
        return completion

    def release(self, buffer: Buffer) -> None:
        self._pool.release(self._own(buffer))

    def close(self) -> None:
        self._pool.close()

    def _engine_ns(self, request: _Request, error: EngineError | None) -> int:
        """How long the network itself took; not the time in which the request waited for the one before it."""
        if error is not None:
            return 0
        end_ns = request.started_ns + int(request.request.latency * 1e6)
        start_ns = max(request.started_ns, self._last_end_ns) if self._serial else request.started_ns
        self._last_end_ns = end_ns
        return max(0, end_ns - start_ns)

    def _own(self, buffer: Buffer) -> _Request:
        for request in self._requests:
            if request is buffer:
                return request
        msg = "this buffer belongs to another engine"
        raise EngineError(msg)


def cpu_settings(options: ModelOptions, hint: Hint, requests: int) -> dict[str, Any]:
    """OpenVINO's own settings for the CPU. By itself it takes the cores that the process is bound to, each once."""
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": hint,
        "PERFORMANCE_HINT_NUM_REQUESTS": requests,
        "INFERENCE_PRECISION_HINT": _PRECISIONS[options.precision],
    }
    threads = options.threads or usable_cpus()
    if threads < bound_cpus():
        # Given fewer threads than cores, OpenVINO nails them to the first cores: a second process of two threads on
        # four cores got the same two, and both together did half of what they do unpinned (21 + 21 against 42 + 41
        # frames/s, seed at 640x384).
        settings |= {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
    elif options.threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    return settings


def compile_model(
    file: ModelFile,
    spec: ModelSpec,
    options: ModelOptions,
    hint: Hint,
    requests: int,
    batch: int = 1,
    *,
    gives_way: bool = False,
) -> Any:
    """The compiled network as the engine runs it: its input takes levels (uint8), its own type or not.

    The batch is fixed: smaller ones are padded. Raises ModelError.
    """
    if options.precision == "fp16":
        msg = "model.precision: fp16 is not to be had from OpenVINO on a CPU, which runs it as BF16; expected bf16"
        raise ModelError(msg)
    width, height = spec.input.size
    try:
        model = core().read_model(file.path)
        if model.is_dynamic():
            model.reshape([batch, 3, height, width])
        if int8_sums_saturate() and in_seven_bits(model):
            logger.info("%s: this CPU has no VNNI, so INT8 weights are taken with seven bits", file.path)
        whole, settings = _taking_levels(model, spec.input), cpu_settings(options, hint, requests)
        return behind(lambda: sound(lambda more: core().compile_model(whole, "CPU", settings | more)), wanted=gives_way)
    except RuntimeError as error:
        msg = f"{file.path}: OpenVINO does not take it: {_said(error)}"
        raise ModelError(msg, hint="try model.backend: onnxruntime") from error


def _taking_levels(model: Any, spec: InputSpec) -> Any:
    """The model with a uint8 input; what makes levels into values (engines/picture.py, step 4) joins the network.

    A quarter of the memory is written and read, the scale goes into the first convolution's weights, and OpenVINO puts
    bytes into its own layout faster than floats. Seed at 640x384, alternating: 47.3 ms of CPU a picture against 48.2,
    beside 0.25 ms less for the host's part.
    """
    kind = model.input().get_element_type()
    if kind == openvino.Type.u8:
        return model
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NCHW"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    convert = steps.input().preprocess().convert_element_type(openvino.Type.f32)
    # value = (level * scale - mean) / std = (level - mean / scale) / (std / scale)
    if any(spec.mean):
        convert.mean([mean / spec.scale for mean in spec.mean])
    if any(std != spec.scale for std in spec.std):
        convert.scale([std / spec.scale for std in spec.std])
    if kind != openvino.Type.f32:
        convert.convert_element_type(kind)
    return steps.build()


def _said(error: RuntimeError) -> str:
    """OpenVINO's own words in one line, without the places in its source."""
    text = re.sub(r"Exception from \S+:\d+:|Caught exception:|Check '.*' failed at \S+:\d+:", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ": ".join(lines)[:300] or "it does not say why"
