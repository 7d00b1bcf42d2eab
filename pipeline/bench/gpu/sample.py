"""What one process measured on a GPU, as it hands it to the process that puts the report together."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engines.runtimes.stage_times import BatchTimes
from pipeline.bench.child import Sample
from pipeline.bench.gpu.figures import Bandwidth, GpuFacts, Utilization
from pipeline.bench.gpu.trace import covered

STAGES = ("input", "preprocess", "network", "output")
"""Of a batch on its lane's stream: what says where pictures lie, copied; the kernel that makes the network's input; the
network; suppression and the copy back."""


class Batches(msgspec.Struct, kw_only=True):
    """Every batch in the window: milliseconds by stage and of all, pictures, and bytes across the bus, summed."""

    stages_ms: dict[str, list[float]] = msgspec.field(default_factory=dict)
    total_ms: list[float] = msgspec.field(default_factory=list)
    pictures: int = 0
    to_device_bytes: int = 0
    to_host_bytes: int = 0
    covered_ms: float = 0.0
    span_ms: float = 0.0


def batches_of(times: Sequence[BatchTimes]) -> Batches:
    """`covered_ms`: device time in which a batch was under way, of `span_ms` from the first to the last."""
    stages = {
        "input": [one.input_ms for one in times],
        "preprocess": [one.preprocess_ms for one in times],
        "network": [one.network_ms for one in times],
        "output": [one.output_ms for one in times],
    }
    total = [sum(parts) for parts in zip(*stages.values(), strict=True)]
    spans = [(one.began_ms, one.began_ms + ms) for one, ms in zip(times, total, strict=True)]
    return Batches(
        stages_ms=stages,
        total_ms=total,
        pictures=sum(one.count for one in times),
        to_device_bytes=sum(one.to_device_bytes for one in times),
        to_host_bytes=sum(one.to_host_bytes for one in times),
        covered_ms=covered(spans),
        span_ms=max((last for _, last in spans), default=0.0) - min((first for first, _ in spans), default=0.0),
    )


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """A second or so under the profiler: what the process had the device do, whoever asked for it.

    `busy` is the share of the time from the first to the last operation in which one ran. `pictures_across` counts
    copies between host and device as large as a picture: its luma plane, or the network's input, whichever is smaller.
    """

    seconds: float
    frames: int
    operations: int
    busy: float
    to_device_bytes: int
    to_host_bytes: int
    largest_bytes: int
    picture_bytes: int
    pictures_across: int


class DeviceSample(msgspec.Struct, kw_only=True):
    """The whole machine, its pictures on the device."""

    sample: Sample
    engine: str
    max_batch: int
    batches: Batches
    utilization: Utilization | None
    traced: Traced | None
    why_untraced: str
    decoders: dict[str, str]
    sizes: dict[str, tuple[int, int]]


class NetworkSample(msgspec.Struct, kw_only=True):
    """The network alone, all lanes, full batches."""

    engine: str
    max_batch: int
    lanes: int
    seconds: float
    frames: int
    batch_ms: list[float]


class GroundSample(msgspec.Struct, kw_only=True):
    """What is measured once: the GPU itself."""

    facts: GpuFacts
    bandwidth: Bandwidth
