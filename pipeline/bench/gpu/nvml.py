"""The driver's own view of a GPU: its version, and how busy kernels and NVDEC were lately.

Source: NVIDIA Management Library (nvmlDeviceGetHandleByPciBusId_v2, nvmlDeviceGetUtilizationRates,
nvmlDeviceGetDecoderUtilization, nvmlSystemGetDriverVersion), by ctypes as in engines/runtimes/gpus.py. Everything is
optional: without the library nothing is told. The GPU is found by its place on the bus, since NVML numbers GPUs in
another order than CUDA and knows nothing of CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import ctypes
import statistics

from engines.runtimes.gpus import Gpu
from pipeline.bench.gpu.figures import Utilization


class _Rates(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class Nvml:
    """One GPU, as NVML knows it."""

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._library = library
        self._handle = handle
        said = ctypes.create_string_buffer(96)
        status = library.nvmlSystemGetDriverVersion(said, len(said))
        self.driver = said.value.decode(errors="replace") if status == 0 else None

    @classmethod
    def of(cls, gpu: Gpu) -> Nvml | None:
        """None where there is no NVML, or it does not know the GPU."""
        try:
            library, driver = ctypes.CDLL("libnvidia-ml.so.1"), ctypes.CDLL("libcuda.so.1")
        except OSError:
            return None
        where, handle = ctypes.create_string_buffer(32), ctypes.c_void_p()
        told = (
            library.nvmlInit_v2() == 0
            and driver.cuDeviceGetPCIBusId(where, len(where), gpu.index) == 0
            and library.nvmlDeviceGetHandleByPciBusId_v2(where, ctypes.byref(handle)) == 0
        )
        return cls(library, handle) if told else None

    def utilization(self) -> tuple[float, float] | None:
        """Kernels and NVDEC, shares of 1, in the driver's last period of a sixth to one second; None: not told."""
        rates, decoder, period = _Rates(), ctypes.c_uint(), ctypes.c_uint()
        library = self._library
        told = (
            library.nvmlDeviceGetUtilizationRates(self._handle, ctypes.byref(rates)) == 0
            and library.nvmlDeviceGetDecoderUtilization(self._handle, ctypes.byref(decoder), ctypes.byref(period)) == 0
        )
        return (rates.gpu / 100, decoder.value / 100) if told else None


class NvmlWatch:
    """`instruments.Watch`."""

    def __init__(self, nvml: Nvml | None) -> None:
        self._nvml = nvml
        self._seen: list[tuple[float, float]] = []

    def look(self) -> None:
        found = self._nvml.utilization() if self._nvml else None
        if found is not None:
            self._seen.append(found)

    def seen(self) -> Utilization | None:
        if not self._seen:
            return None
        gpu, decoder = (round(statistics.mean(values), 3) for values in zip(*self._seen, strict=True))
        return Utilization(gpu=gpu, decoder=decoder, samples=len(self._seen))
