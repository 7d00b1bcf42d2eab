"""Engines that were built before: found again, or built anew when anything that they depend on differs.

One file for each model and kind of GPU (by its name, too: those of one sm would overwrite each other's), in the user's
cache folder; the reason for a new build is logged. Processes that build the same engine at the same time each write it
whole; the last one stays.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

from engines.runtimes.engine_file import Manifest, Wanted, manifest_for, read_engine, write_engine
from engines.runtimes.onnx_numbers import numbers_of
from engines.runtimes.tensorrt_api import Progress, TensorRt
from engines.runtimes.tensorrt_build import Batches, build_plan
from engines.spec import ModelFile, ModelSpec
from vedette.errors import ModelError

logger = logging.getLogger(__name__)


def default_folder() -> Path:
    """`vedette/engines` in the user's cache folder (XDG Base Directory Specification)."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / "vedette" / "engines"


def engine_path(folder: Path, file: ModelFile, wanted: Wanted) -> Path:
    """Where the engine of a model file is kept. The file's place, not its content, is part of the name."""
    place = hashlib.sha256(str(Path(file.path).resolve()).encode()).hexdigest()[:8]
    kind = wanted.flavour.lower().replace(" ", "-")
    most = f"b{wanted.batches[2]}"
    return folder / f"{Path(file.path).stem}-{place}-{kind}-{_gpu(wanted)}-{wanted.precision}-{most}.engine"


def _gpu(wanted: Wanted) -> str:
    """The kind of GPU in a file's name: its sm, and its own name where an engine is for no other of that sm."""
    if not wanted.gpu:
        return wanted.sm
    return f"{wanted.sm}-{hashlib.sha256(wanted.gpu.encode()).hexdigest()[:8]}"


def ensure_engine(
    api: TensorRt,
    file: ModelFile,
    spec: ModelSpec,
    wanted: Wanted,
    *,
    capability: tuple[int, int],
    folder: Path,
    progress: Progress | None = None,
) -> tuple[Manifest, bytes]:
    """The engine that fits `wanted`, from the folder or built now. Raises ModelError, EngineError."""
    path = engine_path(folder, file, wanted)
    kept = _kept(path, wanted)
    if kept is not None:
        return kept
    logger.info("%s builds an engine of %s for %s; this takes a while, once", api.name, file.path, wanted.sm)
    manifest, plan = build_engine(api, file, spec, wanted, capability=capability, folder=folder, progress=progress)
    write_engine(path, manifest, plan)
    logger.info("engine written: %s, %d bytes", path, len(plan))
    return manifest, plan


def build_engine(
    api: TensorRt,
    file: ModelFile,
    spec: ModelSpec,
    wanted: Wanted,
    *,
    capability: tuple[int, int],
    folder: Path,
    progress: Progress | None = None,
) -> tuple[Manifest, bytes]:
    """Build an engine as `wanted` says; `folder` keeps TensorRT's timings. Raises ModelError, EngineError."""
    model = Path(file.path)
    with tempfile.TemporaryDirectory(prefix="vedette-") as scratch:
        if wanted.precision == "fp16" and numbers_of(model).floats == "float32":
            from engines.half import to_float16

            half = Path(scratch) / model.name
            to_float16(model, half)
            model = half
        plan = build_plan(
            api,
            model,
            size_wh=spec.input.size,
            batches=Batches(least=wanted.batches[0], best=wanted.batches[1], most=wanted.batches[2]),
            capability=capability if api.builds_for_others else None,
            timing_cache=folder / f"{_gpu(wanted)}.timings",
            progress=progress or _log_progress,
        )
    return manifest_for(wanted, file, spec, plan.inputs, plan.outputs, plan.data), plan.data


def _kept(path: Path, wanted: Wanted) -> tuple[Manifest, bytes] | None:
    """What lies there, if it can be used; says why if it cannot."""
    if not path.exists():
        return None
    try:
        manifest, plan = read_engine(path)
    except ModelError as error:
        logger.warning("%s; it is built again", error)
        return None
    differences = wanted.differences(manifest)
    if differences:
        logger.info("%s is built again: %s", path, "; ".join(differences))
        return None
    return manifest, plan


def _log_progress(phase: str, done: int, steps: int) -> None:
    logger.info("TensorRT: %s (%d of %d)", phase, done, steps)
