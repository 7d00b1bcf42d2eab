"""`vedette bench pipeline --gpu`: medians, ratios, verdicts and keys, with processes that are scripted; and no GPU."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from engines.runtimes.gpus import Gpu, find_gpus
from engines.runtimes.stage_times import BatchTimes
from pipeline.bench.child import BenchError, Sample, StreamSample
from pipeline.bench.gpu.figures import Bandwidth, GpuFacts, KernelFigures, Utilization
from pipeline.bench.gpu.measure import bench_gpu
from pipeline.bench.gpu.nvml import Nvml, NvmlWatch
from pipeline.bench.gpu.report import GpuReport, table
from pipeline.bench.gpu.sample import DeviceSample, GroundSample, NetworkSample, Traced, batches_of
from vedette.cli import main as cli
from vedette.errors import GpuError

ROOT = Path(__file__).parents[2]
WITHOUT_A_GPU = pytest.mark.skipif(bool(find_gpus()), reason="there is a GPU")

TRACED = Traced(
    seconds=0.5, frames=500, operations=9, busy=0.9, to_device_bytes=40_000, to_host_bytes=900_000,
    largest_bytes=68_000, picture_bytes=737_280, pictures_across=0,
)  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gpu.yaml"
    streams = [{"id": name, "url": f"{name}.mkv", "mode": "file"} for name in ("a", "b")]
    sinks = [{"kind": "jsonl", "path": "out.jsonl"}]
    path.write_text(yaml.safe_dump({"version": 1, "model": {"path": "m.onnx"}, "streams": streams, "sinks": sinks}))
    return path


def times(began_ms: float, count: int = 8) -> BatchTimes:
    return BatchTimes(
        lane=0, device="cuda:0", count=count, size=8, began_ms=began_ms, input_ms=0.1, preprocess_ms=0.2,
        network_ms=1.5, output_ms=0.2, to_device_bytes=1000, to_host_bytes=1600,
    )  # fmt: skip


class Processes:
    """Stands for the processes that measure; gives what they would have found, round by round."""

    def __init__(self, **given: Any) -> None:
        self.calls: list[str] = []
        self.frames = {"surfaces": iter([900, 950, 1000]), "nvdec": iter([800, 910, 700])}
        self.network = iter([1000, 1100, 900])
        self.decoder = given.get("decoder", "GPU 0")
        self.traced: Traced | None = given.get("traced", TRACED)
        self.share: float = given.get("share", 0.7)

    def __call__(self, config: Path, kind: str, seconds: float, answer: type[Any]) -> Any:
        self.calls.append(kind)
        if kind == "ground":
            return self.ground()
        if kind == "network":
            return NetworkSample(
                engine="torch", max_batch=8, lanes=3, seconds=1.0, frames=next(self.network), batch_ms=[1.5, 1.6]
            )
        return self.device(kind)

    def device(self, kind: str) -> DeviceSample:
        frames = next(self.frames[kind])
        return DeviceSample(
            sample=Sample(
                kind=kind,
                seconds=1.0,
                frames=frames,
                cpu_s=1.0,
                cpu_by_part_s={"dispatch": 0.5, "finish": 0.25},
                streams={"a": StreamSample(frames=frames, stages_ms={"engine": [2.0, 3.0]})},
            ),
            engine="torch on a GPU",
            max_batch=8,
            batches=batches_of([times(0.0), times(1.0), times(4.0, 4)]),
            utilization=Utilization(gpu=0.95, decoder=0.4, samples=10),
            traced=self.traced,
            why_untraced="" if self.traced else "CUPTI may not look here",
            decoders={"a": "none: made once" if kind == "surfaces" else self.decoder},
            sizes={"a": (1920, 1080)},
        )

    def ground(self) -> GroundSample:
        kernels = tuple(
            KernelFigures(batch=batch, dtype="uint8", ms=0.01, read_bytes=7, written_bytes=3, gb_s=1.0, share=share)
            for batch, share in ((8, 0.4), (32, self.share))
        )
        return GroundSample(
            facts=GpuFacts(
                name="NVIDIA X", capability="sm_90", memory_mb=80_000, l2_mb=50.0, driver="580.1", cuda="13.0"
            ),
            bandwidth=Bandwidth(copy_gb_s=3000.0, size=(1920, 1080), pictures=24, preprocess=kernels),
        )


def bench(config: Path, processes: Processes) -> GpuReport:
    return bench_gpu(config, seconds=1.0, rounds=3, command="the command", progress=lambda _: None, child=processes)


def test_rounds_alternate_and_medians_are_compared(config: Path) -> None:
    processes = Processes()

    report = bench(config, processes)

    assert processes.calls == ["ground", *(["surfaces", "nvdec", "network"] * 3)]
    assert (report.surfaces.fps, report.nvdec.fps, report.network.fps) == (950.0, 800.0, 1000.0)
    assert (report.surfaces.ratio, report.nvdec.ratio) == (0.95, 0.8)
    assert report.rounds[1] == {"surfaces": 950.0, "nvdec": 910.0, "network": 1100.0}
    way = report.surfaces
    assert way.batch == pytest.approx(20 / 3, abs=0.01)
    assert (way.bytes_per_frame.to_device, way.bytes_per_frame.to_host) == (150.0, 240.0)
    assert {stage: latency.p50 for stage, latency in way.device_ms.items()} == {
        "input": 0.1, "preprocess": 0.2, "network": 1.5, "output": 0.2, "total": 2.0,
    }  # fmt: skip
    assert way.lanes_busy == pytest.approx(5 / 6, abs=1e-4)  # 0 to 3 and 4 to 6
    assert way.host_ms["engine"].p99 == 3.0
    assert way.cpu_ms["dispatch"] == pytest.approx(500 / 950, abs=1e-3)


def test_verdicts_say_what_is_held_and_what_is_not(config: Path) -> None:
    found = bench(config, Processes()).verdicts

    assert [(one.value, one.held) for one in found] == [(0.95, True), (0.8, False), (0.0, True), (0.7, True)]
    assert found[1].note == "NVDEC busy 40%"
    assert found[2].note == "of 500 frames; the largest copy had 68000 bytes"


@pytest.mark.parametrize(
    ("given", "which", "held", "note"),
    [
        ({"share": 0.59}, 3, False, "1 of 3000 GB/s, 32 pictures, uint8"),
        ({"traced": None}, 2, None, "no trace: CUPTI may not look here"),
        ({"traced": msgspec.structs.replace(TRACED, pictures_across=1)}, 2, False, "of 500 frames"),
        ({"traced": msgspec.structs.replace(TRACED, frames=0)}, 2, None, "no frame came through under the trace"),
        ({"decoder": "CPU: no session left"}, 2, False, "a was decoded on the CPU: no session left"),
    ],
)
def test_nothing_is_held_that_was_not_seen(
    config: Path, given: dict[str, Any], which: int, held: bool | None, note: str
) -> None:
    verdict = bench(config, Processes(**given)).verdicts[which]

    assert verdict.held is held
    assert note in verdict.note


def test_table_ends_with_the_verdicts(config: Path) -> None:
    lines = table(bench(config, Processes(traced=None)))

    assert lines[0] == "NVIDIA X (sm_90), driver 580.1, CUDA 13.0"
    assert any(line.startswith("network alone     1000.0 frames/s") for line in lines)
    assert [re.sub(" +", " ", line) for line in lines[-4:]] == [
        "surfaces: pipeline against the network alone 0.950 >= 0.90 held NVDEC busy 40%",
        "NVDEC: pipeline against the network alone 0.800 >= 0.90 NOT HELD NVDEC busy 40%",
        "NVDEC: pictures that crossed the bus - 0 not measured no trace: CUPTI may not look here",
        "pre-processing against a copy on the device 0.700 >= 0.60 held 1 of 3000 GB/s, 32 pictures, uint8",
    ]


def test_page_describes_every_key(config: Path) -> None:
    page = (ROOT / "docs/gpu.md").read_text()
    described = set(re.findall(r"`([\w.]+)`", page))

    assert set(keys(msgspec.to_builtins(bench(config, Processes())))) <= described


def keys(given: Any) -> Iterator[str]:
    """The names of all fields; what is named by a stream, a stage or a package is data."""
    by_name = {"device_ms", "host_ms", "decoders", "cpu_ms", "rounds", "versions", "machine"}
    for name, value in given.items():
        yield name
        if name in by_name:
            continue
        for inner in value if isinstance(value, list | tuple) else [value]:
            if isinstance(inner, dict):
                yield from keys(inner)


def test_nothing_measured_is_no_figure(config: Path) -> None:
    processes = Processes()
    processes.network = iter([0, 0, 0])
    with pytest.raises(BenchError, match="the network finished no batch in 1 s"):
        bench(config, processes)
    processes = Processes()
    processes.frames["nvdec"] = iter([0, 0, 0])
    with pytest.raises(BenchError, match=r"nvdec: no frame came through the GPU in 1\.0 s"):
        bench(config, processes)


# ── without a GPU ────────────────────────────────────────────────────────────────────────────────────────────────────


@WITHOUT_A_GPU
def test_without_a_gpu_one_line_says_so(capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"

    assert cli.main(["bench", "pipeline", str(config), "--gpu", "--json", str(out)]) == 2

    assert capsys.readouterr().err == "GpuError: --gpu needs an NVIDIA GPU: there is no NVIDIA driver (libcuda.so.1)\n"
    assert not out.exists()


@WITHOUT_A_GPU
def test_process_without_a_gpu_says_so_in_its_last_line(config: Path) -> None:
    command = [sys.executable, "-m", "pipeline.bench.gpu.child", "surfaces", str(config), "--seconds", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    assert ended.returncode == 70
    assert ended.stderr.splitlines()[-1].startswith("--gpu needs an NVIDIA GPU: ")


def test_cameras_are_refused(config: Path) -> None:
    config.write_text(config.read_text().replace("a.mkv", "rtsp://camera.example/").replace("mode: file", "mode: live"))
    with pytest.raises(BenchError, match="--gpu measures files as fast as they can be read, and a is a camera"):
        bench(config, Processes())


# ── the driver's samples ─────────────────────────────────────────────────────────────────────────────────────────────


class Library:
    """Stands for libnvidia-ml."""

    def __init__(self, *, tells: bool = True) -> None:
        self.status = 0 if tells else 3  # NVML_ERROR_NOT_SUPPORTED

    def nvmlSystemGetDriverVersion(self, said: Any, size: int) -> int:
        said.value = b"580.159.04"[: size - 1]
        return self.status

    def nvmlDeviceGetUtilizationRates(self, handle: object, rates: Any) -> int:
        rates._obj.gpu = 90
        return self.status

    def nvmlDeviceGetDecoderUtilization(self, handle: object, decoder: Any, period: Any) -> int:
        decoder._obj.value = 25
        return self.status


def test_driver_s_samples_are_averaged() -> None:
    library: Any = Library()
    nvml = Nvml(library, ctypes.c_void_p())
    watch = NvmlWatch(nvml)
    watch.look()
    watch.look()

    assert nvml.driver == "580.159.04"
    assert watch.seen() == Utilization(gpu=0.9, decoder=0.25, samples=2)


def test_driver_that_does_not_tell_is_no_figure() -> None:
    library: Any = Library(tells=False)
    nvml = Nvml(library, ctypes.c_void_p())
    for watch in (NvmlWatch(nvml), NvmlWatch(None)):
        watch.look()
        assert watch.seen() is None
    assert nvml.driver is None


@WITHOUT_A_GPU
def test_machine_without_a_driver_has_no_samples() -> None:
    assert Nvml.of(Gpu(name="none", capability=(9, 0))) is None


def test_bench_error_is_not_a_gpu_error() -> None:
    """Exit status: what is wrong with the machine is 2, what went wrong in measuring 70."""
    assert GpuError("").exit_status == 2
    assert BenchError("").exit_status == 70
