"""The whole machine with pictures that stay on the device: H.264 files in, messages out, as on a CPU.

The device is the host's memory and the kernels are the host's (tests/support/surface_engine.py); frames are decoded in
software and handed on as NVDEC's are. Everything else is what runs on a GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from engines.av_picture import AvPicture
from engines.cuda.av_surface import SurfaceAvPicture
from engines.cuda.surfaces import Surface
from engines.engine import Engine
from engines.options import GpuOptions, ModelOptions
from pipeline.assembly import Machine
from pipeline.config import Config
from pipeline.ledger import Ledger
from pipeline.outgoing import Outlet
from pipeline.status import Status
from stages.options import JsonlSinkOptions, StreamOptions
from stages.source import Connection, ConnectionInfo, Decoded, Trouble, open_connection
from stages.types import Clock
from tests.support.core import Collector
from tests.support.models import painted
from tests.support.surface_engine import Host
from vedette.errors import EngineError
from vedette.messages import FrameMessage
from vedette.secrets import SecretUrl

SIZES = {"a": (640, 360), "b": (480, 320)}
FRAMES = 16


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def film(path: Path, size_wh: tuple[int, int]) -> Path:
    """A red and a blue thing that cross the picture, in H.264."""
    width, height = size_wh
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "10"}
        for number in range(FRAMES):
            x, y = 10 * number, 4 * number
            things = {"red": (x, 40, x + 120, 160), "blue": (width - x - 100, 80 + y, width - x, 200 + y)}
            picture = av.VideoFrame.from_ndarray(painted(size_wh, things), format="rgb24").reformat(format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


class OnDevice:
    """Pictures that lie on the «device», NV12 as NVDEC leaves them; with `fall_back` each seventh is as ever."""

    def __init__(self, inner: Connection, gpu: int, *, fall_back: bool) -> None:
        self._inner = inner
        self._gpu = gpu
        self._fall_back = fall_back
        self.info = ConnectionInfo(codec="h264", finite=True, decoder=f"GPU {gpu}")

    def pictures(self) -> Iterator[Decoded | Trouble]:
        for number, item in enumerate(self._inner.pictures()):
            assert isinstance(item, Decoded)
            assert isinstance(item.picture, AvPicture)
            picture: Any = item.picture
            if not (self._fall_back and number % 7 == 3):
                picture = OnGpu(item.picture.frame.reformat(format="nv12"), self._gpu)
            yield Decoded(
                pts=item.pts,
                time_base=item.time_base,
                mono_ns=item.mono_ns,
                decoded_ns=item.decoded_ns,
                picture=picture,
            )

    def close(self) -> None:
        self._inner.close()


class OnGpu(SurfaceAvPicture):
    """Says on which GPU it lies, which lanes of another refuse."""

    def __init__(self, frame: av.VideoFrame, gpu: int) -> None:
        super().__init__(frame)
        self._gpu = gpu

    def surface(self) -> Surface:
        return replace(super().surface(), gpu=self._gpu)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run over both films published, which GPU each stream was decoded on, and what it says of itself."""

    messages: dict[str, list[FrameMessage]]
    gpus: dict[str, int | None]
    status: Status
    threads: set[str]


def run(folder: Path, engines: Mapping[int | None, Engine], gpu: GpuOptions, *, fall_back: bool = False) -> Ran:
    """A run with these engines by their GPU; it must account for all."""
    config = Config(
        version=1,
        model=ModelOptions(path="none", gpu=gpu),
        streams=tuple(
            StreamOptions(id=name, url=SecretUrl(str(folder / f"{name}.mkv")), mode="file") for name in SIZES
        ),
        sinks=(JsonlSinkOptions(path="none"),),
    )
    gpus: dict[str, int | None] = {}
    threads: set[str] = set()
    outlets: list[Collector] = []

    def opener(options: StreamOptions, clock: Clock, stop: threading.Event, gpu: int | None = None) -> Connection:
        gpus[options.id] = gpu
        threads.update(thread.name for thread in threading.enumerate())
        inner = open_connection(options, clock, stop)
        return inner if gpu is None else OnDevice(inner, gpu, fall_back=fall_back)

    def engine_opener(options: ModelOptions, **_: object) -> Engine:
        if gpu.decode == "cpu":
            return engines[None]
        (device,) = options.gpu.devices or (0,)
        return engines[device]

    def outlet(*_: object, ledger: Ledger, **__: object) -> list[Outlet]:
        outlets.append(Collector(ledger))
        return [*outlets]

    machine = Machine(config, opener=opener, engine_opener=engine_opener, outlet_builder=outlet)
    outcome = machine.run()

    assert outcome.ledger_problems == []
    for name, report in outcome.status.streams.items():
        assert report.decoder == (None if gpus[name] is None else f"GPU {gpus[name]}")
    found = {name: [item.message for item in outlets[0].frames(name)] for name in SIZES}
    return Ran(messages=found, gpus=gpus, status=outcome.status, threads=threads)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, size_wh in SIZES.items():
        film(folder / f"{name}.mkv", size_wh)
    return folder


def same(got: dict[str, list[FrameMessage]], expected: dict[str, list[FrameMessage]]) -> None:
    for name in SIZES:
        assert len(got[name]) == len(expected[name]) == FRAMES
        assert sum(len(message.objects) for message in expected[name]) > FRAMES
        for one, other in zip(got[name], expected[name], strict=True):
            assert (one.seq, one.pts, one.size, one.n) == (other.seq, other.pts, other.size, other.n)
            assert [(thing.track, thing.class_) for thing in one.objects] == [
                (thing.track, thing.class_) for thing in other.objects
            ]
            boxes = [[thing.box for thing in message.objects] for message in (one, other)]
            # A border that H.264 has softened may fall on the other side of the detector's threshold: a pixel of input.
            np.testing.assert_allclose(boxes[0], boxes[1], atol=4.5)


@pytest.mark.parametrize("fall_back", [False, True])
def test_messages_are_those_of_a_machine_without_a_device(films: Path, fall_back: bool) -> None:
    host = Host(batch=3, gpu=2)

    got = run(films, {2: host.surfaces()}, GpuOptions(decode="gpu", devices=(2,)), fall_back=fall_back)
    expected = run(films, {None: host.levels()}, GpuOptions())

    assert host.preprocess.launched
    assert got.gpus == {"a": 2, "b": 2}
    assert expected.gpus == {"a": None, "b": None}
    same(got.messages, expected.messages)


def test_streams_are_dealt_to_the_gpus_and_each_is_analysed_where_it_was_decoded(films: Path) -> None:
    """A lane refuses a picture of another GPU, so that a wrong turn would fail the run. The third GPU has no stream."""
    hosts = {gpu: Host(batch=3, gpu=gpu) for gpu in (1, 0, 2)}

    got = run(films, {gpu: host.surfaces() for gpu, host in hosts.items()}, GpuOptions(decode="gpu", devices=(1, 0, 2)))
    expected = run(films, {None: hosts[0].levels()}, GpuOptions())

    assert got.gpus == {"a": 1, "b": 0}
    assert [gpu for gpu, host in hosts.items() if host.preprocess.launched] == [1, 0]
    assert got.status.engine == "; ".join(["surfaces on the host"] * 3)
    assert {f"{name}:{gpu}" for name in ("dispatch", "finish") for gpu in hosts} <= got.threads
    assert {"dispatch", "finish"} <= expected.threads
    same(got.messages, expected.messages)


def test_picture_of_another_gpu_is_refused(films: Path) -> None:
    with pytest.raises(EngineError, match="a picture on GPU 1 was given to a lane on GPU 0"):
        run(films, {1: Host(gpu=0).surfaces()}, GpuOptions(decode="gpu", devices=(1,)))
