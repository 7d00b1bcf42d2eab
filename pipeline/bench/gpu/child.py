"""One measurement on a GPU in a process of its own: `python -m pipeline.bench.gpu.child KIND CONFIG --seconds N`.

KIND is `surfaces` or `nvdec` (the whole machine), `network` (the network alone) or `ground` (the GPU's memory and the
pre-processing kernel). Called by `pipeline/bench/gpu/measure.py`; the result is printed as the last line of standard
output, as JSON.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from engines.runtimes.gpus import Gpu, find_gpus
from engines.runtimes.placement import chosen_gpus
from pipeline.bench.child import run_child
from pipeline.bench.gpu.require import on_gpu, require_gpu
from pipeline.bench.gpu.run import measure_decoded, measure_ground, measure_network, measure_surfaces
from pipeline.bench.gpu.sample import DeviceSample, GroundSample, NetworkSample
from pipeline.clock import SystemClock
from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.logs import configure_logging
from pipeline.memory import use_one_heap
from vedette.errors import GpuError

KINDS = ("surfaces", "nvdec", "network", "ground")


def main() -> NoReturn:
    """Print a sample and end, as `pipeline.bench.child` does."""
    run_child(_measure)


def _measure() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("config", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    use_one_heap()
    configure_logging(level="warning", format="human", clock=SystemClock())
    config = on_gpu(load_config(arguments.config, os.environ))
    sample = measured(arguments.kind, config, gpu_of(config), arguments.seconds)
    sys.stdout.buffer.write(msgspec.json.encode(sample) + b"\n")


def gpu_of(config: Config) -> Gpu:
    """The one that the configuration runs on, which torch must be able to use. Raises GpuError."""
    import torch

    require_gpu()
    (gpu,) = chosen_gpus(config.model.gpu, find_gpus())
    if not torch.cuda.is_available():
        msg = f"torch {torch.__version__} cannot use {gpu}: expected a torch for CUDA"
        raise GpuError(msg, hint="docs/gpu.md says how a machine with a GPU is set up")
    torch.cuda.init()  # type: ignore[no-untyped-call]  # torch's own
    return gpu


def measured(kind: str, config: Config, gpu: Gpu, seconds: float) -> DeviceSample | NetworkSample | GroundSample:
    """Raises whatever the measurement does."""
    from pipeline.bench.gpu.on_cuda import CudaInstruments

    clock, instruments = SystemClock(), CudaInstruments(gpu)
    if kind == "surfaces":
        return measure_surfaces(config, instruments, clock, seconds=seconds)
    if kind == "nvdec":
        return measure_decoded(config, instruments, seconds=seconds)
    if kind == "network":
        return measure_network(config, instruments, clock, seconds=seconds)
    return measure_ground(config, instruments, clock)


if __name__ == "__main__":
    main()
