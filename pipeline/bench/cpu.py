"""CPU seconds by part of the machine, read from the kernel's account of this process's threads (Linux).

Supervised threads are known by their kernel ids; FFmpeg names its decoder threads `av:…`; what is left are the
engine's own threads and the main thread, which waits. Threads that have ended were decoders': a file that is read
again, or a camera that reconnects, has new ones.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pipeline.clock import process_cpu_s

PARTS = ("decode", "dispatch", "finish", "sinks", "engine", "other")
_TICKS = os.sysconf("SC_CLK_TCK")


def thread_cpu_s() -> dict[int, tuple[str, float]]:
    """Every living thread's kernel name and CPU seconds so far, user and system, by kernel id.

    Resolution is the scheduler's nanoseconds where the kernel gives them (schedstat), else clock ticks.
    """
    found: dict[int, tuple[str, float]] = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
            try:
                seconds = int((task / "schedstat").read_text().split()[0]) / 1e9
            except FileNotFoundError:
                fields = (task / "stat").read_text().rpartition(")")[2].split()
                seconds = (int(fields[11]) + int(fields[12])) / _TICKS
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended while we looked
        found[int(task.name)] = (name, seconds)
    return found


def part_of(thread_id: int, kernel_name: str, supervised: Mapping[int, str], main_id: int) -> str:
    """Which of PARTS a thread's time belongs to."""
    name = supervised.get(thread_id)
    if name is None:
        if thread_id == main_id:
            return "other"
        return "decode" if kernel_name.startswith("av:") else "engine"
    if name.startswith("source:"):
        return "decode"
    part = name.partition(":")[0]  # several GPUs have several: dispatch:1
    if part in {"dispatch", "finish"}:
        return part
    if name.startswith(("sink:", "spool:")):
        return "sinks"
    return "other"


def by_part(supervised: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds so far by part; `supervised` are the supervisor's threads, name to kernel id."""
    names = {thread_id: name for name, thread_id in supervised.items()}
    totals = dict.fromkeys(PARTS, 0.0)
    for thread_id, (kernel_name, seconds) in thread_cpu_s().items():
        totals[part_of(thread_id, kernel_name, names, os.getpid())] += seconds
    totals["decode"] += max(0.0, process_cpu_s() - sum(totals.values()))
    return totals
