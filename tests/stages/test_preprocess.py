"""Pre-processing as a stage: a picture goes into its slot of the engine's own buffer, and nowhere else."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from engines.engine import Place
from engines.options import ModelOptions
from engines.runtimes import open_engine
from engines.types import F32, RgbPicture, SizeWH, YuvPlanes
from stages.preprocess import Preprocess
from tests.support.specs import small_spec
from tests.support.tiny_models import HEIGHT, WIDTH, mean_model
from vedette.errors import EngineError, PictureError


@dataclass(frozen=True, slots=True)
class Still:
    """An `engines.types.Picture` that gives what it was made of."""

    given: YuvPlanes | RgbPicture

    @property
    def size_wh(self) -> SizeWH:
        return self.given.size_wh

    def planes(self) -> YuvPlanes | RgbPicture:
        return self.given


@dataclass(slots=True)
class Slots:
    """An `engines.engine.Buffer` of three slots, all -1."""

    place: Place = Place.HOST
    array: F32 = field(default_factory=lambda: np.full((3, 3, 64, 64), -1.0, np.float32))


def grey(width: int, height: int, level: int) -> Still:
    y = np.full((height, width), level, np.uint8)
    y.flags.writeable = False
    return Still(YuvPlanes(y=y, full_range=True))


def test_picture_fills_its_slot_between_borders_of_the_pad_and_no_other() -> None:
    slots = Slots()

    placement = Preprocess(small_spec("yolox")).write(grey(128, 64, 200), slots, 1)

    assert (placement.offset_xy, placement.inner_wh) == ((0, 16), (64, 32))
    np.testing.assert_allclose(slots.array[1, :, 16:48], 200 / 255, atol=1.01 / 255)
    np.testing.assert_allclose(slots.array[1, :, :16], 114 / 255, atol=1e-6)
    np.testing.assert_allclose(slots.array[1, :, 48:], 114 / 255, atol=1e-6)
    assert (slots.array[[0, 2]] == -1.0).all()


def test_borders_are_right_when_pictures_of_other_shapes_follow_in_one_slot() -> None:
    slots, preprocess = Slots(), Preprocess(small_spec("yolox"))
    preprocess.write(grey(64, 64, 255), slots, 0)
    preprocess.write(grey(64, 128, 255), slots, 0)
    preprocess.write(grey(128, 64, 0), slots, 0)

    expected = Slots()
    Preprocess(small_spec("yolox")).write(grey(128, 64, 0), expected, 0)

    np.testing.assert_array_equal(slots.array[0], expected.array[0])


def test_what_the_engine_sees_is_what_was_written(tmp_path: Path) -> None:
    engine = open_engine(ModelOptions(path=str(mean_model(tmp_path / "mean.onnx"))), now_ns=time.monotonic_ns)
    buffer = engine.acquire()
    assert buffer is not None

    Preprocess(engine.spec).write(grey(WIDTH * 3, HEIGHT * 3, 51), buffer, 0)
    engine.submit(buffer, 1)

    completion = engine.completed()
    assert completion is not None
    assert completion.outputs is not None
    assert float(completion.outputs["output"][0, 0, 0]) == pytest.approx(51 / 255, abs=1.01 / 255)


def test_still_image_is_written_as_it_is() -> None:
    slots = Slots()
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[...] = (10, 100, 250)

    Preprocess(small_spec("yolox")).write(Still(RgbPicture(rgb=rgb)), slots, 2)

    np.testing.assert_allclose(slots.array[2, :, 5, 5], np.array([10, 100, 250]) / 255, atol=1e-6)


def test_buffer_on_a_device_is_refused() -> None:
    with pytest.raises(EngineError, match="cannot be written to a buffer on the device"):
        Preprocess(small_spec("yolox")).write(grey(64, 64, 0), Slots(place=Place.DEVICE), 0)


@pytest.mark.parametrize(
    "planes", [YuvPlanes(y=np.zeros((0, 64), np.uint8)), YuvPlanes(y=np.zeros((64, 64), np.float32))]
)
def test_picture_that_cannot_be_converted_fails_alone(planes: YuvPlanes) -> None:
    slots, preprocess = Slots(), Preprocess(small_spec("yolox"))

    with pytest.raises(PictureError):
        preprocess.write(Still(planes), slots, 0)

    preprocess.write(grey(64, 64, 255), slots, 0)
    np.testing.assert_allclose(slots.array[0], 1.0, atol=1e-6)
