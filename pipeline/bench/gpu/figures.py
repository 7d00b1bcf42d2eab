"""What is found on a GPU, as values, for those who measure and for those who report: the latter need no torch."""

from __future__ import annotations

import msgspec


class GpuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The GPU that was measured; None where nobody says."""

    name: str
    capability: str
    memory_mb: int
    l2_mb: float
    index: int = 0
    driver: str | None = None
    cuda: str | None = None


class Utilization(msgspec.Struct, frozen=True, kw_only=True):
    """Means of the driver's own samples, shares of 1: of time in which a kernel ran, and of NVDEC's."""

    gpu: float
    decoder: float
    samples: int


class KernelFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Pre-processing in batches of `batch` pictures: median of the batches' times, and bytes a batch."""

    batch: int
    dtype: str
    ms: float
    read_bytes: int
    written_bytes: int
    gb_s: float
    share: float


class Bandwidth(msgspec.Struct, frozen=True, kw_only=True):
    """`copy_gb_s`: 10^9 bytes a second, read and written; each kernel's `share` is of it."""

    copy_gb_s: float
    size: tuple[int, int]
    pictures: int
    preprocess: tuple[KernelFigures, ...]
