from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from engines.engine import Engine, Place
from engines.options import ModelOptions
from engines.picture import Placement
from engines.runtimes import open_engine
from engines.spec import InputSpec, ModelSpec
from engines.types import Detections, Picture, RgbPicture, YuvPlanes
from stages.detect import Detect
from stages.preprocess import Preprocess
from stages.source.picture import AvPicture
from stages.suppress import Suppress
from tests.support.models import CLASSES, Box, colour_model, painted
from tests.support.plain_picture import plain_levels
from vedette.errors import EngineError, PictureError

SPEC = ModelSpec(name="small", head="yolo_nas", classes=CLASSES, input=InputSpec(size=(64, 32)))

THINGS: dict[str, Box] = {"red": (100, 40, 220, 300), "green": (400, 200, 640, 260), "blue": (700, 20, 760, 440)}


@dataclass
class HostBuffer:
    array: npt.NDArray[Any] = field(default_factory=lambda: np.zeros((2, 3, 32, 64), np.float32))
    place: Place = Place.HOST


def frame(size_wh: tuple[int, int], pixels: str, things: dict[str, Box] = THINGS) -> AvPicture:
    """A picture of things in some pixel format, as a decoder would give it."""
    return AvPicture(av.VideoFrame.from_ndarray(painted(size_wh, things), format="rgb24").reformat(format=pixels))


def test_picture_goes_into_its_slot_and_its_placement_comes_back() -> None:
    buffer = HostBuffer()
    shown = frame((800, 450), "yuv420p")

    placement = Preprocess(SPEC).write(shown, buffer, 1)

    assert placement == Placement(source_wh=(800, 450), inner_wh=(56, 32), offset_xy=(4, 0))
    assert not buffer.array[0].any()
    expected = np.moveaxis(plain_levels(shown.planes(), (56, 32)), -1, 0) / 255
    np.testing.assert_allclose(buffer.array[1, :, :, 4:60], expected, atol=4.01 / 255)
    np.testing.assert_allclose(buffer.array[1, :, :, :4], 114 / 255, rtol=1e-6)


def test_picture_of_a_format_that_cannot_be_converted_is_an_error_of_that_picture() -> None:
    buffer = HostBuffer()
    with pytest.raises(PictureError, match="pixel format pal8 cannot be converted"):
        Preprocess(SPEC).write(AvPicture(av.VideoFrame(16, 16, "pal8")), buffer, 0)
    assert not buffer.array.any()


def test_buffer_on_a_device_is_refused() -> None:
    with pytest.raises(EngineError, match="in host memory cannot be written to a buffer on the device"):
        Preprocess(SPEC).write(frame((64, 32), "yuv420p", {}), HostBuffer(place=Place.DEVICE), 0)


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return opened(colour_model(tmp_path_factory.mktemp("colours") / "colours.onnx", (320, 192)), request.param)


def opened(path: Path, backend: Any) -> Engine:
    return open_engine(ModelOptions(path=str(path), backend=backend), now_ns=time.monotonic_ns)


def found_in(picture: Picture, engine: Engine) -> Detections:
    """One picture through all stages up to detections."""
    buffer = engine.acquire()
    assert buffer is not None
    placement = Preprocess(engine.spec).write(picture, buffer, 0)
    engine.submit(buffer, 1)
    completion = engine.completed()
    assert completion is not None
    assert completion.outputs is not None
    found = Suppress(engine.spec, ModelOptions(path=""))(
        Detect(engine.spec, score=0.35)(completion.outputs, 0), placement
    )
    engine.release(completion.buffer)
    return found


def boxes(found: Detections) -> dict[str, list[float]]:
    named = zip(found.class_ids, found.xyxy_px, strict=True)
    return {CLASSES[index]: [float(side) for side in box] for index, box in named}


@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuvj420p", "nv12", "yuv422p", "yuv444p", "yuv420p10le", "p010le", "rgb24"]
)
def test_painted_things_are_found_where_they_are_in_every_pixel_format(engine: Engine, pixels: str) -> None:
    found = boxes(found_in(frame((800, 450), pixels), engine))

    assert set(found) == set(THINGS)
    for name, box in THINGS.items():
        # A pixel of the input is 2.5 of the source, and chroma is coarser still.
        np.testing.assert_allclose(found[name], box, rtol=0, atol=2.5)


@pytest.mark.parametrize("size_wh", [(1366, 768), (854, 480), (767, 433), (320, 192), (480, 854)])
def test_painted_things_are_found_where_they_are_in_every_size(engine: Engine, size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    things: dict[str, Box] = {
        "red": (width // 8, height // 6, width // 3, height // 2),
        "blue": (width // 2, height // 2, width, height),
    }
    found = boxes(found_in(frame(size_wh, "yuv420p", things), engine))

    assert set(found) == set(things)
    slack = 1.5 * max(width / 320, height / 192)
    for name, box in things.items():
        np.testing.assert_allclose(found[name], box, rtol=0, atol=slack)


def test_nothing_is_found_in_black_grey_and_noise_of_the_dark(engine: Engine) -> None:
    noise = np.random.default_rng(0).integers(16, 120, (90, 160), np.uint8)
    for luma in (np.full((90, 160), 16, np.uint8), np.full((90, 160), 126, np.uint8), noise):
        assert len(found_in(_Still(YuvPlanes(y=luma)), engine)) == 0


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("size_wh", [(320, 192), (160, 96), (224, 224)])
def test_network_of_free_size_takes_the_spec_s(tmp_path: Path, backend: str, size_wh: tuple[int, int]) -> None:
    engine = opened(colour_model(tmp_path / "free.onnx", size_wh, free_size=True), backend)
    buffer = engine.acquire()
    assert buffer is not None
    assert buffer.array.shape == (1, 3, size_wh[1], size_wh[0])
    engine.release(buffer)

    found = boxes(found_in(_Still(RgbPicture(rgb=painted((640, 360), {"green": (80, 40, 320, 200)}))), engine))

    np.testing.assert_allclose(found["green"], (80, 40, 320, 200), rtol=0, atol=4.5)


@dataclass
class _Still:
    shown: YuvPlanes | RgbPicture

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.shown.size_wh

    def planes(self) -> YuvPlanes | RgbPicture:
        return self.shown

    def release(self) -> None: ...
