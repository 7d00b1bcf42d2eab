"""Runs the measurements of `vedette bench pipeline` in turns and puts the report together.

Round by round: the whole pipeline, then the roofline in each of its modes, each in a process of its own; then a second
phase with files paced at half of the measured rate, for latency without saturation. The roofline is the mode with the
best median; `ratio` compares medians, `rounds` keeps the raw figures.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from pipeline.bench.child import BenchError, Sample
from pipeline.bench.process import measured
from pipeline.bench.roofline import MODES
from pipeline.config_file import load_config

RATIO_LIMIT = 1.03
"""Nothing is faster than its own parts: a larger ratio is an error of the measurement."""

_CHILD_STARTUP_S = 120.0
_PACKAGES = ("vedette", "numpy", "av", "opencv-python-headless", "openvino", "onnxruntime", "norfair", "redis")


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    p50: float
    p95: float
    p99: float


class StreamFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One stream: frames a second at full speed, and its latency by stage (of the paced phase for a file)."""

    fps: float
    latency_ms: dict[str, Latency]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `vedette bench pipeline` found. Times in milliseconds, CPU in milliseconds a frame."""

    fps: float
    roofline_fps: float
    ratio: float
    overhead_cpu_ms: float
    overhead_ms: Latency
    stages: dict[str, Latency]
    cpu_ms: dict[str, float]
    roofline_cpu_ms: float
    streams: dict[str, StreamFigures]
    roofline_mode: str
    roofline_by_mode: dict[str, float]
    paced_fps: float
    superseded_when_paced: int
    rounds: list[dict[str, float]]
    versions: dict[str, str]
    machine: dict[str, str]
    command: str


def bench(
    config_path: Path,
    *,
    seconds: float,
    rounds: int,
    paced_seconds: float,
    command: str,
    progress: Callable[[str], None],
) -> Report:
    """Measure the pipeline of a configuration against its roofline. Raises ConfigError, BenchError."""
    config = load_config(config_path, os.environ)
    files = [options.id for options in config.streams if options.is_file]
    pipelines: list[Sample] = []
    rooflines: dict[str, list[Sample]] = {}
    for number in range(1, rounds + 1):
        progress(f"round {number} of {rounds}: the whole pipeline, {seconds:.0f} s")
        pipelines.append(_child(config_path, "pipeline", seconds))
        for hint, requests in MODES:
            progress(f"round {number} of {rounds}: roofline, {hint}, {requests} request{'s' * (requests > 1)}")
            sample = _child(config_path, "roofline", seconds, "--hint", hint, "--requests", str(requests))
            rooflines.setdefault(sample.kind, []).append(sample)
    fps = statistics.median(_fps(sample) for sample in pipelines)
    by_mode = {kind: statistics.median(map(_fps, samples)) for kind, samples in rooflines.items()}
    mode = max(by_mode, key=lambda kind: by_mode[kind])
    if not by_mode[mode]:
        msg = f"the engine finished no frame in {seconds:g} s"
        raise BenchError(msg, hint="raise --seconds")
    ratio = fps / by_mode[mode]
    if files and ratio > RATIO_LIMIT:
        msg = (
            f"the pipeline came out at {ratio:.3f} of its roofline, expected at most {RATIO_LIMIT}: "
            "the machine changed its speed between the runs"
        )
        raise BenchError(msg, hint="stop other work on this machine, or raise --rounds")
    if files:
        rate = sum(_stream_fps(pipelines, name) for name in files) / len(files) / 2
        progress(f"paced: {rate:.1f} frames a second of each file, {paced_seconds:.0f} s")
        paced = _child(config_path, "paced", paced_seconds, "--rate", f"{rate:.3f}")
    else:
        progress(f"latency: {paced_seconds:.0f} s")
        paced = _child(config_path, "paced", paced_seconds)
    if not paced.frames:
        msg = f"no frame reached its sink in {paced_seconds:g} s"
        raise BenchError(msg, hint="raise --paced-seconds; `vedette check` on the configuration says more")
    roofline_cpu_ms = statistics.median(_cpu_ms(sample) for sample in rooflines[mode])
    return Report(
        fps=round(fps, 2),
        roofline_fps=round(by_mode[mode], 2),
        ratio=round(ratio, 4),
        overhead_cpu_ms=round(statistics.median(_cpu_ms(sample) for sample in pipelines) - roofline_cpu_ms, 3),
        overhead_ms=percentiles([value for stream in paced.streams.values() for value in stream.overhead_ms]),
        stages=_by_stage(paced, list(paced.streams)),
        cpu_ms={
            part: round(
                statistics.median(sample.cpu_by_part_s[part] / max(1, sample.frames) for sample in pipelines) * 1e3, 3
            )
            for part in pipelines[0].cpu_by_part_s
        },
        roofline_cpu_ms=round(roofline_cpu_ms, 3),
        streams={
            options.id: StreamFigures(
                fps=round(_stream_fps(pipelines, options.id), 2),
                latency_ms=_by_stage(paced, [options.id]),
            )
            for options in config.streams
        },
        roofline_mode=mode,
        roofline_by_mode={kind: round(value, 2) for kind, value in by_mode.items()},
        paced_fps=round(_fps(paced), 2),
        superseded_when_paced=paced.superseded,
        rounds=[
            {"pipeline": round(_fps(sample), 2)}
            | {kind: round(_fps(samples[index]), 2) for kind, samples in rooflines.items()}
            for index, sample in enumerate(pipelines)
        ],
        versions=package_versions(),
        machine=machine_facts(),
        command=command,
    )


def _child(config_path: Path, kind: str, seconds: float, *more: str) -> Sample:
    return measured("pipeline.bench.child", kind, config_path, seconds, Sample, *more, startup_s=_CHILD_STARTUP_S)


def _fps(sample: Sample) -> float:
    return sample.frames / sample.seconds


def _stream_fps(samples: Sequence[Sample], name: str) -> float:
    return statistics.median(
        sample.streams[name].frames / sample.seconds if name in sample.streams else 0.0 for sample in samples
    )


def _cpu_ms(sample: Sample) -> float:
    return sample.cpu_s * 1e3 / max(1, sample.frames)


def _by_stage(sample: Sample, streams: Sequence[str]) -> dict[str, Latency]:
    merged: dict[str, list[float]] = {}
    for name in streams:
        for stage, values in sample.streams[name].stages_ms.items() if name in sample.streams else ():
            merged.setdefault(stage, []).extend(values)
    return {stage: percentiles(values) for stage, values in merged.items()}


def percentiles(values: list[float]) -> Latency:
    """Percentiles by nearest rank: what so many percent of the values do not exceed."""
    ordered = sorted(values)

    def at(percent: float) -> float:
        return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)], 3)

    return Latency(p50=at(50), p95=at(95), p99=at(99))


def package_versions(more: Sequence[str] = ()) -> dict[str, str]:
    """Versions of what the figures depend on."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *more):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine_facts() -> dict[str, str]:
    """The machine that the figures were measured on, and how busy it was."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return {"cpu": cpu, "cores": str(affinity), "load_average": load, "system": platform.platform()}
