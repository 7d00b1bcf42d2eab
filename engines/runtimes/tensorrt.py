"""TensorRT 10, 11 and TensorRT-RTX behind the same protocol as all runtimes.

Each lane of `cuda.py` has its own execution context on its own stream; tensors are bound by name, once; a run is
enqueued with `execute_async_v3`. Levels become values on the device. Could not be run where it was written (no GPU;
building, reading and refusing were): see tests/gpu.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engines.options import ModelOptions
from engines.runtimes.description import title
from engines.runtimes.engine_cache import default_folder, ensure_engine
from engines.runtimes.engine_file import SUFFIXES, Manifest, read_engine, wanted_of
from engines.runtimes.gpus import Gpu, find_gpus
from engines.runtimes.onnx_numbers import Numbers, numbers_of
from engines.runtimes.tensorrt_api import Progress, Said, TensorRt, listening, load
from engines.runtimes.tensorrt_build import Batches
from engines.spec import ModelFile, ModelSpec
from vedette.errors import EngineError, MissingExtraError, ModelError

if TYPE_CHECKING:
    from engines.runtimes.lanes import LaneEngine

MAX_BATCH = 8
"""Pictures a buffer, if the file's batch is free (a guess until it is measured on a GPU)."""


def open_tensorrt(
    file: ModelFile,
    spec: ModelSpec,
    options: ModelOptions,
    *,
    why: str,
    batch: int | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> LaneEngine:
    """The engine of an ONNX file (built, or found in `folder`) or of an engine file, on the first GPU.

    Raises ModelError, EngineError, MissingExtraError.
    """
    api = load()
    gpus = find_gpus()
    direct = Path(file.path).suffix in SUFFIXES
    manifest: Manifest
    if direct:
        manifest, plan = read_engine(Path(file.path))
        refuse_stranger(Path(file.path), manifest, api, gpus[0] if gpus else None)
    gpu = _first(api, gpus)
    if not direct:
        most = batch or (1 if file.inputs[0].shape[0] == 1 else MAX_BATCH)
        numbers = numbers_of(Path(file.path))
        precision = precision_of(options, numbers)
        batches = Batches(least=1, best=most, most=most)
        bound = None if api.builds_for_others else gpu
        wanted = wanted_of(file, api.flavour, api.version, bound, gpu.sm, batches, precision)
        manifest, plan = ensure_engine(
            api,
            file,
            spec,
            wanted,
            capability=gpu.capability,
            folder=folder or default_folder(),
            progress=progress,
        )
    return _run(api, manifest, plan, spec, gpu, why)


def precision_of(options: ModelOptions, numbers: Numbers) -> Literal["int8", "fp32", "fp16"]:
    """In what an engine is to compute. Raises ModelError for what TensorRT is not asked for here."""
    if numbers.quantized:
        return "int8"
    if options.precision in {"bf16", "int8"}:
        msg = f"model.precision: {options.precision} is not to be had from TensorRT for a float file"
        raise ModelError(msg, hint="expected fp16, fp32 or auto")
    return "fp32" if options.precision == "fp32" else "fp16"


def refuse_stranger(path: Path, manifest: Manifest, api: TensorRt, gpu: Gpu | None) -> None:
    """Raises EngineError for an engine of another TensorRT or GPU than these."""
    found = f"{api.flavour} {api.version}, {f'{gpu.sm} ({gpu.name})' if gpu else 'no GPU'}"
    same = (manifest.flavour, manifest.version) == (api.flavour, api.version)
    fits = gpu is not None and manifest.sm == gpu.sm and manifest.gpu in {"", gpu.name}
    if not (same and fits):
        msg = f"{path} was built for {manifest.built_for}; found {found}"
        hint = f"give {manifest.model} instead, from which an engine for this machine is built"
        raise EngineError(msg, hint=hint)


def deserialized(api: TensorRt, plan: bytes, name: str) -> tuple[Any, tuple[Any, ...], Said]:
    """The engine of a plan; with what has to live as long as it does. Raises EngineError."""
    logger, said = listening(api)
    runtime = api.module.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        msg = f"{name}: {api.name} does not take the engine: {said.why()}"
        raise EngineError(msg)
    return engine, (logger, runtime), said


def _first(api: TensorRt, gpus: tuple[Gpu, ...]) -> Gpu:
    if not gpus:
        msg = f"{api.name} needs an NVIDIA GPU and its driver; found none"
        raise EngineError(msg, hint="model.backend: auto takes what this machine has")
    if not api.runs_on(gpus[0]):
        msg = f"{api.name} does not run on {gpus[0].name} ({gpus[0].sm})"
        raise EngineError(msg, hint="model.backend: torch runs on it")
    return gpus[0]


def _run(api: TensorRt, manifest: Manifest, plan: bytes, spec: ModelSpec, gpu: Gpu, why: str) -> LaneEngine:
    try:
        import torch
    except ModuleNotFoundError as error:
        msg = "TensorRT engines are run with torch's streams and memory, which is not installed"
        raise MissingExtraError(msg, hint="pip install 'vedette[gpu]'") from error
    from engines.runtimes.cuda import cuda_lanes
    from engines.runtimes.lanes import LaneEngine
    from engines.runtimes.tensorrt_context import ContextRunner

    torch.cuda.init()  # type: ignore[no-untyped-call]  # torch's own
    engine, alive, said = deserialized(api, plan, manifest.model)
    shape = manifest.inputs[0].shape
    most = manifest.batches[2] if shape[0] < 0 else shape[0]
    lanes = cuda_lanes(lambda: ContextRunner(api, engine, alive, said, spec.input), spec.input.size, most)
    where = f"{gpu.name} ({why}), {title(spec)}, {manifest.precision.upper()}, batch {most}"
    return LaneEngine(lanes, spec, f"{api.name} on {where}, {len(lanes)} runs in flight")
