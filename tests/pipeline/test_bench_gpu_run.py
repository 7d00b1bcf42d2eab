"""`vedette bench pipeline --gpu`, its measuring code on the host's memory: the whole machine, the network, the kernel.

Everything is the real thing but the device: lanes, kernels (compiled for the host), the machine and its threads.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.av_picture import AvPicture
from engines.cuda.av_surface import SurfaceAvPicture
from engines.cuda.suppression import found_type
from engines.cuda.surfaces import SURFACE, Surface, SurfacePicture
from engines.engine import Engine
from engines.options import ModelOptions
from engines.picture import place
from engines.runtimes import cuda
from engines.runtimes.lanes import LaneEngine
from engines.runtimes.surface_lanes import LaneKernels
from engines.spec import InputSpec
from engines.types import YuvMatrix, YuvPlanes
from pipeline.bench import child, paced
from pipeline.bench.child import BenchError
from pipeline.bench.gpu import run
from pipeline.bench.gpu.bandwidth import SECTOR, measure_bandwidth, touched_bytes
from pipeline.bench.gpu.require import on_gpu
from pipeline.bench.gpu.run import lane_engine, measure_decoded, measure_network, measure_surfaces
from pipeline.bench.gpu.surfaces import (
    PITCH,
    DevicePicture,
    SurfaceConnection,
    copied,
    first_pictures,
    on_device,
    surfaces_of,
)
from pipeline.bench.gpu.trace import Trace, covered, read_trace
from pipeline.clock import SystemClock
from pipeline.config import Config
from stages.options import JsonlSinkOptions, StreamOptions
from stages.source import Connection, ConnectionInfo, Decoded, Trouble, open_connection
from stages.types import Clock
from tests.engines.cuda.host import HostKernels
from tests.engines.test_torch_on_gpus import H100, SHIPPED, machine
from tests.pipeline.test_device_lane import SIZES, film
from tests.support.clock import FakeClock
from tests.support.host_instruments import HostInstruments
from tests.support.media import make_clip
from tests.support.surface_engine import COLOURS, Host
from vedette.errors import EngineError, PictureError
from vedette.secrets import SecretUrl


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "WARM_UP_S", 0.05)
    monkeypatch.setattr(run, "TRACE_S", 0.1)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, size_wh in SIZES.items():
        film(folder / f"{name}.mkv", size_wh)
    return folder


def config_of(films: Path, out: Path) -> Config:
    return on_gpu(
        Config(
            version=1,
            model=ModelOptions(path="none"),
            streams=tuple(
                StreamOptions(id=name, url=SecretUrl(str(films / f"{name}.mkv")), mode="file") for name in SIZES
            ),
            sinks=(JsonlSinkOptions(path=str(out / "out.jsonl")),),
        )
    )


def opening(engine: LaneEngine) -> Callable[..., Engine]:
    return lambda *_, **__: engine


class TestMachine:
    def test_surfaces_go_through_the_whole_machine_and_only_boxes_come_back(self, films: Path, tmp_path: Path) -> None:
        host = Host(batch=3)
        traced = Trace(busy_ms=8.0, span_ms=10.0, operations=4, to_device=(500, 600), to_host=(100,))
        instruments = HostInstruments(traced=traced)

        found = measure_surfaces(
            config_of(films, tmp_path), instruments, SystemClock(),
            seconds=0.5, engine_opener=opening(host.surfaces()), pictures=5,
        )  # fmt: skip

        batches = found.batches
        assert found.sample.kind == "surfaces"
        assert found.sample.frames > 0
        assert set(found.sample.streams) == set(SIZES)
        assert found.sizes == SIZES
        assert set(found.decoders.values()) == {"none: made once"}
        assert host.preprocess.launched
        # The results of each, and of what lies where one record a picture: no picture, however small it is.
        most = found_type(ModelOptions(path="none").max_objects).itemsize
        assert batches.to_host_bytes == batches.pictures * most
        assert 0 < batches.to_device_bytes < batches.pictures * 10 * SURFACE.itemsize
        assert {stage: len(values) for stage, values in batches.stages_ms.items()} == dict.fromkeys(
            ("input", "preprocess", "network", "output"), len(batches.total_ms)
        )
        assert 0 < batches.covered_ms <= batches.span_ms
        assert found.utilization is not None
        assert found.traced is not None
        assert (found.traced.busy, found.traced.largest_bytes, found.traced.pictures_across) == (0.8, 600, 0)
        assert found.traced.picture_bytes == 3 * 160 * 96  # the network's input, which is smaller than any picture
        assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["type"] in {"event", "frame"}

    def test_pictures_that_cross_the_bus_are_counted_whoever_copied_them(self, films: Path, tmp_path: Path) -> None:
        traced = Trace(busy_ms=1.0, span_ms=1.0, operations=3, to_device=(46_080, 10), to_host=(46_079, 320 * 480))

        found = measure_surfaces(
            config_of(films, tmp_path), HostInstruments(traced=traced), SystemClock(),
            seconds=0.3, engine_opener=opening(Host().surfaces()), pictures=2,
        )  # fmt: skip

        assert found.traced is not None
        assert found.traced.pictures_across == 2

    @pytest.mark.parametrize("fall_back", [False, True])
    def test_files_are_read_on_and_on_and_who_decoded_them_is_told(
        self, films: Path, tmp_path: Path, fall_back: bool
    ) -> None:
        asked: list[int | None] = []

        def opener(options: StreamOptions, clock: Clock, stop: threading.Event, *, gpu: int | None = None) -> Any:
            asked.append(gpu)
            return LeftThere(open_connection(options, clock, stop), fall_back=fall_back)

        found = measure_decoded(
            config_of(films, tmp_path), HostInstruments(driver_tells=False),
            seconds=0.5, engine_opener=opening(Host(batch=3).surfaces()), opener=endless_of(opener),
        )  # fmt: skip

        assert found.sample.kind == "nvdec"
        assert set(found.decoders.values()) == {"GPU 0"}
        assert set(asked) == {0}
        assert found.utilization is None
        assert (found.traced, found.why_untraced) == (None, "nobody looks here")
        # What a picture costs that a CPU decoded; of the others nothing but where they lie.
        assert (found.batches.to_device_bytes / found.batches.pictures > 3 * 160 * 96 / 14) == fall_back

    @pytest.mark.skipif(torch.cuda.is_available(), reason="NVDEC may take them here: see tests/gpu")
    def test_files_that_no_gpu_decodes_are_measured_and_say_so(self, films: Path, tmp_path: Path) -> None:
        """The real sources, asked for a GPU that is not there."""
        found = measure_decoded(
            config_of(films, tmp_path), HostInstruments(), seconds=0.3, engine_opener=opening(Host(batch=3).surfaces())
        )

        assert found.sample.frames > 0
        assert set(found.decoders) == set(SIZES)
        for said in found.decoders.values():
            assert said.startswith("CPU: GPU 0 cannot be used for decoding: ")
        assert found.batches.to_device_bytes >= 3 * 160 * 96 * found.batches.pictures

    def test_engine_is_the_one_that_the_configuration_opens(
        self, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The shipped seed in torch's lanes of a scripted GPU, opened by the machine itself."""
        machine(monkeypatch, H100)
        nms, preprocess = HostKernels("host_nms"), HostKernels("host_preprocess")
        monkeypatch.setattr(cuda, "_kernels", lambda *_: LaneKernels(preprocess=preprocess, nms=nms))
        config = config_of(films, tmp_path)
        gpu = msgspec.structs.replace(config.model.gpu, contexts=1)
        model = msgspec.structs.replace(config.model, path=str(SHIPPED), backend="torch", precision="fp32", gpu=gpu)

        found = measure_surfaces(
            msgspec.structs.replace(config, model=model), HostInstruments(), SystemClock(), seconds=0.5, pictures=2
        )

        assert "on NVIDIA H100 (as configured)" in found.engine
        assert "pictures stay on the GPU" in found.engine
        assert found.sample.frames > 0
        assert preprocess.launched

    def test_engine_of_a_cpu_is_refused(self) -> None:
        class Cpu:
            description = "OpenVINO"

        engine: Any = Cpu()
        with pytest.raises(EngineError, match="expected an engine on a GPU, got OpenVINO"):
            lane_engine(engine)

    def test_cameras_are_refused(self, films: Path, tmp_path: Path) -> None:
        config = config_of(films, tmp_path)
        camera = StreamOptions(id="gate", url=SecretUrl("rtsp://user:pass@192.0.2.1/"))
        with pytest.raises(BenchError, match=r"--gpu measures files .*, and gate is a camera"):
            on_gpu(msgspec.structs.replace(config, streams=(camera,)))


class LeftThere:
    """Frames as NVDEC leaves them, NV12 on the «device»; with `fall_back` each seventh is as a CPU decodes it."""

    def __init__(self, inner: Connection, *, fall_back: bool) -> None:
        self._inner = inner
        self._fall_back = fall_back
        self.info = ConnectionInfo(codec="h264", finite=True, decoder="GPU 0")

    def pictures(self) -> Iterator[Decoded | Trouble]:
        for number, item in enumerate(self._inner.pictures()):
            assert isinstance(item, Decoded)
            assert isinstance(item.picture, AvPicture)
            if self._fall_back and number % 7 == 3:
                yield item
            else:
                yield replace(item, picture=SurfaceAvPicture(item.picture.frame.reformat(format="nv12")))

    def close(self) -> None:
        self._inner.close()


def endless_of(opener: Any) -> Any:
    """`paced.endless` over another opener than the real one."""

    def open_it(options: StreamOptions, clock: Clock, stop: threading.Event, *, gpu: int | None = None) -> Connection:
        return paced.Endless(lambda: opener(options, clock, stop, gpu=gpu), clock, stop, None)

    return open_it


class TestNetwork:
    @pytest.mark.parametrize("lanes", [1, 3])
    def test_network_alone_runs_full_batches_on_all_lanes_and_nothing_else(
        self, films: Path, tmp_path: Path, lanes: int
    ) -> None:
        host = Host(batch=4)
        engine = host.surfaces(lanes=lanes)

        found = measure_network(
            config_of(films, tmp_path), HostInstruments(), SystemClock(),
            seconds=0.1, engine_opener=opening(engine), warm_up_s=0.01,
        )  # fmt: skip

        assert (found.lanes, found.max_batch) == (lanes, 4)
        assert found.frames == 4 * len(found.batch_ms) > 0
        assert found.seconds > 0
        # Each lane was given real pictures once, and from then on nothing was prepared or suppressed.
        assert len(host.preprocess.launched) == lanes
        assert len(host.nms.launched) == 4 * lanes
        assert engine.acquire() is None  # closed


class TestSurfaces:
    @pytest.mark.parametrize("pixels", ["yuv420p", "nv12", "gray", "yuv420p10le", "p010le"])
    def test_pictures_on_the_device_hold_what_the_decoder_gave(self, pixels: str) -> None:
        luma = np.arange(45 * 61, dtype=np.uint8).reshape(45, 61)
        frame = av.VideoFrame.from_ndarray(luma, format="gray").reformat(format=pixels)
        planes = AvPicture(frame).planes()
        assert isinstance(planes, YuvPlanes)

        surface = on_device(planes, torch.device("cpu"))

        assert surface.luma_pitch % PITCH == surface.chroma_pitch % PITCH == 0
        there: Any = surface.owner
        words = np.uint16 if planes.bits > 8 else np.uint8
        shown = there[0].numpy().view(words)[:, :61]
        np.testing.assert_array_equal(shown >> (0 if planes.bits == 8 else 16 - planes.bits), read(planes.y, planes))
        chroma = there[1].numpy().view(words)[:, :62].reshape(23, 31, 2)
        if planes.u is not None:
            np.testing.assert_array_equal(chroma[..., 0] >> (0 if planes.bits == 8 else 6), planes.u)

    def test_other_chroma_is_refused(self) -> None:
        side = np.zeros((4, 4), np.uint8)
        with pytest.raises(PictureError, match="expected 4:2:0, of which surfaces are made, got chroma of 4x4"):
            on_device(YuvPlanes(y=side, u=side, v=side, matrix=YuvMatrix.BT709), torch.device("cpu"))

    def test_pictures_go_forth_and_back_without_an_end(self, films: Path) -> None:
        clock, stop = FakeClock(), threading.Event()
        options = StreamOptions(id="a", url=SecretUrl(str(films / "a.mkv")), mode="file")
        made = first_pictures(options, clock, torch.device("cpu"), 4)
        connection = SurfaceConnection(made, clock, stop)
        shown: list[Any] = []
        for item in connection.pictures():
            assert isinstance(item, Decoded)
            shown.append(item)
            if len(shown) == 9:
                stop.set()

        assert [made.index(item.picture) for item in shown] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
        assert [item.pts for item in shown] == list(range(9))
        assert not connection.info.finite
        assert isinstance(made[0], SurfacePicture)
        with pytest.raises(PictureError, match="lies in the GPU's memory"):
            made[0].planes()

    def test_streams_of_one_file_share_its_pictures(self, films: Path) -> None:
        clock = FakeClock()
        streams = [
            StreamOptions(id=name, url=SecretUrl(str(films / f"{file}.mkv")), mode="file")
            for name, file in (("one", "a"), ("two", "a"), ("three", "b"))
        ]
        opener = surfaces_of(streams, clock, torch.device("cpu"), 2)
        first: dict[str, Any] = {}
        for options in streams:
            connection = opener(options, clock, threading.Event(), gpu=0)
            first[options.id] = next(iter(connection.pictures())).picture  # type: ignore[union-attr]

        assert first["one"] is first["two"]
        assert first["three"] is not first["one"]
        assert isinstance(first["one"], DevicePicture)


def read(samples: Any, planes: YuvPlanes) -> Any:
    return samples >> (16 - planes.bits) if planes.msb_aligned and planes.bits > 8 else samples


class TestBandwidth:
    def test_every_batch_is_launched_and_its_bytes_are_counted(self, tmp_path: Path) -> None:
        clip = make_clip(tmp_path / "clip.mkv", frames=3, size_wh=(320, 192))
        options = StreamOptions(id="a", url=SecretUrl(str(clip)), mode="file")
        made = first_pictures(options, FakeClock(), torch.device("cpu"), 3)
        instruments = HostInstruments(l2_mb=0.1)

        found = measure_bandwidth(
            instruments, COLOURS.input, [picture.surface() for picture in made], ["uint8", "float16"], [2, 4],
            copy_bytes=1 << 16, repeats=2,
        )  # fmt: skip

        width, height = COLOURS.input.size
        assert [(one.dtype, one.batch) for one in found.preprocess] == [
            ("uint8", 2), ("uint8", 4), ("float16", 2), ("float16", 4),
        ]  # fmt: skip
        for one in found.preprocess:
            size = 1 if one.dtype == "uint8" else 2
            assert one.written_bytes == one.batch * 3 * width * height * size
            assert one.read_bytes == one.batch * (320 * 192 + 320 * 96)  # two to one: all of it
            assert one.gb_s == pytest.approx((one.read_bytes + one.written_bytes) / one.ms / 1e6, rel=0.05, abs=0.1)
            assert one.share == pytest.approx(one.gb_s / found.copy_gb_s, rel=0.1, abs=0.1)
        assert {"preprocess_uint8", "preprocess_float16"} == set(instruments.preprocess.launched)
        # As many pictures as it takes to read four times the cache, each in its own memory; in twice two repeats.
        assert found.pictures == 5
        assert 5 * found.preprocess[0].read_bytes / 2 >= 4 * 0.1 * 2**20
        assert instruments.preprocess.launched.count("preprocess_uint8") == 4 * (3 + 2)

    def test_copies_of_a_picture_lie_elsewhere_and_are_the_same(self) -> None:
        luma = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8)
        surface = on_device(YuvPlanes(y=luma), torch.device("cpu"))

        other = copied(surface)

        owners: Any = surface.owner, other.owner
        for plane, same in zip(*owners, strict=True):
            assert plane.data_ptr() != same.data_ptr()
            assert torch.equal(plane, same)
        assert (other.luma, other.chroma) == tuple(plane.data_ptr() for plane in owners[1])

    @given(
        size_wh=st.tuples(st.integers(2, 300), st.integers(2, 300)),
        inner=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        bits=st.sampled_from([8, 10]),
    )
    @settings(max_examples=60)
    def test_bytes_counted_are_those_that_the_kernel_reads(
        self, size_wh: tuple[int, int], inner: tuple[int, int], bits: int
    ) -> None:
        spec = InputSpec(size=(2 * inner[0], 2 * inner[1]))
        surface = Surface(size_wh=size_wh, luma=32, luma_pitch=1024, chroma=32, chroma_pitch=1024, bits=bits)
        placement = place(size_wh, spec)
        sample = 1 if bits == 8 else 2
        width, height = size_wh
        across, down = placement.inner_wh
        luma = touched(width, across, sample, height, down)
        chroma = touched((width + 1) // 2, across // 2, 2 * sample, (height + 1) // 2, down // 2)

        assert touched_bytes(surface, placement) == SECTOR * (len(luma) + len(chroma))


def touched(width: int, across: int, sample_bytes: int, height: int, down: int) -> set[tuple[int, int]]:
    """Row and sector of every sample that `between` of preprocess.cu names, in a row that begins with a sector."""
    return {
        (row, column * sample_bytes // SECTOR)
        for y in range(down)
        for row in between(y, height, down)
        for x in range(across)
        for column in between(x, width, across)
    }


def between(index: int, source: int, target: int) -> set[int]:
    first, rest = divmod((2 * index + 1) * source - target, 2 * target)
    return {min(max(one, 0), source - 1) for one in (first, first + (rest != 0))}


class TestTrace:
    def test_copies_across_the_bus_and_busy_time_are_read_from_a_trace(self, tmp_path: Path) -> None:
        path = tmp_path / "trace.json"
        events: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "ts": 1.5, "pid": 1, "tid": 0, "args": {"name": "python"}},
            {"ph": "X", "cat": "cuda_runtime", "name": "cudaMemcpyAsync", "ts": 0, "dur": 900, "args": {"bytes": "x"}},
            {"ph": "X", "cat": "kernel", "name": "k", "ts": 1000.5, "dur": 400, "args": {"grid": [1, 2, 3]}},
            {"ph": "X", "cat": "kernel", "name": "k", "ts": 1200.5, "dur": 400, "args": {}},
            {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD (Pinned -> Device)", "ts": 2000, "dur": 100,
             "args": {"bytes": 640, "stream": 7}},
            {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy DtoH (Device -> Pinned)", "ts": 2100, "dur": 100,
             "args": {"bytes": 16}},
            {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy DtoD (Device -> Device)", "ts": 2900, "dur": 100,
             "args": {"bytes": 1 << 30}},
            {"ph": "X", "cat": "gpu_memset", "name": "Memset (Device)", "ts": 2950, "dur": 50.5},
        ]  # fmt: skip
        path.write_text(json.dumps({"schemaVersion": 1, "traceEvents": events}))

        found = read_trace(path)

        assert (found.to_device, found.to_host, found.operations) == ((640,), (16,), 6)
        assert found.busy_ms == pytest.approx(0.6 + 0.2 + 0.1005)
        assert found.span_ms == pytest.approx(2.0)

    def test_trace_that_torch_wrote_is_read_and_has_nothing_of_a_device(self, tmp_path: Path) -> None:
        path = tmp_path / "trace.json"
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            torch.ones(8).sum()
        profiler.export_chrome_trace(str(path))

        assert read_trace(path) == Trace()

    @given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=12))
    def test_time_is_covered_once_however_much_runs_at_once(self, spans: list[tuple[int, int]]) -> None:
        ticks = {tick for first, length in spans for tick in range(first, first + length)}
        assert covered([(first, first + length) for first, length in spans]) == len(ticks)
