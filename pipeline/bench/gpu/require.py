"""What can be measured, asked before anything heavy is imported: is there a GPU, and are there only files?"""

from __future__ import annotations

import msgspec

from engines.runtimes.gpus import find_gpus, why_no_gpu
from pipeline.bench.child import BenchError
from pipeline.config import Config
from vedette.errors import GpuError


def require_gpu() -> None:
    """Raises GpuError, in one line, where there is nothing to measure."""
    if not find_gpus():
        msg = f"--gpu needs an NVIDIA GPU: {why_no_gpu()}"
        raise GpuError(msg)


def on_gpu(config: Config) -> Config:
    """The configuration with its pictures on one GPU, its first, and nothing that listens.

    Raises BenchError for cameras.
    """
    cameras = [options.id for options in config.streams if not options.is_file]
    if cameras:
        msg = f"--gpu measures files as fast as they can be read, and {cameras[0]} is a camera"
        raise BenchError(msg, hint="give streams with `mode: file`, as configs/gpu.yaml does")
    devices = config.model.gpu.devices
    gpu = msgspec.structs.replace(config.model.gpu, decode="gpu", devices=None if devices is None else devices[:1])
    return msgspec.structs.replace(config, http=None, model=msgspec.structs.replace(config.model, gpu=gpu))
