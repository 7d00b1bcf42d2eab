"""Pictures that stay on the GPU: NVDEC, the kernels, the network and what is left of its boxes, against the CPU.

What tests/engines/test_surface_lanes.py and tests/pipeline/test_device_lane.py show on the host, there. Run with
`make test-gpu`. Of NVDEC it needs H.264 and H.265 in 8 bits, which all GPUs from Turing on have.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
import torch
from torch.utils.dlpack import from_dlpack

from engines.av_picture import AvPicture
from engines.cuda.av_surface import SurfaceAvPicture
from engines.cuda.surfaces import Surface
from engines.engine import Engine, Place
from engines.options import ModelOptions
from engines.runtimes import open_engine
from engines.runtimes.gpus import find_gpus
from engines.types import Picture, YuvPlanes
from stages.options import StreamOptions
from stages.source import Decoded, open_connection
from tests.engines.test_surface_lanes import found_in
from tests.pipeline.test_device_lane import SIZES, film
from tests.support.clock import FakeClock
from tests.support.media import make_clip
from tests.support.shared import SHARED
from vedette.cli.main import main
from vedette.secrets import SecretUrl

GPUS = find_gpus()
SHIPPED = Path(__file__).resolve().parents[2] / "engines/weights/vedette-n_640x384.onnx"

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason="there is no NVIDIA GPU, or no driver")]


def opened(precision: str, **gpu: object) -> Engine:
    options = msgspec.convert(
        {"path": str(SHIPPED), "backend": "torch", "precision": precision, "gpu": gpu}, ModelOptions
    )
    return open_engine(options, now_ns=time.monotonic_ns)


class Uploaded:
    """A decoded picture copied to the GPU: what NVDEC would have left there."""

    def __init__(self, picture: av.VideoFrame) -> None:
        planes = AvPicture(picture).planes()
        assert isinstance(planes, YuvPlanes)
        assert planes.uv is not None
        self.size_wh = planes.size_wh
        kept = [torch.from_numpy(plane.copy()).cuda() for plane in (planes.y, planes.uv)]
        torch.cuda.synchronize()
        self._surface = Surface(
            size_wh=planes.size_wh,
            luma=kept[0].data_ptr(),
            luma_pitch=planes.size_wh[0],
            chroma=kept[1].data_ptr(),
            chroma_pitch=2 * kept[1].shape[1],
            matrix=planes.matrix,
            full_range=planes.full_range,
            owner=kept,
        )

    def surface(self) -> Surface:
        return self._surface

    def planes(self) -> YuvPlanes:
        raise NotImplementedError

    def release(self) -> None: ...


@pytest.mark.skipif(SHARED is None, reason="the clips are not here")
@pytest.mark.parametrize(("precision", "score", "px"), [("fp32", 0.02, 2.0), ("fp16", 0.05, 4.0)])
def test_boxes_of_surfaces_are_those_of_the_same_pictures_on_the_host(precision: str, score: float, px: float) -> None:
    assert SHARED is not None
    on_gpu, on_host = opened(precision, decode="gpu"), opened(precision)
    buffer = on_gpu.acquire()
    assert buffer is not None
    assert buffer.place is Place.DEVICE
    on_gpu.release(buffer)
    count = 0
    with av.open(str(SHARED / "clips/intel_one-by-one-person-detection.mp4")) as clip:
        for second in range(2, 12, 2):
            clip.seek(second * av.time_base)
            picture = next(clip.decode(video=0)).reformat(format="nv12")
            device: Picture = Uploaded(picture)
            (got,), (expected,) = found_in(on_gpu, [device]), found_in(on_host, [AvPicture(picture)])

            sure = expected.scores > 0.35 + score  # what is at the threshold may be on either side of it
            assert got.class_ids[: sure.sum()].tolist() == expected.class_ids[sure].tolist()
            np.testing.assert_allclose(got.scores[: sure.sum()], expected.scores[sure], atol=score)
            np.testing.assert_allclose(got.xyxy_px[: sure.sum()], expected.xyxy_px[sure], atol=px)
            count += int(sure.sum())
    assert count >= 3


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("size_wh", [(320, 240), (640, 360), (1920, 1080)])
def test_nvdec_leaves_the_very_samples_of_software(tmp_path: Path, codec: str, size_wh: tuple[int, int]) -> None:
    path = make_clip(tmp_path / "a.mkv", frames=30, codec=codec, size_wh=size_wh, b_frames=2)
    connection = open_connection(
        StreamOptions(id="a", url=SecretUrl(str(path)), mode="file"), FakeClock(), threading.Event(), gpu=0
    )
    with av.open(str(path)) as clip:
        expected = [frame.reformat(format="nv12") for frame in clip.decode(video=0)]
    seen = 0
    for item in connection.pictures():
        assert isinstance(item, Decoded)
        assert isinstance(item.picture, SurfaceAvPicture)
        assert item.picture.digest() == SurfaceAvPicture(expected[seen]).digest()  # is it frozen? as on the host
        there: Any = item.picture._frame
        torch.cuda.default_stream().synchronize()
        for plane, wanted in zip(there.planes, expected[seen].planes, strict=True):
            assert torch.equal(from_dlpack(plane.__dlpack__()).cpu(), from_dlpack(wanted.__dlpack__()))
        item.picture.release()
        seen += 1

    assert seen == len(expected)
    assert connection.info.decoder == "GPU 0"
    connection.close()


def test_clip_with_all_the_references_that_h264_allows_is_decoded_on_the_gpu(tmp_path: Path) -> None:
    """NVDEC has 32 surfaces for a decoder; this one needs 23. With 16 more, as once asked for, it fell to the CPU."""
    path = make_clip(tmp_path / "a.mkv", frames=60, gop=60, b_frames=2, references=16)
    connection = open_connection(
        StreamOptions(id="a", url=SecretUrl(str(path)), mode="file"), FakeClock(), threading.Event(), gpu=0
    )

    held = [item.picture for item in connection.pictures() if isinstance(item, Decoded)]  # all of them, at once

    assert len(held) == 60
    assert all(isinstance(picture, SurfaceAvPicture) for picture in held)
    assert connection.info.decoder == "GPU 0"
    connection.close()


def test_codec_that_nvdec_has_not_falls_back_and_says_so(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", frames=5, pixels="yuv444p")
    connection = open_connection(
        StreamOptions(id="a", url=SecretUrl(str(path)), mode="file"), FakeClock(), threading.Event(), gpu=0
    )

    pictures = [item.picture for item in connection.pictures() if isinstance(item, Decoded)]

    assert all(isinstance(picture, AvPicture) for picture in pictures)
    assert connection.info.decoder is not None
    assert connection.info.decoder.startswith("CPU: GPU 0 takes neither this codec and profile, yuv444p")
    connection.close()


def test_pictures_that_the_kernels_do_not_read_are_decoded_on_the_cpu(tmp_path: Path) -> None:
    """HEVC in 4:4:4, which NVDEC takes from Turing on."""
    path = make_clip(tmp_path / "a.mkv", frames=5, codec="libx265", pixels="yuv444p")
    connection = open_connection(
        StreamOptions(id="a", url=SecretUrl(str(path)), mode="file"), FakeClock(), threading.Event(), gpu=0
    )

    pictures = [item.picture for item in connection.pictures() if isinstance(item, Decoded)]

    assert len(pictures) == 5
    assert all(isinstance(picture, AvPicture) for picture in pictures)
    assert connection.info.decoder is not None
    assert connection.info.decoder.startswith("CPU: GPU 0 ")
    connection.close()


def test_run_publishes_the_same_frames_with_pictures_on_the_gpu(tmp_path: Path) -> None:
    """The real command, twice, over the same films: on the GPU, too, every frame is published."""
    for name, size_wh in SIZES.items():
        film(tmp_path / f"{name}.mkv", size_wh)
    told = {}
    every = [gpu.index for gpu in GPUS]
    asked = {"cpu": "decode: cpu", "gpu": "decode: gpu", "every": f"decode: gpu, devices: {every}"}
    for name, gpu in asked.items():
        path, out = tmp_path / f"{name}.yaml", tmp_path / f"{name}.jsonl"
        streams = ", ".join(f"{{id: {name}, url: {tmp_path}/{name}.mkv}}" for name in SIZES)
        path.write_text(
            f"version: 1\nmodel: {{path: {SHIPPED}, backend: torch, gpu: {{{gpu}}}}}\n"
            f"streams: [{streams}]\nsinks: [{{kind: jsonl, path: {out}}}]\n"
        )
        assert main(["run", str(path), "--log-level", "warning"]) == 0
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        told[name] = sorted((line["stream"], line["n"], line["pts"]) for line in lines if line["type"] == "frame")

    assert told["cpu"] == told["gpu"] == told["every"]
    assert len(told["gpu"]) > 0
