from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.datasets import Image, match_classes, open_dataset
from engines.engine import Engine, Outputs
from engines.options import ModelOptions
from engines.runtimes import open_engine
from engines.types import F32
from engines.validate import PredictOptions, average_precision, predict
from tests.support.datasets import coco_set, write_picture
from tests.support.models import colour_model
from tests.support.scripted_engine import ScriptedEngine, level_of, one_box_each
from vedette.errors import DataError, EngineError


def grey_images(folder: Path, levels: list[int]) -> list[Image]:
    """Pictures of one level each, as large as the scripted engine's input."""
    images = []
    for number, level in enumerate(levels):
        path = folder / f"{number}.png"
        assert cv2.imwrite(str(path), np.full((32, 64), level, np.uint8))
        images.append(Image(path=path))
    return images


def levels_of(engine: Engine, images: list[Image]) -> list[int]:
    found = predict(engine, images).found
    return [level_of(float(one.every.xyxy_px[0, 0])) for one in found]


def colours(path: Path, backend: str = "onnxruntime") -> Engine:
    return open_engine(ModelOptions(path=str(colour_model(path)), backend=backend), now_ns=time.monotonic_ns)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_detector_that_is_never_wrong_has_an_ap_of_1(tmp_path: Path, backend: str) -> None:
    dataset = open_dataset(coco_set(tmp_path, 12, sizes=((160, 96), (96, 120), (400, 240))))
    engine = colours(tmp_path / "colours.onnx", backend)
    calls: list[int] = []
    try:
        found = predict(engine, dataset.images, progress=lambda: calls.append(1))
    finally:
        engine.close()
    assert len(calls) == 12
    assert found.unreadable == ()
    assert found.found[1].size_wh == (96, 120)
    report = average_precision(found, dataset)
    assert report.mean.ap50 == pytest.approx(1.0)
    assert report.mean.ap is not None
    assert report.mean.ap > 0.9  # pictures that were scaled have boxes that are rounded to pixels of the input


def test_results_are_in_the_order_of_the_images_whatever_comes_back_first(tmp_path: Path) -> None:
    levels = [10 * number for number in range(1, 12)]
    engine = ScriptedEngine(buffers=3, pick=lambda running: running - 1, gather_s=0.02)
    assert levels_of(engine, grey_images(tmp_path, levels)) == levels


def test_buffers_are_filled_and_the_last_one_as_far_as_it_goes(tmp_path: Path) -> None:
    levels = [5 * number for number in range(1, 12)]
    engine = ScriptedEngine(buffers=2, batch=4)
    assert levels_of(engine, grey_images(tmp_path, levels)) == levels
    assert engine.submissions == [4, 4, 3]


def test_one_buffer_is_enough_and_the_engine_can_go_on(tmp_path: Path) -> None:
    engine = ScriptedEngine(buffers=1)
    images = grey_images(tmp_path, [20, 40, 60])
    assert levels_of(engine, images) == levels_of(engine, images) == [20, 40, 60]
    assert engine.free == 1


def test_pictures_that_cannot_be_used_are_named_and_the_others_run(tmp_path: Path) -> None:
    good = grey_images(tmp_path, [20, 40])
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    other_size = Image(path=good[1].path, size_wh=(32, 64))
    found = predict(ScriptedEngine(), [good[0], Image(path=broken), other_size, Image(path=tmp_path / "none.jpg")])

    assert [len(one.every) for one in found.found] == [1, 0, 0, 0]
    first, second, third = found.unreadable
    assert "broken.jpg: expected a picture" in first
    assert second.endswith("1.png: the data set says 32x64, the picture is 64x32")
    assert third.endswith("none.jpg: no such image file")


def test_if_no_picture_can_be_used_that_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of 2 images can be used; the first: .*a\.jpg: no such image file"):
        predict(ScriptedEngine(), [Image(path=tmp_path / "a.jpg"), Image(path=tmp_path / "b.jpg")])


def test_a_run_that_fails_ends_the_pass_and_leaves_no_buffer_behind(tmp_path: Path) -> None:
    def third_fails(pictures: F32) -> Outputs | EngineError:
        return EngineError("the network broke") if pictures.mean() == 30 else one_box_each(pictures)

    engine = ScriptedEngine(buffers=2, look=third_fails)
    with pytest.raises(EngineError, match="the network broke"):
        predict(engine, grey_images(tmp_path, [10, 20, 30, 40, 50, 60, 70, 80]))
    assert engine.free == 2


def test_a_submission_that_is_refused_ends_the_pass(tmp_path: Path) -> None:
    refusals = iter([None, None, EngineError("refused")])
    engine = ScriptedEngine(buffers=2, refuse=lambda: next(refusals))
    with pytest.raises(EngineError, match="refused"):
        predict(engine, grey_images(tmp_path, [10, 20, 30, 40]))
    assert engine.free == 2


def test_an_interrupt_while_a_buffer_comes_back_waits_for_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedEngine(buffers=2)
    completed, calls = engine.completed, []

    def interrupted() -> None:
        calls.append(completed())
        assert len(calls) == 1, "asked once more for what it has lost"
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(engine, grey_images(tmp_path, [10, 20, 30, 40]))


def test_a_closed_engine_is_an_error(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        predict(engine, grey_images(tmp_path, [10]))


def test_what_is_shown_has_the_models_score_and_what_counts_for_ap_may_have_less(tmp_path: Path) -> None:
    def two(pictures: F32) -> Outputs:
        rows = [[[1, 1, 9, 9, 0.6, 0], [20, 1, 29, 9, 0.05, 1], [40, 1, 49, 9, 0.005, 1]]] * len(pictures)
        return {"output": np.array(rows, np.float32)}

    images = grey_images(tmp_path, [10])
    found = predict(ScriptedEngine(look=two), images).found[0]
    assert (len(found.every), len(found.shown)) == (2, 1)
    more = predict(ScriptedEngine(look=two), images, PredictOptions(score=0.001, shown_score=0.01)).found[0]
    assert (len(more.every), len(more.shown)) == (3, 2)


def test_classes_that_go_together_are_suppressed_together(tmp_path: Path) -> None:
    path = colour_model(tmp_path / "colours.onnx")
    spec = path.with_suffix(".yaml")
    spec.write_text(spec.read_text().replace("[red, green, blue]", "[car, truck, person]"))
    engine = open_engine(ModelOptions(path=str(path), backend="onnxruntime"), now_ns=time.monotonic_ns)
    # Yellow is red and green: the same box as a car and as a truck.
    picture = write_picture(tmp_path / "a.png", (160, 96), {})
    pixels = np.zeros((96, 160, 3), np.uint8)
    pixels[20:60, 30:90] = (0, 255, 255)
    cv2.imwrite(str(picture), pixels)
    try:
        images = [Image(path=picture)]
        apart = predict(engine, images).found[0].shown
        names = match_classes(engine.spec.classes, ("vehicle",), {"car": "vehicle", "truck": "vehicle"})
        together = predict(engine, images, class_map=names).found[0].shown
    finally:
        engine.close()
    assert sorted(apart.class_ids.tolist()) == [0, 1]
    assert together.class_ids.tolist() == [0]
    assert np.allclose(together.xyxy_px, [[30, 20, 90, 60]], atol=0.5)
