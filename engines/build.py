"""From a float network to smaller ones that passed the gate: calibrate, quantize, compare, keep. Read it top to bottom.

In:  a float ONNX file; pictures to calibrate with; a data set to compare with.
Out: NAME-int8-unsigned.onnx (OpenVINO, onnxruntime) and NAME-int8-signed.onnx (TensorRT), or NAME-fp16.onnx, each with
     its spec and the gate's report in the YAML beside it. A file that fails the gate is not kept.
Called by `vedette model build`. Everything is made in a folder of its own and moved when it is complete.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from engines.datasets import Dataset
from engines.half import to_float16
from engines.options import Backend, ModelOptions
from engines.quantize import QuantizeOptions, quantize
from engines.quantize import Report as QuantizeReport
from engines.runtimes import read_model_file
from engines.spec import ModelSpec, find_spec, sha256_of, spec_path
from engines.validate import gate
from engines.validate.gate import GateLimits, GateReport
from vedette.errors import UsageError

Form = Literal["unsigned", "signed", "fp16"]
Precision = Literal["int8", "fp16"]
Other = Literal["onnxruntime", "tensorrt"]

Begin = Callable[[str, int], Callable[[], None]]
"""Told what begins, and in how many steps; gives what is to be called after each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What to build. `model` is a float ONNX file; of `calibration` as many pictures are taken as the options say.

    The gate looks at `held_out`, less what calibration has seen; at files for GPUs through `gpu_runtime`: TensorRT is
    what they are for, and where there is none onnxruntime computes them rightly, though slowly. With `gated` False
    nothing is compared, and the files are marked unverified. `class_names` renames the data's classes to the model's
    (`engines.datasets.match_classes`).
    """

    model: Path
    name: str
    calibration: Dataset
    held_out: Dataset
    out_dir: Path
    cache_dir: Path | None = None
    options: QuantizeOptions = field(default_factory=QuantizeOptions)
    limits: GateLimits = field(default_factory=GateLimits)
    gated: bool = True
    class_names: Mapping[str, str] | None = None
    precision: Precision = "int8"
    gpu_runtime: Other = "onnxruntime"


class BuiltFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file. `path` is where it is, None if it failed the gate; `gate` is None if nothing was compared."""

    form: Form
    path: str | None
    bytes: int
    gate: GateReport | None


class BuildReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it; `model` is the float file, `quantized` how the INT8 ones were made."""

    model: str
    model_bytes: int
    quantized: QuantizeReport | None
    files: tuple[BuiltFile, ...]

    @property
    def passed(self) -> bool:
        return all(file.path is not None for file in self.files)


def build(request: BuildRequest, *, now_ns: Callable[[], int], begin: Begin) -> BuildReport:
    """Quantize, compare, keep what passes. Raises ModelError, DataError, EngineError; then nothing is left behind."""
    try:
        request.out_dir.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(prefix=f".{request.name}.", dir=request.out_dir)
    except OSError as error:
        msg = f"--out: {request.out_dir} cannot be written: {error.strerror}"
        raise UsageError(msg) from error
    with work as folder:
        for form in ("fp16",) if request.precision == "fp16" else ("int8-unsigned", "int8-signed"):
            kept = request.out_dir / f"{request.name}-{form}.onnx"
            for path in (kept, spec_path(kept)):
                if path.is_dir():
                    msg = f"--out: {path} cannot be written: it is a folder"
                    raise UsageError(msg, hint="remove it, or give --name another name")
        calibrated = request.precision != "fp16"
        pictures = [image.path for image in request.calibration.spread(request.options.images).images]
        used = frozenset(map(sha256_of, pictures)) if calibrated else frozenset[str]()
        if request.gated:
            gate.held_out(request.held_out, used, request.limits)  # too few are refused before minutes are spent
        quantized = None
        paths: dict[Form, Path]
        if not calibrated:
            paths = {"fp16": to_float16(request.model, Path(folder) / f"{request.name}-fp16.onnx")}
        else:
            step = begin("calibrating", len(pictures))
            made = quantize(
                request.model,
                pictures,
                request.options,
                out_dir=Path(folder),
                name=request.name,
                cache_dir=request.cache_dir,
                progress=lambda _done, _all: step(),
            )
            quantized = made.report
            paths = {"unsigned": made.unsigned, "signed": made.signed}
        files = tuple(_judged(request, form, path, used, now_ns, begin) for form, path in paths.items())
    size = request.model.stat().st_size
    return BuildReport(model=str(request.model), model_bytes=size, quantized=quantized, files=files)


def _judged(
    request: BuildRequest,
    form: Form,
    path: Path,
    used: frozenset[str],
    now_ns: Callable[[], int],
    begin: Begin,
) -> BuiltFile:
    """Hold the file against the float network in the runtime that it is for, and keep it if it passes."""
    report: GateReport | None = None
    if request.gated:
        runtime: Backend = "openvino" if form == "unsigned" else request.gpu_runtime
        reference = ModelOptions(path=str(request.model), backend=runtime, precision="fp32")
        candidate = ModelOptions(path=str(path), backend=runtime)
        report = gate.check(
            reference,
            candidate,
            request.held_out,
            used=used,
            now_ns=now_ns,
            limits=request.limits,
            class_names=request.class_names,
            progress=begin(f"comparing ({form}, {runtime})", 2 * len(request.held_out)),
        )
    size = path.stat().st_size
    kept = None
    if report is None or report.passed:
        spec = find_spec(read_model_file(path)).spec
        kept = request.out_dir / path.name
        _keep(path, kept, spec, report)
    return BuiltFile(form=form, path=None if kept is None else str(kept), bytes=size, gate=report)


def _keep(path: Path, kept: Path, spec: ModelSpec, report: GateReport | None) -> None:
    """Move a file to its place, with its spec beside it. A spec of another file would be refused, so it goes first."""
    gate_of = None if report is None else report.to_spec()
    said = msgspec.structs.replace(spec, gate=gate_of, unverified=report is None)
    text = yaml.safe_dump(msgspec.to_builtins(said), sort_keys=False, allow_unicode=True)
    part = spec_path(path)
    part.write_text(text, encoding="utf-8")
    spec_path(kept).unlink(missing_ok=True)
    path.replace(kept)
    part.replace(spec_path(kept))
