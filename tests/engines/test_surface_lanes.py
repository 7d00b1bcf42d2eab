"""Pictures that stay on the device, with the host's memory as the device: the whole lane but for what only CUDA does.

The kernels are the real ones, compiled for the host; pictures are frames of a real decoder, handed on through DLPack
as those of NVDEC are; networks run in torch. Against it: the same network fed and read as on a CPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import av
import numpy as np
import pytest
import torch

from engines.av_picture import AvPicture
from engines.cuda import av_surface
from engines.cuda.av_surface import SurfaceAvPicture, surface_of
from engines.cuda.suppression import PLACED, found_type
from engines.cuda.surfaces import SURFACE, Surface, SurfacePicture
from engines.engine import Engine, Place, SurfaceBuffer
from engines.options import ModelOptions
from engines.picture import Placement
from engines.runtimes.device_lanes import batch_sizes
from engines.runtimes.stage_times import BatchTimes
from engines.runtimes.surface_lanes import SurfaceLane, check_head
from engines.types import Detections, Picture, YuvMatrix, YuvPlanes
from stages.detect import Detect
from stages.preprocess import Preprocess
from stages.suppress import Suppress
from tests.support.models import CLASSES, Box, painted
from tests.support.shared import SHARED
from tests.support.specs import small_spec
from tests.support.surface_engine import COLOURS, Host, real_network
from vedette.errors import EngineError, ModelError, PictureError

SHIPPED = Path(__file__).resolve().parents[2] / "engines/weights/vedette-n-seed_416x256.onnx"
THINGS: dict[str, Box] = {"red": (100, 40, 220, 300), "green": (400, 200, 640, 260), "blue": (700, 20, 760, 440)}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """torch's threads wait for each other in vain where the cores are busy: twenty times the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def frame(things: dict[str, Box], layout: str = "nv12", size_wh: tuple[int, int] = (800, 450)) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(painted(size_wh, things), format="rgb24").reformat(format=layout)


def found_in(engine: Engine, pictures: Sequence[Picture], options: ModelOptions | None = None) -> list[Detections]:
    """One batch through the stages, as the dispatcher and the finisher call them."""
    preprocess, suppress = Preprocess(engine.spec), Suppress(engine.spec, options or ModelOptions(path="none"))
    detect = Detect(engine.spec, score=suppress.score)
    buffer = engine.acquire()
    assert buffer is not None
    placements: list[Placement] = []
    for index, picture in enumerate(pictures):
        placements.append(preprocess.write(picture, buffer, index))
        picture.release()
    engine.submit(buffer, len(pictures))
    completion = engine.completed()
    assert completion is not None
    assert completion.outputs is not None, completion.error
    found = [suppress(detect(completion.outputs, index), placed) for index, placed in enumerate(placements)]
    engine.release(buffer)
    return found


def same(got: Detections, expected: Detections) -> None:
    np.testing.assert_array_equal(got.xyxy_px, expected.xyxy_px)
    np.testing.assert_array_equal(got.scores, expected.scores)
    np.testing.assert_array_equal(got.class_ids, expected.class_ids)


def shown(found: Detections) -> dict[str, list[float]]:
    return {CLASSES[index]: box.tolist() for index, box in zip(found.class_ids, found.xyxy_px, strict=True)}


class TestSurfaces:
    @pytest.mark.parametrize("layout", ["nv12", "p010le"])
    def test_painted_things_are_found_where_they_are(self, layout: str) -> None:
        host = Host()

        (found,) = found_in(host.surfaces(), [SurfaceAvPicture(frame(THINGS, layout))])

        assert shown(found).keys() == THINGS.keys()
        for name, box in THINGS.items():
            np.testing.assert_allclose(shown(found)[name], box, atol=5)  # a pixel of the input is five of the source
        assert host.preprocess.launched == ["preprocess_uint8"]
        assert [name[:10] for name in host.nms.launched] == ["nms_reset", "nms_filter", "nms_rank", "nms_suppre"]

    def test_batch_is_one_launch_and_each_picture_s_own_boxes(self) -> None:
        host = Host()
        things: list[dict[str, Box]] = [{"red": (80 * n, 50, 80 * n + 160, 200)} for n in range(4)]
        sizes = [(800, 450), (640, 480), (1280, 720), (704, 576)]
        frames = [frame(one, size_wh=size) for one, size in zip(things, sizes, strict=True)]

        found = found_in(host.surfaces(), [SurfaceAvPicture(one) for one in frames])
        expected = found_in(host.levels(), [AvPicture(one) for one in frames])

        assert host.preprocess.launched == ["preprocess_uint8"]
        for got, wanted in zip(found, expected, strict=True):
            same(got, wanted)  # the colours are far from the detector's threshold

    def test_pictures_decoded_by_the_cpu_beside_them_go_the_host_s_way(self) -> None:
        """A stream that fell back to software decoding: the same levels, and so the same bits, as without a device."""
        host = Host()
        frames = [frame({name: THINGS[name]}, "yuv420p") for name in THINGS]
        mixed: list[Picture] = [AvPicture(frames[0]), SurfaceAvPicture(frame(THINGS)), AvPicture(frames[2])]

        found = found_in(host.surfaces(), mixed)
        expected = found_in(host.levels(), [AvPicture(frames[0]), AvPicture(frames[1]), AvPicture(frames[2])])

        same(found[0], expected[0])
        same(found[2], expected[2])
        assert shown(found[1]).keys() == THINGS.keys()

    @pytest.mark.parametrize("takes", [torch.float16, torch.float32])
    def test_network_that_takes_values_is_given_them_by_the_kernel(self, takes: torch.dtype) -> None:
        """As TensorRT's networks do: nothing lies between the kernel and their input, also beside a host's picture."""
        host = Host(takes=takes)
        mixed: list[Picture] = [SurfaceAvPicture(frame(THINGS)), AvPicture(frame(THINGS, "yuv420p"))]

        found = found_in(host.surfaces(), mixed)
        (expected,) = found_in(host.levels(), [AvPicture(frame(THINGS))])

        assert host.preprocess.launched == [f"preprocess_{str(takes).rpartition('.')[2]}"]
        for got in found:
            same(got, expected)

    def test_engine_of_host_pictures_alone_launches_no_preprocessing(self) -> None:
        host = Host()

        found_in(host.surfaces(), [AvPicture(frame(THINGS, "yuv420p"))])

        assert host.preprocess.launched == []
        assert len(host.nms.launched) == 4

    @pytest.mark.parametrize(
        "options",
        [
            ModelOptions(path="none", nms_iou=1.0),
            ModelOptions(path="none", score=0.75, nms_iou=1.0),
            ModelOptions(path="none", classes=("blue", "red")),
            ModelOptions(path="none", max_objects=2),
        ],
    )
    def test_configuration_s_rules_are_the_kernels_too(self, options: ModelOptions) -> None:
        host = Host(options=options)
        pictures = [AvPicture(frame(THINGS, "yuv420p")) for _ in range(2)]

        (got,) = found_in(host.surfaces(), pictures[:1], options)
        (expected,) = found_in(host.levels(), pictures[1:], options)

        assert len(expected)
        same(got, expected)

    def test_buffers_forget_what_they_held(self) -> None:
        engine = Host().surfaces(lanes=1)

        first = found_in(engine, [SurfaceAvPicture(frame(THINGS)) for _ in range(4)])
        (second,) = found_in(engine, [SurfaceAvPicture(frame({"green": THINGS["green"]}))])

        assert [len(found) for found in first] == [3] * 4
        assert shown(second).keys() == {"green"}

    def test_frames_are_kept_until_the_device_has_read_them_and_no_longer(self) -> None:
        engine = Host().surfaces(lanes=1)
        buffer = engine.acquire()
        assert buffer is not None
        picture = Watched(frame(THINGS))
        owner = weakref.ref(picture.owner)
        Preprocess(COLOURS).write(picture, buffer, 0)
        del picture

        engine.submit(buffer, 1)
        kept = owner() is not None
        engine.completed()

        assert kept
        assert owner() is None

    def test_slot_that_nobody_wrote_is_refused(self) -> None:
        engine = Host().surfaces()
        buffer = engine.acquire()
        assert buffer is not None
        Preprocess(COLOURS).write(SurfaceAvPicture(frame(THINGS)), buffer, 0)

        with pytest.raises(EngineError, match="slot 1 of 2 was submitted without a picture"):
            engine.submit(buffer, 2)

        engine.submit(buffer, 1)

    def test_picture_that_the_kernels_do_not_read_is_an_error_of_that_picture(self) -> None:
        engine = Host().surfaces()
        buffer = engine.acquire()
        assert buffer is not None
        preprocess = Preprocess(COLOURS)

        with pytest.raises(PictureError, match=r"pixel format yuv444p cannot be converted on the GPU, expected one of"):
            preprocess.write(SurfaceAvPicture(frame(THINGS, "yuv444p")), buffer, 0)
        preprocess.write(SurfaceAvPicture(frame(THINGS)), buffer, 0)

        engine.submit(buffer, 1)

    def test_waits_for_the_decoders_only_where_there_is_something_of_theirs(self) -> None:
        engine = Host().surfaces(lanes=1)
        (lane,) = engine._lanes
        assert isinstance(lane, SurfaceLane)
        stream: Any = lane._stream

        found_in(engine, [AvPicture(frame(THINGS, "yuv420p"))])
        assert stream.waited_for_decoders == 0
        found_in(engine, [SurfaceAvPicture(frame(THINGS))])
        assert stream.waited_for_decoders == 1
        assert stream.order[-2:] == ["after decoder", "begin"]  # a decoder's time is not the engine's

    @pytest.mark.parametrize("error", [RuntimeError("CUDA error: out of memory"), EngineError("a kernel was refused")])
    def test_run_that_fails_half_way_is_waited_for_and_keeps_no_frames(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        engine = Host().surfaces(lanes=1)
        (lane,) = engine._lanes
        assert isinstance(lane, SurfaceLane)
        stream: Any = lane._stream
        buffer = engine.acquire()
        assert buffer is not None
        picture = Watched(frame(THINGS))
        owner = weakref.ref(picture.owner)
        Preprocess(COLOURS).write(picture, buffer, 0)
        del picture
        held: list[bool] = []

        def failing(*_: object) -> None:
            raise error

        def wait() -> int:
            held.append(owner() is not None)
            return 0

        monkeypatch.setattr(lane._graphs, "run", failing)
        monkeypatch.setattr(stream, "wait", wait)

        with pytest.raises(EngineError, match=r"out of memory|was refused"):
            engine.submit(buffer, 1)

        assert held == [True]  # while the device may still read
        assert owner() is None
        with pytest.raises(EngineError, match="slot 0 of 1 was submitted without a picture"):
            engine.submit(buffer, 1)

    def test_what_a_profiler_is_shown_has_names(self) -> None:
        engine = Host().surfaces(lanes=1)
        (lane,) = engine._lanes
        assert isinstance(lane, SurfaceLane)
        stream: Any = lane._stream

        found_in(engine, [SurfaceAvPicture(frame(THINGS)) for _ in range(3)])

        assert stream.names == [
            "vedette: input",
            "vedette: pre-processing",
            "vedette: network, batch 4",
            "vedette: output",
        ]

    def test_stages_of_a_batch_and_what_crossed_the_bus_are_told_to_who_asks(self) -> None:
        engine = Host().surfaces(lanes=2)
        seen: list[BatchTimes] = []

        def two() -> list[Picture]:
            return [SurfaceAvPicture(frame(THINGS)) for _ in range(2)]

        found_in(engine, two())
        engine.record(seen.append)
        found_in(engine, [*two(), AvPicture(frame(THINGS, "yuv420p"))])
        engine.record(None)
        found_in(engine, two())

        (times,) = seen
        assert (times.lane, times.device, times.count, times.size) == (1, "cpu", 3, 4)
        stages = (times.began_ms, times.input_ms, times.preprocess_ms, times.network_ms, times.output_ms)
        assert all(stage > 0 for stage in stages)
        orders = 4 * (SURFACE.itemsize + PLACED.itemsize) + 8
        assert times.to_device_bytes == orders + 3 * 160 * 96  # surfaces by their addresses, one picture as levels
        assert times.to_host_bytes == 3 * found_type(300).itemsize

    def test_place_of_its_buffers_is_the_device(self) -> None:
        buffer = Host().surfaces().acquire()
        assert buffer is not None

        assert buffer.place is Place.DEVICE
        assert isinstance(buffer, SurfaceBuffer)
        assert batch_sizes(4) == (1, 2, 4)

    def test_other_heads_are_refused(self) -> None:
        with pytest.raises(ModelError, match=r"model\.gpu\.decode: gpu suppresses .* of the head yolo_nas, got yolox"):
            check_head(small_spec("yolox"))
        check_head(COLOURS)


class Watched(SurfaceAvPicture):
    """Its surface's owner can be watched."""

    def __init__(self, picture: av.VideoFrame) -> None:
        super().__init__(picture)
        self.owner = Owner()
        self.owner.held = surface_of(picture)

    def surface(self) -> Surface:
        return replace(super().surface(), owner=self.owner)


class Owner:
    held: object


class TestSurfaceOf:
    def test_planes_lie_where_the_decoder_s_are(self) -> None:
        picture = frame(THINGS)
        planes = AvPicture(picture).planes()
        surface = surface_of(picture)

        assert isinstance(planes, YuvPlanes)
        assert planes.uv is not None
        assert (surface.luma, surface.luma_pitch) == (planes.y.ctypes.data, planes.y.strides[0])
        assert (surface.chroma, surface.chroma_pitch) == (planes.uv.ctypes.data, planes.uv.strides[0])
        assert (surface.size_wh, surface.bits, surface.msb_aligned) == ((800, 450), 8, True)
        assert isinstance(SurfaceAvPicture(picture), SurfacePicture)
        assert not isinstance(AvPicture(picture), SurfacePicture)

    def test_colours_are_those_of_the_stream(self) -> None:
        picture = frame(THINGS)
        picture.colorspace, picture.color_range = 1, 2

        surface = surface_of(picture)

        assert (surface.matrix, surface.full_range) == (YuvMatrix.BT709, True)

    @pytest.mark.parametrize(
        "error", [NotImplementedError("unsupported sw_format"), ValueError("linesize"), BufferError()]
    )
    def test_planes_that_cannot_be_had_fail_their_frame_only(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def refused(_: object) -> NoReturn:
            raise error

        monkeypatch.setattr(av_surface, "from_dlpack", refused)

        with pytest.raises(PictureError, match="planes of nv12 cannot be had on the GPU"):
            surface_of(frame(THINGS))

    def test_host_cannot_read_them(self) -> None:
        with pytest.raises(PictureError, match="lies in the GPU's memory"):
            SurfaceAvPicture(frame(THINGS)).planes()


@pytest.mark.skipif(SHARED is None, reason="the clips are not here")
def test_real_network_finds_in_a_real_film_what_it_finds_on_a_cpu() -> None:
    """H.264, decoded in software; its planes as surfaces; a shipped network in float32."""
    assert SHARED is not None
    network, spec = real_network(SHIPPED)
    options = ModelOptions(path="none", score=0.3)
    host = Host(network=network, spec=spec, batch=1, options=options)
    on_device, on_cpu = host.surfaces(lanes=1), host.levels(lanes=1)
    count = 0
    with av.open(str(SHARED / "clips/intel_one-by-one-person-detection.mp4")) as film:
        for second in (3, 8):
            film.seek(second * av.time_base)
            picture = next(film.decode(video=0))
            (got,) = found_in(on_device, [SurfaceAvPicture(picture.reformat(format="nv12"))], options)
            (expected,) = found_in(on_cpu, [AvPicture(picture)], options)

            assert got.class_ids.tolist() == expected.class_ids.tolist()
            np.testing.assert_allclose(got.scores, expected.scores, atol=0.02)
            np.testing.assert_allclose(got.xyxy_px, expected.xyxy_px, atol=2.0)
            count += len(got)
    assert count >= 2
