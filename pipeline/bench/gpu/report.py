"""What `vedette bench pipeline --gpu` found: the types of its JSON (docs/gpu.md), and the same for people."""

from __future__ import annotations

import msgspec

from pipeline.bench.gpu.figures import Bandwidth, GpuFacts, Utilization
from pipeline.bench.gpu.sample import Traced
from pipeline.bench.measure import Latency

RATIO_WANTED = 0.90
PREPROCESS_WANTED = 0.60


class BytesPerFrame(msgspec.Struct, frozen=True, kw_only=True):
    """Across the bus, by the lanes' own account."""

    to_device: float
    to_host: float


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """The whole machine, of one kind of source.

    Medians of the rounds; latencies of all rounds together. `device_ms`: a batch by stage, by CUDA events; `host_ms`:
    a frame by stage, by the host's clock; `batch`: pictures a batch, mean. `lanes_busy`: share of the device's time in
    which a batch was under way. `utilization`, `traced`: of the last round that has them, None where nobody could tell
    (`why_untraced`).
    """

    fps: float
    ratio: float
    batch: float
    device_ms: dict[str, Latency]
    host_ms: dict[str, Latency]
    bytes_per_frame: BytesPerFrame
    lanes_busy: float
    utilization: Utilization | None
    traced: Traced | None
    why_untraced: str
    decoders: dict[str, str]
    cpu_ms: dict[str, float]


class NetworkAlone(msgspec.Struct, frozen=True, kw_only=True):
    """The roofline: full batches on all lanes, nothing copied, prepared or suppressed. `batch_ms`: by CUDA events."""

    fps: float
    lanes: int
    batch: int
    batch_ms: Latency


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One figure against what is wanted of it. `held` None: not measured, and `note` says why."""

    what: str
    value: float | None
    wanted: str
    held: bool | None
    note: str = ""


class GpuReport(msgspec.Struct, frozen=True, kw_only=True):
    """Rates in frames a second, times in milliseconds, sizes in bytes, bandwidth in 10^9 bytes a second."""

    gpu: GpuFacts
    engine: str
    streams: int
    picture_size: tuple[int, int]
    surfaces: Way
    nvdec: Way
    network: NetworkAlone
    bandwidth: Bandwidth
    verdicts: tuple[Verdict, ...]
    rounds: list[dict[str, float]]
    versions: dict[str, str]
    machine: dict[str, str]
    command: str


def verdicts_of(surfaces: Way, nvdec: Way, bandwidth: Bandwidth) -> tuple[Verdict, ...]:
    """What issue and documentation want, in the order in which they are shown."""
    found = [
        _ratio("surfaces: pipeline against the network alone", surfaces),
        _ratio("NVDEC: pipeline against the network alone", nvdec),
        _across(nvdec),
    ]
    largest = max(bandwidth.preprocess, key=lambda figures: (figures.batch, figures.share))
    found.append(
        Verdict(
            what="pre-processing against a copy on the device",
            value=largest.share,
            wanted=f">= {PREPROCESS_WANTED:.2f}",
            held=largest.share >= PREPROCESS_WANTED,
            note=f"{largest.gb_s:.0f} of {bandwidth.copy_gb_s:.0f} GB/s, {largest.batch} pictures, {largest.dtype}",
        )
    )
    return tuple(found)


def _ratio(what: str, way: Way) -> Verdict:
    return Verdict(
        what=what,
        value=way.ratio,
        wanted=f">= {RATIO_WANTED:.2f}",
        held=way.ratio >= RATIO_WANTED,
        note=_why_slow(way),
    )


def _why_slow(way: Way) -> str:
    on_cpu = [name for name, said in way.decoders.items() if said.startswith("CPU")]
    if on_cpu:
        return f"{on_cpu[0]} was decoded on the {way.decoders[on_cpu[0]]}"
    return "" if way.utilization is None else f"NVDEC busy {way.utilization.decoder:.0%}"


def _across(way: Way) -> Verdict:
    what, wanted = "NVDEC: pictures that crossed the bus", "0"
    on_cpu = [name for name, said in way.decoders.items() if said.startswith("CPU")]
    if way.traced is None:
        return Verdict(what=what, value=None, wanted=wanted, held=None, note=f"no trace: {way.why_untraced}")
    traced = way.traced
    if not traced.frames:
        return Verdict(what=what, value=None, wanted=wanted, held=None, note="no frame came through under the trace")
    note = f"of {traced.frames} frames; the largest copy had {traced.largest_bytes} bytes"
    if on_cpu:
        note += f"; {on_cpu[0]} was decoded on the {way.decoders[on_cpu[0]]}"
    held = traced.pictures_across == 0 and not on_cpu
    return Verdict(what=what, value=float(traced.pictures_across), wanted=wanted, held=held, note=note)


def table(report: GpuReport) -> list[str]:
    """The report for people, the verdicts last."""
    gpu, network = report.gpu, report.network
    lines = [
        f"{gpu.name} ({gpu.capability}), driver {gpu.driver or 'unknown'}, CUDA {gpu.cuda or 'unknown'}",
        report.engine,
        f"{report.streams} streams of {report.picture_size[0]}x{report.picture_size[1]}",
        "",
        f"network alone {network.fps:10.1f} frames/s   {network.lanes} lanes, batch {network.batch},"
        f" {network.batch_ms.p50:.3f} ms a batch",
    ]
    for name, way in (("surfaces", report.surfaces), ("NVDEC", report.nvdec)):
        lines += ["", *_way(name, way)]
    lines += ["", f"copy on the device {report.bandwidth.copy_gb_s:.0f} GB/s"]
    lines += [
        f"  pre-processing, {one.batch} pictures, {one.dtype}: {one.ms * 1e3:.1f} us, {one.gb_s:.0f} GB/s,"
        f" {one.share:.2f} of it"
        for one in report.bandwidth.preprocess
    ]
    return [*lines, "", *verdict_lines(report.verdicts)]


def _way(name: str, way: Way) -> list[str]:
    lines = [
        f"{name:<13} {way.fps:10.1f} frames/s   ratio {way.ratio:.3f}, {way.batch:.1f} pictures a batch",
        f"  across the bus a frame: {way.bytes_per_frame.to_device:.0f} bytes in, {way.bytes_per_frame.to_host:.0f} out"
        f" (by the lanes' account)",
        f"  busy: {_busy(way)}",
        "  device, ms a batch          p50      p95      p99",
    ]
    lines += [f"    {stage:<20} {one.p50:8.3f} {one.p95:8.3f} {one.p99:8.3f}" for stage, one in way.device_ms.items()]
    lines.append("  CPU by part, ms a frame: " + ", ".join(f"{part} {value:.3f}" for part, value in way.cpu_ms.items()))
    return lines


def _busy(way: Way) -> str:
    said = [f"batches under way {way.lanes_busy:.0%} of the time"]
    if way.utilization is not None:
        said.append(f"kernels {way.utilization.gpu:.0%} and NVDEC {way.utilization.decoder:.0%} by the driver")
    if way.traced is not None:
        said.append(f"{way.traced.busy:.0%} in a trace")
    return ", ".join(said)


def verdict_lines(verdicts: tuple[Verdict, ...]) -> list[str]:
    """A line each: what, figure, wanted, held or not, and why."""
    words = {True: "held", False: "NOT HELD", None: "not measured"}
    return [
        f"{one.what:<48} {'-' if one.value is None else f'{one.value:.3f}':>8}  {one.wanted:<8} {words[one.held]:<12}"
        f" {one.note}".rstrip()
        for one in verdicts
    ]
