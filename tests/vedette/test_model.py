"""`from vedette import Model`: on a detector that is never wrong, and on the one that ships."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from stages.source.synthetic.options import SyntheticOptions
from stages.source.synthetic.render import Renderer
from stages.source.synthetic.scene import Scene
from tests.support.datasets import coco_set
from tests.support.models import colour_model, painted
from vedette import Model
from vedette.errors import DataError, EngineError, ModelError, PictureError, UsageError
from vedette.model import Box, Prediction

ROOT = Path(__file__).parents[2]
SIZE_WH = (320, 192)
THINGS = {"red": (40, 20, 100, 80), "blue": (200, 100, 260, 180)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(colour_model(tmp_path_factory.mktemp("model") / "colours.onnx"), score=0.5)


@pytest.fixture(scope="module")
def rgb() -> npt.NDArray[np.uint8]:
    return painted(SIZE_WH, THINGS)


def found(prediction: Prediction) -> dict[str, tuple[float, ...]]:
    return {box.class_name: tuple(round(side) for side in box.xyxy_px) for box in prediction.boxes}


def test_an_array_gives_typed_boxes_in_its_own_pixels(model: Model, rgb: npt.NDArray[np.uint8]) -> None:
    prediction = model.predict(rgb)

    assert prediction.size_wh == SIZE_WH
    assert prediction.path is None
    assert all(isinstance(box, Box) and box.score > 0.9 for box in prediction.boxes)
    assert len(prediction) == 2
    assert set(found(prediction)) == {"red", "blue"}
    for box in prediction.boxes:
        assert box.xyxy_px == pytest.approx(THINGS[box.class_name], abs=1)
    scores = prediction.detections.scores
    assert list(scores) == sorted(scores, reverse=True)


def test_bgr_is_taken_when_it_is_said(model: Model, rgb: npt.NDArray[np.uint8]) -> None:
    bgr = rgb[:, :, ::-1]

    assert found(model.predict(bgr, colour="bgr")) == found(model.predict(rgb))
    assert found(model.predict(bgr))["red"] == found(model.predict(rgb))["blue"]


def test_files_arrays_and_images_of_pil_give_the_same(model: Model, rgb: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "things.png"
    cv2.imwrite(str(path), rgb[:, :, ::-1])
    image = Image.fromarray(rgb)

    predictions = model.predict([path, str(path), rgb, image, image.convert("RGBA")])

    assert [prediction.path for prediction in predictions] == [path, path, None, None, None]
    for prediction in predictions[1:]:
        np.testing.assert_array_equal(prediction.detections.xyxy_px, predictions[0].detections.xyxy_px)


def test_plot_draws_into_a_copy_and_save_writes_it(model: Model, rgb: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    before = rgb.copy()
    prediction = model.predict(rgb)

    drawn = prediction.plot()
    saved = prediction.save(tmp_path / "drawn.png")

    np.testing.assert_array_equal(rgb, before)
    assert drawn.shape == rgb.shape
    assert drawn.dtype == np.uint8
    changed = (drawn != rgb).any(axis=2)
    x1, y1, x2, y2 = THINGS["blue"]
    assert changed[y2 - 3 : y2 + 3, x1 + 5 : x2 - 5].any(axis=0).all()  # the lower edge of its box
    assert not changed[y1 + 10 : y2 - 10, x1 + 10 : x2 - 10].any()
    np.testing.assert_array_equal(cv2.imread(str(saved))[:, :, ::-1], drawn)
    assert [path.name for path in tmp_path.iterdir()] == ["drawn.png"]


@pytest.mark.parametrize("size_wh", [(320, 192), (321, 193)], ids=["even", "odd"])
def test_a_jpeg_is_drawn_whole(model: Model, tmp_path: Path, size_wh: tuple[int, int]) -> None:
    path = tmp_path / "things.jpg"
    rgb = painted(size_wh, THINGS)
    cv2.imwrite(str(path), rgb[:, :, ::-1])

    drawn = model.predict(path).plot()

    assert drawn.shape == rgb.shape
    assert np.abs(drawn[110:170, 210:250].astype(int) - rgb[110:170, 210:250]).mean() < 12


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"expected a picture as an array \(height, width, 3\) of uint8, got \(4, 4\)"),
        (np.zeros((4, 4, 3)), "got .* of float64"),
        (np.zeros((0, 4, 3), np.uint8), r"got \(0, 4, 3\)"),
        (7, "expected a path, an array or an image of PIL, got int"),
        ("none.jpg", "none.jpg: no such image file"),
    ],
)
def test_what_is_no_picture_is_refused(model: Model, picture: object, message: str) -> None:
    with pytest.raises(PictureError, match=message):
        model.predict(picture)  # type: ignore[call-overload]  # that is what is tested


def test_a_bad_ending_is_refused(model: Model, rgb: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected the ending of a picture's format, got \.xyz"):
        model.predict(rgb).save(tmp_path / "a.xyz")
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        model.predict(rgb).save(tmp_path / "none" / "a.png")


def test_thresholds_and_classes_are_kept_to(rgb: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    path = colour_model(tmp_path / "colours.onnx")
    with Model(path, score=0.5, classes=["blue"]) as model:
        assert list(found(model.predict(rgb))) == ["blue"]
    with Model(path, score=1.0) as model:
        assert model.predict(rgb).boxes == ()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"backend": "abacus"}, UsageError, "backend: expected one of auto, openvino, .*, got 'abacus'"),
        ({"precision": "int3"}, UsageError, "precision: expected one of auto, fp32, .*, got 'int3'"),
        ({"score": 2}, UsageError, "score: expected float <= 1.0, got 2"),
        ({"classes": ["blu"]}, ModelError, "expected one of the model's classes, got 'blu', did you mean 'blue'"),
    ],
)
def test_wrong_settings_are_refused(
    settings: dict[str, object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = colour_model(tmp_path / "colours.onnx")

    with pytest.raises(error, match=message):
        Model(path, **settings)  # type: ignore[arg-type]  # that is what is tested


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(ModelError, match="vedete-n: expected a model file or the name") as raised:
        Model("vedete-n")
    assert raised.value.hint == "did you mean 'vedette-n'?"


def test_validation_gives_average_precision(model: Model, tmp_path: Path) -> None:
    report = model.validate(coco_set(tmp_path, 6))

    assert report.mean.ap == pytest.approx(1.0)
    assert [found.name for found in report.classes] == ["red", "green", "blue"]
    assert report.images == 6


def test_validation_needs_labels(model: Model, tmp_path: Path) -> None:
    coco_set(tmp_path, 2)

    with pytest.raises(DataError, match="images: expected labelled pictures, got none with labels"):
        model.validate(tmp_path / "images")


def test_a_closed_model_says_so(rgb: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    with Model(colour_model(tmp_path / "colours.onnx")) as model:
        pass
    model.close()

    with pytest.raises(EngineError, match=r"colours.onnx: this Model is closed"):
        model.predict(rgb)


def test_the_model_that_ships_finds_things_in_a_street_and_says_what_it_is() -> None:
    scene = Scene(SyntheticOptions(seed=1))
    picture = Renderer(scene).render(200)
    with Model("vedette-n", threads=2) as model:
        info = model.info()
        # A camera's frame, as a program that has decoded one itself would hand it in.
        planes = picture.planes()
        i420 = np.concatenate([planes.y.ravel(), planes.u.ravel(), planes.v.ravel()])
        rgb = cv2.cvtColor(i420.reshape(-1, planes.size_wh[0]), cv2.COLOR_YUV2RGB_I420)
        prediction = model.predict(rgb)

    assert {box.class_name for box in prediction.boxes} & {"person", "vehicle"}
    assert info.classes == ("person", "vehicle", "bike")
    assert info.input_size_wh == model_size()
    assert info.file_bytes == Path(info.path).stat().st_size
    assert len(info.sha256) == 64
    assert info.gflops == pytest.approx(8.0135168 * info.input_size_wh[0] * info.input_size_wh[1] / 640 / 640, rel=1e-3)
    assert info.parameters == pytest.approx(3_045_000, rel=1e-3)
    assert "2 threads" in info.runtime


def model_size() -> tuple[int, int]:
    from engines.runtimes import read_model_file
    from engines.spec import find_spec
    from engines.weights import find_model

    return find_spec(read_model_file(find_model("vedette-n"))).spec.input.size


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("import vedette; from vedette import *; Subscriber", ""),
        ("from vedette import Model", "MissingExtraError: vedette.Model needs the package numpy, which is not"),
    ],
)
def test_a_bare_installation_has_all_but_the_model(statement: str, says: str) -> None:
    code = f"import sys; sys.modules['numpy'] = None; {statement}"

    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert says in ended.stderr
    assert bool(ended.returncode) == bool(says)


def test_nothing_heavy_is_imported_before_the_model_is_asked_for() -> None:
    code = "import sys, vedette; print('numpy' in sys.modules); vedette.Model; print('numpy' in sys.modules)"

    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert ended.stdout.split() == ["False", "True"]
