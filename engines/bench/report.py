"""From the turns of a bench to its rows: medians over rounds, percentiles, and speed-ups taken within rounds.

A speed-up is the median over the rounds of (the other's p50 of that round / this one's p50 of that round): what slows
the machine for a while slows both.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from engines.bench.job import Job
from engines.bench.measure import Measured

_PACKAGES = ("vedette", "numpy", "openvino", "onnxruntime", "onnx", "nncf", "torch", "tensorrt", "tensorrt_rtx")

Key = tuple[str, str, str, int]
"""Model, runtime, precision, batch: what a row is of."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One engine at one batch size.

    `p50_ms` of one request (of `batch` pictures) at a time: the median over the rounds of each round's median; `p95_ms`
    and `p99_ms` over all requests of all rounds, `least_ms` the quickest of them. `fps`: pictures a second with
    `requests` in flight, median over the rounds. `memory_mb`: the most that the process which gave `fps` has had
    resident, Python and libraries included. Speed-ups are of `p50_ms`, None where there is nothing to compare with;
    `ap` where it is known.
    """

    model: str
    runtime: str
    precision: str
    batch: int
    size: tuple[int, int]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    least_ms: float
    fps: float
    requests: int
    memory_mb: float
    file_mb: float
    gflops: float | None
    speedup_fp32: float | None
    speedup_fp32_range: tuple[float, float] | None
    speedup_nncf: float | None
    speedup_first: float | None
    ap: float | None
    description: str
    note: str
    p50_ms_by_round: list[float]
    fps_by_round: list[float]
    samples: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `vedette model bench` found. `missing`: what could not be measured, with why."""

    rows: list[Row]
    missing: list[str]
    rounds: int
    seconds: float
    versions: dict[str, str]
    machine: dict[str, str]
    command: str


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a row without measuring it."""

    size: tuple[int, int]
    file_bytes: int
    gflops: float | None
    ap: float | None = None
    note: str = ""


def rows_of(measured: Sequence[Measured], about: Mapping[tuple[str, str, str], About]) -> tuple[list[Row], list[str]]:
    """Rows in the order of their jobs, and what is missing. `about` is by model, runtime and precision."""
    pairs: dict[Key, dict[str, Measured]] = {}
    for one in measured:
        pairs.setdefault(_key(one.job), {})[one.job.mode] = one
    whole = {key: pair for key, pair in pairs.items() if not any(one.failed for one in pair.values())}
    by_round = {key: _medians(pair["latency"]) for key, pair in whole.items()}
    first = next(iter(whole), None)
    rows = []
    for key, pair in whole.items():
        model, runtime, precision, batch = key
        latency, throughput = pair["latency"], pair["throughput"]
        facts = about[model, runtime, precision]
        latencies = sorted(value for turn in latency.turns for value in turn.latencies_ms)
        fps = [batch * turn.requests / turn.seconds for turn in throughput.turns]
        against_fp32 = _ratios(by_round, (model, runtime, "fp32", batch), key)
        against_nncf = _ratios(by_round, (model, runtime, "nncf-int8", batch), key)
        against_first = _ratios(by_round, first, key) if first is not None and first[3] == batch else None
        rows.append(
            Row(
                model=model,
                runtime=runtime,
                precision=precision,
                batch=batch,
                size=facts.size,
                p50_ms=round(statistics.median(by_round[key]), 4),
                p95_ms=round(_percentile(latencies, 95), 4),
                p99_ms=round(_percentile(latencies, 99), 4),
                least_ms=round(latencies[0], 4),
                fps=round(statistics.median(fps), 2),
                requests=throughput.ready.requests if throughput.ready is not None else 0,
                memory_mb=round(max(turn.memory_bytes for turn in throughput.turns) / 1e6, 1),
                file_mb=round(facts.file_bytes / 1e6, 2),
                gflops=facts.gflops,
                speedup_fp32=_median(against_fp32),
                speedup_fp32_range=None if against_fp32 is None else _range(against_fp32),
                speedup_nncf=_median(against_nncf),
                speedup_first=_median(against_first),
                ap=facts.ap,
                description=throughput.ready.description if throughput.ready is not None else "",
                note=facts.note,
                p50_ms_by_round=[round(value, 4) for value in by_round[key]],
                fps_by_round=[round(value, 2) for value in fps],
                samples=len(latencies),
            )
        )
    return rows, _missing(measured)


def _missing(measured: Sequence[Measured]) -> list[str]:
    """What failed, with why; a line for all that a runtime refuses for one reason."""
    refused: dict[tuple[str, str, str], dict[str, None]] = {}
    for one in measured:
        if one.failed:
            job = one.job
            what = f"{job.precision} batch {job.batch}"
            refused.setdefault((job.label, job.runtime, one.failed), {})[what] = None
    return [f"{model}, {runtime}, {', '.join(what)}: {why}" for (model, runtime, why), what in refused.items()]


def _key(job: Job) -> Key:
    return job.label, job.runtime, job.precision, job.batch


def _medians(measured: Measured) -> list[float]:
    return [statistics.median(turn.latencies_ms) for turn in measured.turns]


def _ratios(by_round: Mapping[Key, list[float]], other: Key, own: Key) -> list[float] | None:
    """By round, how many times as fast as `other`; None if that was not measured."""
    if other not in by_round:
        return None
    return [theirs / ours for theirs, ours in zip(by_round[other], by_round[own], strict=True)]


def _median(ratios: list[float] | None) -> float | None:
    return None if ratios is None else round(statistics.median(ratios), 4)


def _range(ratios: list[float]) -> tuple[float, float]:
    return round(min(ratios), 4), round(max(ratios), 4)


def _percentile(ordered: Sequence[float], percent: float) -> float:
    """By nearest rank: what so many percent of the values do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def package_versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine_facts() -> dict[str, str]:
    """The machine that the figures were measured on, and how busy it was before."""
    cpu = platform.processor() or platform.machine()
    flags = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        said = dict(line.split(":", 1) for line in cpuinfo.read_text().partition("\n\n")[0].splitlines() if ":" in line)
        facts = {name.strip(): value.strip() for name, value in said.items()}
        cpu = facts.get("model name", cpu)
        flags = " ".join(flag for flag in facts.get("flags", "").split() if flag in _TELLING)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return {
        "cpu": cpu,
        "cores": str(len(os.sched_getaffinity(0))),
        "instructions": flags,
        "load_average": load,
        "system": platform.platform(),
    }


_TELLING = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")
"""Of a CPU's flags, those that decide what INT8 and BF16 bring."""
