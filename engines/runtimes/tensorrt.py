"""TensorRT 10, 11 and TensorRT-RTX behind the same protocol as all runtimes.

Each lane of `device_lanes.py` has its own execution context on its own stream; tensors are bound by name, once; a run
is enqueued with `execute_async_v3`. Levels become values on the device. Could not be run where it was written (no GPU;
building, reading and refusing were): see tests/gpu.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engines.options import ModelOptions
from engines.runtimes.description import title
from engines.runtimes.engine_cache import default_folder, ensure_engine
from engines.runtimes.engine_file import SUFFIXES, Manifest, read_engine, wanted_of
from engines.runtimes.gpus import Gpu, find_gpus
from engines.runtimes.lanes import LaneEngine
from engines.runtimes.onnx_numbers import Numbers, numbers_of
from engines.runtimes.placement import GpuFullError, chosen_gpus, place_lanes, said_of
from engines.runtimes.tensorrt_api import Progress, Said, TensorRt, listening, load
from engines.runtimes.tensorrt_build import Batches
from engines.spec import ModelFile, ModelSpec
from vedette.errors import EngineError, GpuError, MissingExtraError, ModelError

if TYPE_CHECKING:
    from engines.runtimes.device_lanes import Runner

# How TensorRT's allocator says that memory is used up, among its other errors.
_FULL = ("out of memory", "outofmemory", "could not be allocated")

MAX_BATCH = 8
"""Pictures a buffer, if the file's batch is free (a guess until it is measured on a GPU)."""


def open_tensorrt(
    file: ModelFile,
    spec: ModelSpec,
    options: ModelOptions,
    *,
    why: str,
    batch: int | None = None,
    at_most: int | None = None,
    one_size: bool = False,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> LaneEngine:
    """The engine of an ONNX file (built, or found in `folder`) or of an engine file, on the chosen GPUs.

    `batch` pictures a buffer; by default what pays, but no more than `at_most`. `one_size`: see `DeviceLane`.
    Raises ModelError, EngineError, MissingExtraError.
    """
    api = load()
    gpus = chosen_gpus(options.gpu, find_gpus())
    direct = Path(file.path).suffix in SUFFIXES
    if direct:
        manifest, plan = read_engine(Path(file.path))
        for gpu in gpus or (None,):
            refuse_stranger(Path(file.path), manifest, api, gpu)
        _check(api, gpus)
        return _run(api, {gpu.name: (manifest, plan) for gpu in gpus}, spec, options, gpus, why, one_size=one_size)
    _check(api, gpus)
    most = batch or (1 if file.inputs[0].shape[0] == 1 else min(MAX_BATCH, at_most or MAX_BATCH))
    precision = precision_of(options, numbers_of(Path(file.path)))
    built: dict[str, tuple[Manifest, bytes]] = {}
    for gpu in gpus:
        if gpu.name in built:  # one engine serves all of a kind
            continue
        wanted = wanted_of(
            file, api.flavour, api.version, None if api.builds_for_others else gpu, gpu.sm,
            Batches(least=1, best=most, most=most), precision,
        )  # fmt: skip
        with _building_on(gpu):
            built[gpu.name] = ensure_engine(
                api, file, spec, wanted,
                capability=gpu.capability, folder=folder or default_folder(), progress=progress,
            )  # fmt: skip
    return _run(api, built, spec, options, gpus, why, one_size=one_size)


def precision_of(options: ModelOptions, numbers: Numbers) -> Literal["int8", "fp32", "fp16"]:
    """In what an engine is to compute. Raises ModelError for what TensorRT is not asked for here."""
    if numbers.quantized:
        return "int8"
    if options.precision in {"bf16", "int8"}:
        msg = f"model.precision: {options.precision} is not to be had from TensorRT for a float file"
        raise ModelError(msg, hint="expected fp16, fp32 or auto")
    return "fp32" if options.precision == "fp32" else "fp16"


def refuse_stranger(path: Path, manifest: Manifest, api: TensorRt, gpu: Gpu | None) -> None:
    """Raises GpuError for an engine of another TensorRT or GPU than these."""
    found = f"{api.flavour} {api.version}, {f'{gpu.sm} ({gpu.name})' if gpu else 'no GPU'}"
    same = (manifest.flavour, manifest.version) == (api.flavour, api.version)
    fits = gpu is not None and manifest.sm == gpu.sm and manifest.gpu in {"", gpu.name}
    if not (same and fits):
        msg = f"{path} was built for {manifest.built_for}; found {found}"
        hint = f"give {manifest.model} instead, from which an engine for this machine is built"
        raise GpuError(msg, hint=hint)


def deserialized(api: TensorRt, plan: bytes, name: str) -> tuple[Any, tuple[Any, ...], Said]:
    """The engine of a plan; with what has to live as long as it does. Raises GpuFullError, EngineError."""
    logger, said = listening(api)
    runtime = api.module.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        full = any(word in error.lower() for error in said.errors for word in _FULL)
        msg = f"{name}: {api.name} does not take the engine: {said.why()}"
        raise GpuFullError(msg) if full else EngineError(msg)
    return engine, (logger, runtime), said


def _check(api: TensorRt, gpus: Sequence[Gpu]) -> None:
    """Raises GpuError where TensorRT cannot run."""
    if not gpus:
        msg = f"{api.name} needs an NVIDIA GPU and its driver; found none"
        raise GpuError(msg, hint="model.backend: auto takes what this machine has")
    for gpu in gpus:
        if not api.runs_on(gpu):
            msg = f"{api.name} does not run on {gpu.name} ({gpu.sm})"
            raise GpuError(msg, hint="model.backend: torch runs on it")


def _building_on(gpu: Gpu) -> AbstractContextManager[object]:
    """TensorRT builds for the device that is current, unless it is told for which."""
    if gpu.index == 0:
        return nullcontext()
    return _torch().cuda.device(gpu.index)  # type: ignore[no-any-return]  # torch's own


def _run(
    api: TensorRt,
    built: Mapping[str, tuple[Manifest, bytes]],
    spec: ModelSpec,
    options: ModelOptions,
    gpus: Sequence[Gpu],
    why: str,
    *,
    one_size: bool = False,
) -> LaneEngine:
    """`built`: by the GPU's name, what runs on it."""
    _torch()
    from engines.runtimes.cuda import CudaRuntime, decoding_said, lane_maker
    from engines.runtimes.graphs import graphs_said
    from engines.runtimes.tensorrt_context import ContextRunner

    manifest, _ = built[gpus[0].name]
    shape = manifest.inputs[0].shape
    most = manifest.batches[2] if shape[0] < 0 else shape[0]

    def load_on(gpu: Gpu) -> Callable[[], Runner]:
        own, plan = built[gpu.name]
        engine, alive, said = deserialized(api, plan, own.model)
        return lambda: ContextRunner(api, engine, alive, said, spec.input)

    runtime = CudaRuntime(load_on, lane_maker(spec, options, most, one_size=one_size))
    lanes = place_lanes(options.gpu, gpus, runtime, batch=most)
    where = f"{said_of(gpus)} ({why}), {title(spec)}, {manifest.precision.upper()}, {graphs_said(lanes)}, batch {most}"
    where += decoding_said(options)
    return LaneEngine(lanes, spec, f"{api.name} on {where}, {len(lanes)} runs in flight")


def _torch() -> Any:
    """torch, with CUDA started. Raises MissingExtraError."""
    try:
        import torch
    except ModuleNotFoundError as error:
        msg = "TensorRT engines are run with torch's streams and memory, which is not installed"
        raise MissingExtraError(msg, hint="pip install 'vedette[gpu]'") from error
    torch.cuda.init()  # type: ignore[no-untyped-call]  # torch's own
    return torch
