"""Runs the measurements of `vedette bench pipeline --gpu` in turns and puts the report together.

Once: what the GPU's memory moves. Round by round: the whole machine over surfaces, over the files through NVDEC, and
the network alone, each in a process of its own, so that a GPU that grows warm grows so for all. Ratios are of medians.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from engines.runtimes.gpus import find_gpus
from engines.runtimes.placement import chosen_gpus
from pipeline.bench.child import BenchError
from pipeline.bench.gpu.report import BytesPerFrame, GpuReport, NetworkAlone, Way, verdicts_of
from pipeline.bench.gpu.require import on_gpu, require_gpu
from pipeline.bench.gpu.sample import DeviceSample, GroundSample, NetworkSample
from pipeline.bench.measure import Latency, machine_facts, package_versions, percentiles
from pipeline.bench.process import measured
from pipeline.config_file import load_config

STARTUP_S = 240.0
"""A process may build an engine of the model first, and compile the kernels."""

_PACKAGES = ("torch", "cuda-bindings", "nvidia-cuda-nvrtc", "pycuda", "tensorrt", "tensorrt-rtx")

Answer = TypeVar("Answer")


class Child(Protocol):
    """One measurement in a process of its own. Raises BenchError."""

    def __call__(self, config_path: Path, kind: str, seconds: float, answer: type[Answer]) -> Answer: ...


def bench_gpu(
    config_path: Path,
    *,
    seconds: float,
    rounds: int,
    command: str,
    progress: Callable[[str], None],
    child: Child | None = None,
) -> GpuReport:
    """Measure a configuration of files on its GPU. Raises ConfigError, GpuError, BenchError."""
    config = on_gpu(load_config(config_path, os.environ))
    run = child or run_child
    if child is None:
        require_gpu()
        chosen_gpus(config.model.gpu, find_gpus())
    progress("what the GPU's memory moves, and the pre-processing kernel")
    ground = run(config_path, "ground", seconds, GroundSample)
    surfaces: list[DeviceSample] = []
    decoded: list[DeviceSample] = []
    networks: list[NetworkSample] = []
    for number in range(1, rounds + 1):
        said = f"round {number} of {rounds}"
        progress(f"{said}: the whole pipeline over surfaces on the GPU, {seconds:g} s")
        surfaces.append(run(config_path, "surfaces", seconds, DeviceSample))
        progress(f"{said}: the whole pipeline with NVDEC")
        decoded.append(run(config_path, "nvdec", seconds, DeviceSample))
        progress(f"{said}: the network alone")
        networks.append(run(config_path, "network", seconds, NetworkSample))
    roofline = statistics.median(sample.frames / sample.seconds for sample in networks)
    if not roofline:
        msg = f"the network finished no batch in {seconds:g} s"
        raise BenchError(msg, hint="raise --seconds")
    ways = [_way(samples, roofline) for samples in (surfaces, decoded)]
    return GpuReport(
        gpu=ground.facts,
        engine=surfaces[-1].engine,
        streams=len(config.streams),
        picture_size=ground.bandwidth.size,
        surfaces=ways[0],
        nvdec=ways[1],
        network=NetworkAlone(
            fps=round(roofline, 2),
            lanes=networks[-1].lanes,
            batch=networks[-1].max_batch,
            batch_ms=percentiles([ms for sample in networks for ms in sample.batch_ms]),
        ),
        bandwidth=ground.bandwidth,
        verdicts=verdicts_of(ways[0], ways[1], ground.bandwidth),
        rounds=[
            {
                "surfaces": round(_fps(surfaces[index]), 2),
                "nvdec": round(_fps(decoded[index]), 2),
                "network": round(networks[index].frames / networks[index].seconds, 2),
            }
            for index in range(rounds)
        ],
        versions=package_versions(_PACKAGES),
        machine=machine_facts(),
        command=command,
    )


def _way(samples: Sequence[DeviceSample], roofline: float) -> Way:
    """Raises BenchError where no frame came through."""
    fps = statistics.median(map(_fps, samples))
    pictures = sum(sample.batches.pictures for sample in samples)
    batches = sum(len(sample.batches.total_ms) for sample in samples)
    if not fps or not batches:
        msg = f"{samples[0].sample.kind}: no frame came through the GPU in {samples[0].sample.seconds:.1f} s"
        raise BenchError(msg, hint="raise --seconds; `vedette check` on the configuration says more")
    told = [sample for sample in samples if sample.utilization is not None]
    traced = [sample for sample in samples if sample.traced is not None]
    parts = samples[0].sample.cpu_by_part_s
    return Way(
        fps=round(fps, 2),
        ratio=round(fps / roofline, 4),
        batch=round(pictures / batches, 2),
        device_ms=_device_ms(samples),
        host_ms=_host_ms(samples),
        bytes_per_frame=BytesPerFrame(
            to_device=round(sum(sample.batches.to_device_bytes for sample in samples) / pictures, 1),
            to_host=round(sum(sample.batches.to_host_bytes for sample in samples) / pictures, 1),
        ),
        lanes_busy=round(
            sum(sample.batches.covered_ms for sample in samples)
            / max(1e-9, sum(sample.batches.span_ms for sample in samples)),
            4,
        ),
        utilization=told[-1].utilization if told else None,
        traced=traced[-1].traced if traced else None,
        why_untraced="" if traced else samples[-1].why_untraced,
        decoders={name: said for sample in samples for name, said in sample.decoders.items()},
        cpu_ms={
            part: round(
                statistics.median(one.sample.cpu_by_part_s[part] / max(1, one.sample.frames) for one in samples) * 1e3,
                4,
            )
            for part in parts
        },
    )


def _fps(sample: DeviceSample) -> float:
    return sample.sample.frames / sample.sample.seconds


def _device_ms(samples: Sequence[DeviceSample]) -> dict[str, Latency]:
    stages = list(samples[0].batches.stages_ms)
    found = {
        stage: percentiles([ms for sample in samples for ms in sample.batches.stages_ms[stage]]) for stage in stages
    }
    return found | {"total": percentiles([ms for sample in samples for ms in sample.batches.total_ms])}


def _host_ms(samples: Sequence[DeviceSample]) -> dict[str, Latency]:
    merged: dict[str, list[float]] = {}
    for sample in samples:
        for stream in sample.sample.streams.values():
            for stage, values in stream.stages_ms.items():
                merged.setdefault(stage, []).extend(values)
    return {stage: percentiles(values) for stage, values in merged.items()}


def run_child(config_path: Path, kind: str, seconds: float, answer: type[Answer]) -> Answer:
    """`pipeline.bench.gpu.child` in a process of its own. Raises BenchError with its last line."""
    return measured("pipeline.bench.gpu.child", kind, config_path, seconds, answer, startup_s=STARTUP_S)
