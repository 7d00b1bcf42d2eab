"""Streams that are to be decoded on a GPU and cannot be: each falls back to the CPU, loses nothing, and says why."""

from __future__ import annotations

import threading
from pathlib import Path

import av
import pytest
import torch

from engines.av_picture import AvPicture
from engines.cuda.av_surface import SurfaceAvPicture
from engines.runtimes.gpus import find_gpus
from stages.options import StreamOptions
from stages.source import Decoded, open_connection
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


@NO_GPU
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
