"""torch, on a CPU or on a GPU, behind the same protocol as all runtimes: for GPUs without TensorRT, and to compare.

On a CPU torch has no way to start a network and come back later, and threads are not ours to start: `submit` only
notes the buffer, and the thread that asks for what is completed runs the network itself. On GPUs see `device_lanes.py`.
Q/DQ files run as ONNX defines them, in floats: the reference that INT8 engines are compared with, not a fast one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from engines.engine import Outputs
from engines.options import ModelOptions
from engines.runtimes.cpus import usable_cpus
from engines.runtimes.cuda import CudaRuntime, Load, decoding_said, lane_maker
from engines.runtimes.description import one_line, title
from engines.runtimes.device_lanes import Runner
from engines.runtimes.gpus import Gpu, find_gpus, why_no_gpu
from engines.runtimes.graphs import graphs_said
from engines.runtimes.lanes import Lane, LaneEngine
from engines.runtimes.onnx_numbers import Numbers
from engines.runtimes.placement import chosen_gpus, place_lanes, said_of
from engines.runtimes.torch_network import Precision, TorchNetwork, TorchRunner, load_network
from engines.spec import ModelFile, ModelSpec
from vedette.errors import EngineError, GpuError, ModelError

LANES = 2


class _CpuLane(Lane):
    __slots__ = ("_levels", "_network", "_now_ns")

    def __init__(
        self, network: TorchNetwork, batch: int, size_wh: tuple[int, int], index: int, now_ns: Callable[[], int]
    ) -> None:
        array = np.zeros((batch, 3, size_wh[1], size_wh[0]), np.uint8)
        super().__init__(array, index)
        self._levels = torch.from_numpy(array)
        self._network = network
        self._now_ns = now_ns

    def start(self, count: int) -> None:
        """Nothing to start: see the module."""

    def finish(self) -> tuple[Outputs, int]:
        started_ns = self._now_ns()
        try:
            with torch.inference_mode():
                outputs = self._network(self._levels[: self.count])
        except (RuntimeError, NotImplementedError) as error:
            msg = f"torch failed: {one_line(error)}"
            raise EngineError(msg) from error
        return {name: tensor.contiguous().numpy() for name, tensor in outputs.items()}, self._now_ns() - started_ns


def open_torch(
    file: ModelFile,
    spec: ModelSpec,
    options: ModelOptions,
    numbers: Numbers,
    *,
    now_ns: Callable[[], int],
    why: str,
    batch: int | None = None,
    at_most: int | None = None,
    one_size: bool = False,
) -> LaneEngine:
    """The engine on the GPUs if torch has any, else on the CPU. `batch` pictures a buffer; by default what pays there,
    but no more than `at_most`. `one_size`: see `DeviceLane`; on a CPU it has no part.

    Raises ModelError, EngineError.
    """
    on_gpu = torch.cuda.is_available()
    precision = precision_of(options, numbers, on_gpu=on_gpu)
    said = "INT8 as «fake» quantization in FP32" if numbers.quantized else precision.upper()
    version = torch.__version__.partition("+")[0]
    gpus = chosen_gpus(options.gpu, find_gpus())
    if on_gpu:
        # FP32 is float32: by default convolutions would have 10 bits of fraction there (TF32). Of the whole process.
        torch.backends.cudnn.allow_tf32 = False
        most = batch or (1 if file.inputs[0].shape[0] == 1 else min(GPU_BATCH, at_most or GPU_BATCH))
        runtime = CudaRuntime(_loader(file, spec, precision), lane_maker(spec, options, most, one_size=one_size))
        lanes = place_lanes(options.gpu, gpus, runtime, batch=most)
        where = f"{said_of(gpus)} ({why}), {title(spec)}, {said}, channels_last, {graphs_said(lanes)}, batch {most}"
        where += decoding_said(options)
        return LaneEngine(lanes, spec, f"torch {version} on {where}, {len(lanes)} runs in flight")
    if options.gpu.wanted:
        found = said_of(gpus) if gpus else f"any GPU ({why_no_gpu()})"
        msg = f"model.gpu: torch {torch.__version__} cannot use {found}: expected a torch for CUDA, and a GPU"
        raise GpuError(msg)
    network = load_network(file, spec, precision, torch.device("cpu"))
    threads = options.threads or usable_cpus()
    torch.set_num_threads(threads)  # of the whole process: torch has no other way
    turns = [_CpuLane(network, batch or 1, spec.input.size, index, now_ns) for index in range(LANES)]
    where = f"CPU ({why}), {title(spec)}, {said}, {threads} threads"
    return LaneEngine(turns, spec, f"torch {version} on {where}, {LANES} runs in turns")


def _loader(file: ModelFile, spec: ModelSpec, precision: Precision) -> Load:
    """Each GPU, and each engine on it, has weights of its own; its lanes share them."""

    def load(gpu: Gpu) -> Callable[[], Runner]:
        network = load_network(file, spec, precision, torch.device("cuda", gpu.index))
        return lambda: TorchRunner(network)

    return load


GPU_BATCH = 8
"""Pictures a buffer on a GPU, if the file's batch is free (a guess until it is measured there)."""


def precision_of(options: ModelOptions, numbers: Numbers, *, on_gpu: bool) -> Precision:
    """In what convolutions compute. Raises ModelError for what torch does not have there."""
    if numbers.quantized:
        return "fp32"
    if options.precision == "auto":
        return "fp16" if on_gpu else "fp32"
    if options.precision == "fp16" and not on_gpu:
        msg = "model.precision: fp16 pays on a GPU only, which torch does not find here; expected fp32, bf16 or auto"
        raise ModelError(msg)
    if options.precision == "int8":
        msg = "model.precision: int8 is not to be had from torch"
        raise ModelError(msg)
    return options.precision
