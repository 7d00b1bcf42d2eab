"""An ONNX file, float or with Q/DQ nodes, made into a TensorRT plan.

Strongly typed: each layer computes in the type that the file gives it, INT8 where Q/DQ nodes stand (signed: it has no
other; an unsigned file is turned into its signed form on the way in). One optimisation
profile: batches from 1 to the largest, tuned for the largest; the size of pictures is fixed by the spec.
Called by the engine cache and by `vedette model build`. Needs no GPU with TensorRT-RTX.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.runtimes.description import one_line
from engines.runtimes.int8_files import other_form
from engines.runtimes.onnx_numbers import numbers_of
from engines.runtimes.tensorrt_api import Progress, TensorRt, listening, monitor
from engines.spec import Tensor
from engines.types import SizeWH
from vedette.errors import EngineError, MissingExtraError, ModelError
from vedette.whole_file import whole_file

_TYPES = {
    "FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT32": "int32", "INT64": "int64", "INT8": "int8",
    "UINT8": "uint8", "BOOL": "bool",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """The batches of an optimisation profile: it runs from `least` to `most`, and is tuned for `best`."""

    least: int
    best: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """A serialized engine and what goes in and out, as the network said before it was built."""

    data: bytes
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def build_plan(
    api: TensorRt,
    model: Path,
    *,
    size_wh: SizeWH,
    batches: Batches,
    capability: tuple[int, int] | None,
    timing_cache: Path | None = None,
    progress: Progress = lambda *_: None,
) -> Plan:
    """Build for a compute capability, or for the GPU at hand. `timing_cache` is read and written where the API has one.

    Raises ModelError for a file that TensorRT does not take, with the node; EngineError if it cannot build.
    """
    content = signed_content(model)
    trt = api.module
    logger, said = listening(api)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not (parser.parse_from_file(str(model)) if content is None else parser.parse(content)):
        msg = f"{model}: {api.name} does not take it: {_parser_error(parser, said.why())}"
        raise ModelError(msg)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # FP32 is float32, not 10 bits of fraction
    watch = monitor(api, progress)
    if watch is not None:
        config.progress_monitor = watch
    _add_profile(builder, network, config, size_wh, batches)
    if api.builds_for_others:
        if capability is not None:
            config.num_compute_capabilities = 1
            config.set_compute_capability(api.target(capability), 0)
    elif timing_cache is not None:
        _load_timings(config, timing_cache)
    data = builder.build_serialized_network(network, config)
    if data is None:
        msg = f"{model}: {api.name} cannot build an engine: {said.why()}"
        raise EngineError(msg)
    if timing_cache is not None and not api.builds_for_others:
        _save_timings(config, timing_cache)
    return Plan(
        data=bytes(data),
        inputs=tuple(_tensor(network.get_input(index)) for index in range(network.num_inputs)),
        outputs=tuple(_tensor(network.get_output(index)) for index in range(network.num_outputs)),
    )


def signed_content(model: Path) -> bytes | None:
    """A file with unsigned activations in its signed form, which TensorRT needs; None for one that goes in as it is.

    Raises ModelError for a file that has both, or that cannot be followed; MissingExtraError.
    """
    activations = numbers_of(model).activations
    if activations == "mixed":
        msg = f"{model}: its INT8 activations are signed and unsigned; expected one form"
        raise ModelError(msg, hint=f"take {other_form(model, 'signed')}")
    if activations != "unsigned":
        return None
    try:
        import onnx

        from engines.quantize.signed import as_signed
    except ImportError as error:
        msg = (
            f"{model}: its INT8 activations are unsigned; making signed ones of them needs onnx, which is not installed"
        )
        raise MissingExtraError(msg, hint="pip install 'vedette[gpu]'") from error
    content: bytes = as_signed(onnx.load(model)).SerializeToString()
    return content


def _add_profile(builder: Any, network: Any, config: Any, size_wh: SizeWH, batches: Batches) -> None:
    tensor = network.get_input(0)
    if -1 not in tuple(tensor.shape):
        return
    profile = builder.create_optimization_profile()
    shapes = [(number, 3, size_wh[1], size_wh[0]) for number in (batches.least, batches.best, batches.most)]
    profile.set_shape(tensor.name, *shapes)
    config.add_optimization_profile(profile)


def _parser_error(parser: Any, otherwise: str) -> str:
    """The node and what is wrong with it."""
    if not parser.num_errors:
        return otherwise
    error = parser.get_error(0)
    # node_name and node_operator came with TensorRT 10
    name = getattr(error, "node_name", lambda: "")() or f"number {error.node()}"
    kind = getattr(error, "node_operator", lambda: "")()
    return f"node {name}{f' ({kind})' if kind else ''}: {one_line(error.desc())}"


def _tensor(tensor: Any) -> Tensor:
    kind = str(tensor.dtype).rpartition(".")[2]
    return Tensor(name=tensor.name, shape=tuple(int(side) for side in tensor.shape), dtype=_TYPES.get(kind, kind))


def _load_timings(config: Any, path: Path) -> None:
    """What was timed in earlier builds on this GPU; TensorRT itself refuses what is from elsewhere."""
    known = b""
    with contextlib.suppress(FileNotFoundError):
        known = path.read_bytes()
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _save_timings(config: Any, path: Path) -> None:
    cache = config.get_timing_cache()
    if cache is not None:
        write_whole(path, bytes(cache.serialize()))


def write_whole(path: Path, *parts: bytes) -> None:
    """A file that appears whole or not at all. Raises EngineError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as unfinished, unfinished.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        msg = f"{path}: cannot be written: {error.strerror}"
        raise EngineError(msg) from error
