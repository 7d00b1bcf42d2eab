"""The instruments of `vedette bench pipeline --gpu` on a GPU, and the command itself, short: what it measures with.

What tests/pipeline/test_bench_gpu_run.py shows on the host, there.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch

from engines.cuda.surfaces import preprocess_launch, surface_records, target_record
from engines.runtimes.gpus import find_gpus
from engines.spec import InputSpec
from pipeline.bench.gpu.bandwidth import measure_bandwidth
from pipeline.bench.gpu.on_cuda import CudaInstruments
from pipeline.bench.gpu.surfaces import DevicePicture, first_pictures
from stages.options import StreamOptions
from tests.support.clock import FakeClock
from tests.support.media import make_clip
from vedette.cli.main import main
from vedette.secrets import SecretUrl

GPUS = find_gpus()
SHIPPED = Path(__file__).resolve().parents[2] / "engines/weights/vedette-n_640x384.onnx"
MB = 1 << 20

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason="there is no NVIDIA GPU, or no driver")]


@pytest.fixture
def instruments() -> CudaInstruments:
    torch.cuda.init()  # type: ignore[no-untyped-call]  # torch's own
    return CudaInstruments(GPUS[0])


def pictures(folder: Path) -> list[DevicePicture]:
    clip = make_clip(folder / "clip.mkv", frames=4, codec="libx264", size_wh=(1920, 1080))
    options = StreamOptions(id="a", url=SecretUrl(str(clip)), mode="file")
    return first_pictures(options, FakeClock(), torch.device("cuda", 0), 4)


def test_gpu_is_described(instruments: CudaInstruments) -> None:
    facts = instruments.facts

    assert facts.name == torch.cuda.get_device_name(0)
    assert facts.l2_mb > 0
    assert facts.driver is not None


def test_time_is_the_device_s_own_and_grows_with_the_work(instruments: CudaInstruments) -> None:
    """Ten copies take longer than one: what is timed is what the device does, and not how it is begun."""
    first, second = (torch.ones(256 * MB, dtype=torch.uint8, device="cuda") for _ in range(2))

    def copies(count: int) -> float:
        def work(_: int) -> None:
            for _ in range(count):
                second.copy_(first)

        return min(instruments.times_ms(work, 5))

    assert copies(10) > 3 * copies(1) > 0


def test_trace_sees_every_copy_across_the_bus_and_its_size(instruments: CudaInstruments) -> None:
    there = torch.zeros(4 * MB, dtype=torch.uint8, device="cuda")
    pinned = torch.zeros(3 * MB, dtype=torch.uint8, pin_memory=True)
    torch.cuda.synchronize()

    tracing = instruments.trace()
    there[: 3 * MB].copy_(pinned)
    there[:MB].cpu()
    threads = [threading.Thread(target=lambda: there[: 2 * MB].cpu()) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = tracing.end()

    assert 3 * MB in found.to_device
    assert sorted(copy for copy in found.to_host if copy >= MB) == [MB, 2 * MB, 2 * MB]
    assert 0 < found.busy_ms <= found.span_ms


def test_driver_tells_how_busy_it_is(instruments: CudaInstruments) -> None:
    watch = instruments.watch()
    watch.look()
    seen = watch.seen()

    assert seen is not None
    assert 0 <= seen.gpu <= 1
    assert 0 <= seen.decoder <= 1


def test_bandwidth_is_below_the_copy_s_or_near_it(instruments: CudaInstruments, tmp_path: Path) -> None:
    """What is counted from below cannot be much more than a copy moves; else a cache was measured."""
    surfaces = [picture.surface() for picture in pictures(tmp_path)]

    found = measure_bandwidth(instruments, InputSpec(size=(640, 384)), surfaces, ["uint8", "float16"], [8, 32])

    assert found.copy_gb_s > 10
    for one in found.preprocess:
        assert 0 < one.share < 1.2


def test_kernel_that_is_timed_writes_pictures(instruments: CudaInstruments, tmp_path: Path) -> None:
    """In a graph, as it is timed: the same levels as on the host, whose definition other tests hold it to."""
    spec = InputSpec(size=(640, 384), scale=1.0)
    records, (placement,) = surface_records([pictures(tmp_path)[1].surface()], spec)
    kept = [torch.from_numpy(array.view("u1").copy()).cuda() for array in (records, target_record(spec, "uint8"))]
    out = torch.zeros((3, 384, 640), dtype=torch.uint8, device="cuda")
    launch = preprocess_launch(
        spec, "uint8", 1, records=kept[0].data_ptr(), target=kept[1].data_ptr(), out=out.data_ptr()
    )

    kernels = instruments.kernels().preprocess

    instruments.times_ms(lambda stream: kernels.launch(launch, stream), 2)

    levels = out.cpu().numpy()
    x, y = placement.offset_xy
    assert (x, y) == (0, 12)
    assert (levels[:, :12] == 114).all()
    assert levels[:, 12:-12].std() > 10


def test_command_measures_and_no_picture_crosses_the_bus(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=150, codec="libx264", size_wh=(1280, 720), b_frames=2)
    path, out = tmp_path / "bench.yaml", tmp_path / "bench.json"
    streams = ", ".join(f"{{id: s{number}, url: {clip}, mode: file}}" for number in range(4))
    path.write_text(
        f"version: 1\nmodel: {{path: {SHIPPED}}}\nbatch: {{max: 4}}\n"
        f"streams: [{streams}]\nsinks: [{{kind: jsonl, path: {tmp_path}/out.jsonl}}]\n"
    )

    assert main(["bench", "pipeline", str(path), "--gpu", "--seconds", "1", "--rounds", "1", "--json", str(out)]) == 0

    report = json.loads(out.read_bytes())
    assert report["gpu"]["name"] == GPUS[0].name
    for way in ("surfaces", "nvdec"):
        assert report[way]["fps"] > 0
        assert 0 < report[way]["lanes_busy"] <= 1
        assert report[way]["traced"] is not None, report[way]["why_untraced"]
        assert report[way]["traced"]["pictures_across"] == 0
        assert 0 < report[way]["bytes_per_frame"]["to_host"] < 100_000
    assert set(report["nvdec"]["decoders"].values()) == {"GPU 0"}
    assert report["network"]["fps"] > 0
