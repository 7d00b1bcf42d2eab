"""Whether there is a GPU at all, asked before anything heavy is imported."""

from __future__ import annotations

from engines.runtimes.gpus import find_gpus, why_no_gpu
from vedette.errors import GpuError


def require_gpu() -> None:
    """Raises GpuError, in one line, where there is nothing to measure."""
    if not find_gpus():
        msg = f"--gpu needs an NVIDIA GPU: {why_no_gpu()}"
        raise GpuError(msg)
