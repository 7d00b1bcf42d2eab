"""Which NVIDIA GPUs this process may use, asked of the driver itself: without torch, in a few milliseconds.

Source: CUDA driver API (cuInit, cuDeviceGetCount, cuDeviceGetName, cuDeviceGetAttribute).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

# CUdevice_attribute
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU; `capability` is its compute capability, (8, 6) for sm_86."""

    name: str
    capability: tuple[int, int]

    @property
    def sm(self) -> str:
        return f"sm_{self.capability[0]}{self.capability[1]}"


def find_gpus() -> tuple[Gpu, ...]:
    """The GPUs in the driver's order; none without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    return tuple(_gpu(driver, index) for index in range(count.value))


def _gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device)
    return Gpu(name=name.value.decode(errors="replace"), capability=(major.value, minor.value))
