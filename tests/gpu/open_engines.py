"""`python -m tests.gpu.open_engines MODEL OUT.json`: build and open MODEL in each runtime that GPUs have, and say how.

Pictures stay on the GPU, so that the kernels are compiled, too; TensorRT's engine is built and kept for what follows.
Exit status 0 if any runtime opened it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engines.options import GpuOptions, ModelOptions
from engines.runtimes import open_engine
from engines.runtimes.gpus import find_gpus
from tests.gpu.preflight import RTX
from vedette.errors import VedetteError

BACKENDS = ("torch", "tensorrt")


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """`engine`: in its own words; None with `why` it does not run here."""

    engine: str | None
    why: str
    seconds: float


def open_all(model: str) -> dict[str, Opened]:
    """Every runtime, whether it runs here or not."""
    found = {}
    for backend in BACKENDS:
        options = msgspec.convert({"path": model, "backend": backend}, ModelOptions)
        options = msgspec.structs.replace(options, gpu=GpuOptions(decode="gpu"))
        began_ns = time.monotonic_ns()
        engine, why = None, ""
        try:
            opened = open_engine(options, now_ns=time.monotonic_ns)
            engine = opened.description
            opened.close()
        except VedetteError as error:
            why = error.message + (_no_rtx() if backend == "tensorrt" else "")
        except Exception as error:  # noqa: BLE001  # it reports: what one runtime dies of is told, and the other is tried
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        seconds = round((time.monotonic_ns() - began_ns) / 1e9, 1)
        found[backend] = Opened(engine=engine, why=why, seconds=seconds)
    return found


def _no_rtx() -> str:
    """Why TensorRT-RTX, which can be had like any package, is not what runs here; empty if it could."""
    gpus = find_gpus()
    if not gpus or gpus[0].capability in RTX:
        return ""
    return (
        f"; TensorRT-RTX is not made for {gpus[0].sm} and TensorRT comes from NVIDIA alone: torch is measured instead"
    )


def main(words: Sequence[str]) -> int:
    model, out = words
    opened = open_all(model)
    for name, one in opened.items():
        sys.stdout.write(f"{name}: {one.engine or one.why} ({one.seconds} s)\n")
    Path(out).write_bytes(msgspec.json.encode(opened))
    return 0 if any(one.engine for one in opened.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
