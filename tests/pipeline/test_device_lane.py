"""The whole machine with pictures that stay on the device: H.264 files in, messages out, as on a CPU.

The device is the host's memory and the kernels are the host's (tests/support/surface_engine.py); frames are decoded in
software and handed on as NVDEC's are. Everything else is what runs on a GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from engines.av_picture import AvPicture
from engines.cuda.av_surface import SurfaceAvPicture
from engines.engine import Engine
from engines.options import GpuOptions, ModelOptions
from pipeline.assembly import Machine
from pipeline.config import Config
from pipeline.ledger import Ledger
from pipeline.outgoing import Outlet
from stages.options import JsonlSinkOptions, StreamOptions
from stages.source import Connection, ConnectionInfo, Decoded, Trouble, open_connection
from stages.types import Clock
from tests.support.core import Collector
from tests.support.models import painted
from tests.support.surface_engine import Host
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

    def __init__(self, inner: Connection, *, fall_back: bool) -> None:
        self._inner = inner
        self._fall_back = fall_back
        self.info = ConnectionInfo(codec="h264", finite=True, decoder="GPU 0")

    def pictures(self) -> Iterator[Decoded | Trouble]:
        for number, item in enumerate(self._inner.pictures()):
            assert isinstance(item, Decoded)
            assert isinstance(item.picture, AvPicture)
            picture: Any = item.picture
            if not (self._fall_back and number % 7 == 3):
                picture = SurfaceAvPicture(item.picture.frame.reformat(format="nv12"))
            yield Decoded(
                pts=item.pts,
                time_base=item.time_base,
                mono_ns=item.mono_ns,
                decoded_ns=item.decoded_ns,
                picture=picture,
            )

    def close(self) -> None:
        self._inner.close()


def messages(
    folder: Path, engine: Engine, gpu: GpuOptions, *, fall_back: bool = False
) -> dict[str, list[FrameMessage]]:
    """What a run over both films publishes; it must account for all."""
    config = Config(
        version=1,
        model=ModelOptions(path="none", gpu=gpu),
        streams=tuple(
            StreamOptions(id=name, url=SecretUrl(str(folder / f"{name}.mkv")), mode="file") for name in SIZES
        ),
        sinks=(JsonlSinkOptions(path="none"),),
    )
    asked: list[int | None] = []
    outlets: list[Collector] = []

    def opener(options: StreamOptions, clock: Clock, stop: threading.Event, gpu: int | None = None) -> Connection:
        asked.append(gpu)
        inner = open_connection(options, clock, stop)
        return inner if gpu is None else OnDevice(inner, fall_back=fall_back)

    def outlet(*_: object, ledger: Ledger, **__: object) -> list[Outlet]:
        outlets.append(Collector(ledger))
        return [*outlets]

    machine = Machine(config, opener=opener, engine_opener=lambda *_, **__: engine, outlet_builder=outlet)
    outcome = machine.run()

    assert outcome.ledger_problems == []
    wanted = None if gpu.decode == "cpu" else (gpu.devices or (0,))[0]
    assert asked == [wanted] * len(SIZES)
    assert {report.decoder for report in outcome.status.streams.values()} == {None if wanted is None else "GPU 0"}
    return {name: [item.message for item in outlets[0].frames(name)] for name in SIZES}


@pytest.mark.parametrize("fall_back", [False, True])
def test_messages_are_those_of_a_machine_without_a_device(tmp_path: Path, fall_back: bool) -> None:
    for name, size_wh in SIZES.items():
        film(tmp_path / f"{name}.mkv", size_wh)
    host = Host(batch=3)

    got = messages(tmp_path, host.surfaces(), GpuOptions(decode="gpu", devices=(2,)), fall_back=fall_back)
    expected = messages(tmp_path, host.levels(), GpuOptions())

    assert host.preprocess.launched
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
