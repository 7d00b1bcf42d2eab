"""Which runtime runs a model file on this machine, and why; and what no runtime makes of a file.

DESIGN.md, Models: `auto` takes TensorRT on a GPU that has it, torch on one that has not, OpenVINO on a CPU, onnxruntime
elsewhere. INT8 files are made for one of two kinds of machine and refused on the other (FACTS: signed activations come
out wrong in OpenVINO, unsigned ones in TensorRT).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec as find_module
from pathlib import Path

from engines.options import Backend, ModelOptions
from engines.runtimes.description import one_line
from engines.runtimes.engine_file import SUFFIXES
from engines.runtimes.gpus import Gpu, find_gpus, why_no_gpu
from engines.runtimes.int8_files import other_form
from engines.runtimes.onnx_numbers import Numbers
from engines.runtimes.placement import chosen_gpus, said_of
from vedette.errors import EngineError, GpuError, MissingExtraError, ModelError

CHECKPOINTS = (".pth", ".pt", ".ckpt")

_EXTRAS: dict[Backend, str] = {"openvino": "cpu", "onnxruntime": "cpu", "torch": "train", "tensorrt": "gpu"}


def choose(options: ModelOptions, numbers: Numbers) -> tuple[Backend, str]:
    """Which runtime, and why, in words. Raises ModelError, GpuError, MissingExtraError."""
    kind = Path(options.path).suffix
    needed: Backend | None = "tensorrt" if kind in SUFFIXES else "torch" if kind in CHECKPOINTS else None
    if options.backend != "auto":
        if needed is not None and options.backend != needed:
            msg = f"model.backend: expected {needed} or auto for a file {kind}, got {options.backend}"
            raise ModelError(msg)
        if options.gpu.wanted and options.backend in {"openvino", "onnxruntime"}:
            msg = f"model.gpu: expected none with backend {options.backend}, which runs on CPUs"
            raise GpuError(msg)
        _must_be_installed(options.backend)
        return options.backend, "as configured"
    if needed is not None:
        _must_be_installed(needed)
        return needed, f"auto: what runs a file {kind}"
    gpus = chosen_gpus(options.gpu, find_gpus())
    found = _on_gpus(gpus) if gpus else None
    # TensorRT makes signed INT8 of it on the way in; torch would round in float, for nothing.
    if found is not None and (found[0] == "tensorrt" or numbers.activations != "unsigned"):
        return found
    if gpus and numbers.activations == "unsigned":
        why = "auto: without TensorRT, unsigned INT8 is for CPUs"
    else:
        why = "auto: no TensorRT or torch for the GPU" if gpus else "auto: the fastest on a CPU"
    if options.gpu.wanted:
        where = f"{said_of(gpus)} cannot" if gpus else "no GPU can"
        msg = f"model.gpu: {where} run {options.path} ({why.removeprefix('auto: ') if gpus else why_no_gpu()})"
        raise GpuError(msg, hint="leave model.gpu out to run it on the CPU")
    if _installed("openvino"):
        return "openvino", why
    if _installed("onnxruntime"):
        return "onnxruntime", "auto: OpenVINO is not installed"
    msg = "no runtime for models is installed, expected openvino or onnxruntime"
    raise MissingExtraError(msg, hint="pip install 'vedette[cpu]'")


def check_precision(options: ModelOptions, numbers: Numbers) -> None:
    """What is asked for must be what the file is, where that is not the runtime's to choose. Raises ModelError."""
    path = options.path
    if options.precision == "int8" and not numbers.quantized:
        msg = f"model.precision: int8, but {path} is a float file (it has no Q/DQ nodes)"
        raise ModelError(msg, hint=f"`vedette model quantize {path} --data DIR` makes an INT8 file of it")
    if options.precision not in {"auto", "int8"} and numbers.quantized:
        msg = f"model.precision: {options.precision}, but {path} is an INT8 file (it has Q/DQ nodes)"
        raise ModelError(msg, hint="take the float file that it was made from, or precision: auto")


def refuse_signed(path: str, numbers: Numbers) -> None:
    """Raises ModelError for a Q/DQ file with signed activations where they come out wrong."""
    if numbers.activations in {"signed", "mixed"}:
        kind = numbers.activations
        msg = f"{path}: its INT8 activations are {kind}, which OpenVINO computes wrongly; expected unsigned ones"
        raise ModelError(msg, hint=f"take {other_form(Path(path), 'unsigned')}")


def _on_gpus(gpus: Sequence[Gpu]) -> tuple[Backend, str] | None:
    from engines.runtimes.tensorrt_api import installed, load

    names, why = said_of(gpus), "TensorRT is not installed"
    if installed() and _installed("torch"):
        try:
            api = load()
        except (EngineError, MissingExtraError) as error:
            why = one_line(error.message)
        else:
            strange = [gpu for gpu in gpus if not api.runs_on(gpu)]
            if not strange:
                return "tensorrt", f"auto: {names} with {api.name}"
            why = f"{api.flavour} does not run on {strange[0].sm}"
    if _installed("torch"):
        import torch

        if torch.cuda.is_available():
            return "torch", f"auto: {names}, {why}"
    return None


def _must_be_installed(backend: Backend) -> None:
    from engines.runtimes.tensorrt_api import installed

    there = bool(installed()) if backend == "tensorrt" else _installed(backend)
    if not there:
        msg = f"model.backend: {backend} is not installed"
        raise MissingExtraError(msg, hint=f"pip install 'vedette[{_EXTRAS[backend]}]'")


def _installed(name: str) -> bool:
    return find_module(name) is not None
