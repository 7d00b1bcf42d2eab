"""Streams that are to be decoded on a GPU and cannot be: each falls back to the CPU, loses nothing, and says why."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import av.error
import pytest
import torch

from engines.av_picture import AvPicture
from engines.cuda.av_surface import SurfaceAvPicture
from engines.runtimes.gpus import find_gpus
from stages.options import StreamOptions
from stages.source import Decoded, av_fallback, av_gpu, av_open, open_connection
from stages.source.av_gpu import GpuDecoding
from tests.support.clock import FakeClock
from tests.support.media import make_clip, read_number
from vedette.errors import SourceError
from vedette.secrets import SecretUrl

NO_GPU = pytest.mark.skipif(bool(find_gpus()), reason="there is a GPU: see tests/gpu")


def options(path: Path) -> StreamOptions:
    return StreamOptions(id="a", url=SecretUrl(str(path)), mode="file")


def pictures(path: Path, gpu: int | None) -> tuple[list[Decoded], str | None]:
    connection = open_connection(options(path), FakeClock(), threading.Event(), gpu=gpu)
    try:
        found = [item for item in connection.pictures() if isinstance(item, Decoded)]
        return found, connection.info.decoder
    finally:
        connection.close()


@NO_GPU
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mjpeg"])
def test_gpu_that_is_not_there_is_no_broken_stream(tmp_path: Path, codec: str) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = make_clip(tmp_path / "a.mkv", frames=12, codec=codec, pixels=pixels)

    found, decoder = pictures(path, gpu=0)

    assert [read_number(item.picture) for item in found] == list(range(12))
    assert all(type(item.picture) is AvPicture for item in found)
    assert decoder == "CPU: GPU 0 cannot be used for decoding: torch finds no GPU"


def test_stream_for_which_no_gpu_was_asked_says_nothing_of_it(tmp_path: Path) -> None:
    found, decoder = pictures(make_clip(tmp_path / "a.mkv", frames=3), gpu=None)

    assert len(found) == 3
    assert decoder is None


def test_error_of_the_stream_is_the_stream_s(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        pictures(tmp_path / "none.mkv", gpu=0)


@pytest.fixture
def nvdec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library is there: that of C stands for it."""
    monkeypatch.setattr(av_gpu, "_NVDEC", "libc.so.6")


def test_missing_library_of_nvdec_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a container without the capability `video`, where FFmpeg opens the GPU and says of no stream what it lacks."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(av_gpu, "_NVDEC", "libnvcuvid-that-is-not-here.so.1")

    found, decoder = pictures(make_clip(tmp_path / "a.mkv", frames=3), gpu=0)

    assert len(found) == 3
    assert decoder == (
        "CPU: GPU 0 cannot be used for decoding: libnvcuvid-that-is-not-here.so.1 cannot be loaded; "
        "a container needs NVIDIA_DRIVER_CAPABILITIES with video in it"
    )


@NO_GPU
@pytest.mark.usefixtures("nvdec")
def test_what_ffmpeg_says_of_a_gpu_is_the_reason_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine where torch has a GPU and FFmpeg does not come at it: torch is scripted, FFmpeg is the real one."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)

    decoding = GpuDecoding(3)

    assert decoding.hwaccel is None
    assert chosen == [3]
    assert caplog.messages == [
        "GPU 3 cannot be used for decoding: Operation not permitted; the stream is decoded on the CPU"
    ]


@pytest.mark.usefixtures("nvdec")
def test_gpu_whose_memory_is_used_up_is_no_end_of_a_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When a camera comes back, say, while the engine has all that the process may take."""

    def full(*_: object, **__: object) -> None:
        msg = "CUDA out of memory. Tried to allocate 2.00 MiB.\nGPU 1 has …"
        raise torch.cuda.OutOfMemoryError(msg)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(torch, "zeros", full)

    found, decoder = pictures(make_clip(tmp_path / "a.mkv", frames=5), gpu=1)

    assert len(found) == 5
    said = "GPU 1 cannot be used for decoding: CUDA out of memory. Tried to allocate 2.00 MiB. GPU 1 has …"
    assert decoder == f"CPU: {said}"
    assert caplog.messages[0] == f"{said}; the stream is decoded on the CPU"


def test_picture_is_taken_for_what_it_is() -> None:
    """FFmpeg turns to its own decoder by itself, where the GPU's does not take the profile or one more session."""
    decoding = GpuDecoding(0)
    decoding._why = ""
    frame = av.VideoFrame(64, 48, "yuv444p")

    assert type(decoding.picture_of(frame)) is AvPicture
    assert decoding.said_of(frame) == "CPU: GPU 0 takes neither this codec and profile, yuv444p, nor one more"
    assert not isinstance(decoding.picture_of(frame), SurfaceAvPicture)


# ── seen at a picture only ───────────────────────────────────────────────────────────────────────────────────────────


class OnTheHost(GpuDecoding):
    """A GPU whose decoder is FFmpeg's own and whose memory is the host's."""

    def __init__(self, gpu: int) -> None:
        self._gpu, self._why, self.hwaccel = gpu, "", None


class Packet:
    """One for whose picture the GPU has no memory, as FFmpeg says it."""

    def __init__(self, packet: Any) -> None:
        self._packet = packet

    def __getattr__(self, name: str) -> Any:
        return getattr(self._packet, name)

    def decode(self) -> list[Any]:
        raise av.error.MemoryError(12, "Cannot allocate memory")


class Container:
    """Its packet `at` is such a one."""

    def __init__(self, container: Any, at: int) -> None:
        self._container, self._at = container, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self) -> Iterator[Any]:
        for number, packet in enumerate(self._container.demux()):
            yield Packet(packet) if number == self._at else packet


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[OnTheHost]:
    """What was made to decode on: every picture of its lies on the GPU, until it is given up."""
    made: list[OnTheHost] = []

    def make(gpu: int) -> OnTheHost:
        made.append(OnTheHost(gpu))
        return made[-1]

    monkeypatch.setattr(av_fallback, "GpuDecoding", make)
    monkeypatch.setattr(av_gpu, "_on_gpu", lambda _: made[-1].in_use)
    return made


def memory_ends(monkeypatch: pytest.MonkeyPatch, made: list[OnTheHost], at: int) -> None:
    """As long as the GPU is used, packet `at` finds none."""

    def open_input(options: StreamOptions, clock: FakeClock, hwaccel: None) -> av_open.Opened:
        opened = av_open.open_input(options, clock, hwaccel)
        container: Any = Container(opened.container, at)
        return replace(opened, container=container) if made[-1].in_use else opened

    monkeypatch.setattr(av_fallback, "open_input", open_input)


def test_pictures_that_cannot_be_read_on_the_gpu_are_decoded_on_the_cpu(
    made: list[OnTheHost], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """NVDEC takes HEVC in 4:4:4, and leaves it as nothing that the kernels read."""
    found, decoder = pictures(make_clip(tmp_path / "a.mkv", frames=12, codec="libx265", pixels="yuv444p"), gpu=2)

    assert [read_number(item.picture) for item in found] == list(range(12))
    said = "GPU 2 leaves its pictures as yuv444p, which cannot be read there"
    assert decoder == f"CPU: {said}"
    assert caplog.messages == [f"{said}; the stream is decoded on the CPU"]
    assert len(made) == 1


def test_gpu_without_memory_for_the_first_picture_is_left(
    made: list[OnTheHost], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory_ends(monkeypatch, made, at=0)

    found, decoder = pictures(make_clip(tmp_path / "a.mkv", frames=12), gpu=2)

    assert [read_number(item.picture) for item in found] == list(range(12))
    assert decoder == "CPU: GPU 2 has no memory left for pictures"


def test_gpu_whose_memory_ends_later_is_no_corrupt_file(
    made: list[OnTheHost], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(av_gpu, "unread_layout", lambda _: None)
    memory_ends(monkeypatch, made, at=8)

    with pytest.raises(SourceError, match="GPU 2 has no memory left for its pictures") as raised:
        pictures(make_clip(tmp_path / "a.mkv", frames=12), gpu=2)

    assert (raised.value.reason, raised.value.fatal) == ("codec", True)
    assert "model.gpu.memory_mb" in str(raised.value.hint)
