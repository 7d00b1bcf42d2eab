"""Which NVIDIA GPUs this process may use, asked of the driver itself: without torch, in a few milliseconds.

Source: CUDA driver API (cuInit, cuDeviceGetCount, cuDeviceGetName, cuDeviceGetAttribute, cuDeviceTotalMem).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

# CUdevice_attribute
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU; `capability` is its compute capability, (8, 6) for sm_86; `index` its place in the driver's order."""

    name: str
    capability: tuple[int, int]
    index: int = 0
    memory_bytes: int = 0

    @property
    def sm(self) -> str:
        return f"sm_{self.capability[0]}{self.capability[1]}"

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.name})"


def find_gpus() -> tuple[Gpu, ...]:
    """The GPUs in the driver's order; none without a driver."""
    driver, count, _ = _asked()
    return () if driver is None else tuple(_gpu(driver, index) for index in range(count))


def why_no_gpu() -> str:
    """Why `find_gpus` finds none, in words."""
    return _asked()[2]


def _asked() -> tuple[ctypes.CDLL | None, int, str]:
    """The driver, how many GPUs it has, and, if that is none, why."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None, 0, "there is no NVIDIA driver (libcuda.so.1)"
    status = driver.cuInit(0)
    count = ctypes.c_int()
    if status == 0:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0:
        said = ctypes.c_char_p()
        driver.cuGetErrorName(status, ctypes.byref(said))
        return None, 0, f"the NVIDIA driver says {said.value.decode() if said.value else f'status {status}'}"
    return driver, count.value, "" if count.value else "the NVIDIA driver has no GPU for this process"


def _gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(
        name=name.value.decode(errors="replace"),
        capability=(major.value, minor.value),
        index=index,
        memory_bytes=memory.value,
    )
