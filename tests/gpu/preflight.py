"""Before anything is installed: is there a GPU, does TensorRT-RTX run on it, is what a run needs there?

Run by path, with nothing but Python: it reads engines/runtimes/gpus.py by itself. Prints the GPU, or one line on
standard error with exit status 2. `--driver`: is the driver new enough for the torch of constraints/gpu.txt?
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]

RTX = frozenset({(7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1)})
"""The compute capabilities that TensorRT-RTX 1.7 builds for; Hopper's 9.0 is not among them."""

CUDA = 13000
"""What torch in constraints/gpu.txt is for, as cuDriverGetVersion counts; drivers from 580 on have it."""

NVDEC = "libnvcuvid.so.1"

NEEDED = (
    "av", "cuda.bindings", "cv2", "filterpy", "hiredis", "hypothesis", "msgspec", "norfair", "numpy", "onnx",
    "onnxruntime", "prometheus_client", "pytest", "pytest_timeout", "redis", "rich", "scipy", "starlette", "torch",
    "uvicorn", "yaml",
)  # fmt: skip


def gpus() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpus", ROOT / "engines/runtimes/gpus.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpus"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def main(words: Sequence[str]) -> int:
    if words == ["--packages"]:
        missing = [name for name in NEEDED if not _there(name)]
        if missing:
            sys.stderr.write(f"these packages are missing: {', '.join(missing)}; give wheels of them as WHEELS\n")
        return 2 if missing else 0
    driver = gpus()
    found = driver.find_gpus()
    if not found:
        sys.stderr.write(f"there is no NVIDIA GPU to run on: {driver.why_no_gpu()}\n")
        return 2
    if words == ["--tensorrt-rtx"]:
        return 0 if found[0].capability in RTX else 1
    if words == ["--driver"]:
        return _driver(cuda_of_driver())
    if not loads(NVDEC):  # the rest can be measured, and the tests of NVDEC will say what it costs
        sys.stderr.write(
            f"NVDEC decodes nothing: {NVDEC} cannot be loaded; "
            "a container needs NVIDIA_DRIVER_CAPABILITIES with video in it\n"
        )
    for gpu in found:
        sys.stdout.write(f"{gpu}, {gpu.sm}, {gpu.memory_bytes >> 20} MB\n")
    return 0


def cuda_of_driver() -> int:
    """The newest CUDA that the driver can run, 13000 for 13.0; 0 if it does not say."""
    version = ctypes.c_int()
    ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    return version.value


def _driver(cuda: int) -> int:
    if cuda >= CUDA:
        return 0
    sys.stderr.write(
        f"the NVIDIA driver is for CUDA {cuda // 1000}.{cuda % 1000 // 10}, expected 13.0 or newer "
        "(a driver from 580 on): renew it, or give an environment with an older torch as GPU_PYTHON\n"
    )
    return 2


def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # not even what it lies in
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
