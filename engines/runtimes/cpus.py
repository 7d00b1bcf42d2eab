"""How many cores this process may use: what it is bound to, and what its container's quota pays for.

OpenVINO and onnxruntime count the cores that they are bound to, but not the quota of `docker run --cpus` or of a
Kubernetes limit: on a large host they would start a thread a core and be throttled (openvino issue 37838).
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def bound_cpus() -> int:
    """The cores that this process is bound to."""
    return len(os.sched_getaffinity(0))


def usable_cpus(mount: Path = _MOUNT, own: Path = _OWN) -> int:
    """The cores that this process is bound to, or fewer if a quota pays for less; at least 1."""
    quotas = [quota for folder in _groups(mount, own) if (quota := _quota(folder)) is not None]
    return max(1, min([bound_cpus(), *(math.ceil(quota) for quota in quotas)]))


def int8_sums_saturate(cpuinfo: Path = Path("/proc/cpuinfo"), machine: str = platform.machine()) -> bool:
    """Whether INT8 kernels add two products of uint8 and int8 in 16 bits, which cannot hold 2 x 255 x 127.

    So do those for x86 CPUs without VNNI (`vpmaddubsw`; Intel's before 2019, AMD's before Zen 4). Of a CPU that does
    not say what it can do, yes.
    """
    if machine.lower() not in {"x86_64", "amd64"}:
        return False
    first, _, _ = _text(cpuinfo).partition("\n\n")
    flags = next((line for line in first.splitlines() if line.startswith("flags")), "").split()
    return not {"avx512_vnni", "avx_vnni"} & set(flags)


def _groups(mount: Path, own: Path) -> Iterator[Path]:
    """The control groups that this process is in, with all above them, versions 2 and 1.

    A container often sees its own group as the mount's top, under whatever path `own` gives it.
    """
    for line in _text(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        for top in [mount / controllers, mount / "cpu"] if controllers else [mount, mount / "unified"]:
            parts = [part for part in path.split("/") if part]
            for depth in range(len(parts), -1, -1):
                yield top.joinpath(*parts[:depth])


def _quota(folder: Path) -> float | None:
    """How many cores the group's quota pays for, None without one."""
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = _text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip()
    if not (quota.isdigit() and period.isdigit() and int(period)):  # "max" or -1: none
        return None
    return int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # not there, or not for us to see: no limit that we could keep
        return ""
