"""An image of PIL is the picture that its file is: values, which way is up, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from engines.drawing import to_rgb
from tests.support.models import colour_model, painted
from vedette import Model
from vedette.errors import PictureError
from vedette.model import Prediction

SIZE_WH = (320, 192)
THINGS = {"red": (40, 20, 100, 80), "blue": (200, 100, 260, 180)}
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(colour_model(tmp_path_factory.mktemp("model") / "colours.onnx"), score=0.5)


def found(prediction: Prediction) -> dict[str, list[int]]:
    return {box.class_name: [round(side) for side in box.xyxy_px] for box in prediction.boxes}


def deep_grey() -> npt.NDArray[np.uint16]:
    """16 bits of grey from black to white, most of them above 255."""
    return np.linspace(0, 65535, 96 * 64).astype(np.uint16).reshape(64, 96)


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep.pgm"])
def test_sixteen_bits_of_grey_are_scaled_as_a_files_are(model: Model, name: str, tmp_path: Path) -> None:
    """They were cut off at 255: nearly all of such a picture was white."""
    path = tmp_path / name
    Image.fromarray(deep_grey()).save(path)

    of_file = to_rgb(model.predict(path).picture)
    with Image.open(path) as image:
        of_image = to_rgb(model.predict(image).picture)

    np.testing.assert_array_equal(of_image, of_file)
    assert len(np.unique(of_image)) == 256


def test_the_byte_order_of_sixteen_bits_does_not_matter(model: Model) -> None:
    little = Image.fromarray(deep_grey())
    big = Image.frombytes("I;16B", little.size, deep_grey().astype(">u2").tobytes())

    np.testing.assert_array_equal(to_rgb(model.predict(big).picture), to_rgb(model.predict(little).picture))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_opened_with_pil_is_upright_as_its_file_is(model: Model, orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(painted(SIZE_WH, THINGS)).save(path, exif=exif, quality=95, subsampling=0)

    of_file = model.predict(path)
    with Image.open(path) as image:
        of_image = model.predict(image)

    assert of_image.size_wh == of_file.size_wh
    assert set(found(of_file)) == set(THINGS)
    for name, box in found(of_file).items():
        assert found(of_image)[name] == pytest.approx(box, abs=1)


@pytest.mark.parametrize("name", ["turned.png", "turned.webp", "turned.tif"])
def test_other_formats_are_upright_too(model: Model, name: str, tmp_path: Path) -> None:
    """PIL gives their Exif blocks with «Exif» in front, without, and not at all since it turns the picture itself."""
    upright = Image.fromarray(painted(SIZE_WH, THINGS))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / name, exif=exif, lossless=True)

    with Image.open(tmp_path / name) as image:
        of_image = model.predict(image)

    assert of_image.size_wh == SIZE_WH
    assert found(of_image) == found(model.predict(upright))


def test_an_image_that_its_owner_turned_upright_is_left_so(model: Model) -> None:
    upright = Image.fromarray(painted(SIZE_WH, THINGS))
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored.info["exif"] = exif.tobytes()

    turned = ImageOps.exif_transpose(stored)

    assert found(model.predict(stored)) == found(model.predict(turned)) == found(model.predict(upright))


@pytest.mark.parametrize("block", [b"", b"Exif\x00\x00", b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", b"nonsense"])
def test_an_exif_block_that_makes_no_sense_turns_nothing(model: Model, block: bytes) -> None:
    image = Image.fromarray(painted(SIZE_WH, THINGS))
    expected = found(model.predict(image))
    image.info["exif"] = block

    assert found(model.predict(image)) == expected


@pytest.mark.parametrize("name", ["short.png", "short.jpg", "short.tif"])
def test_a_file_that_was_cut_short_is_one_line(model: Model, name: str, tmp_path: Path) -> None:
    """PIL reads pixels when they are asked for: what is wrong with them came as its own OSError."""
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])

    with (
        Image.open(path) as image,
        pytest.raises(
            PictureError, match=rf"{name}: expected a picture .*, but it is damaged or cut short \(.+\)"
        ) as raised,
    ):
        model.predict(image)
    assert "\n" not in raised.value.message


def test_an_image_that_was_closed_before_it_was_read_is_one_line(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "things.png"
    Image.fromarray(painted(SIZE_WH, THINGS)).save(path)
    with Image.open(path) as image:
        pass

    with pytest.raises(PictureError, match=r"things\.png: .*closed"):
        model.predict(image)


@pytest.mark.parametrize(
    ("image", "mode"),
    [(Image.new("F", (8, 8), 0.5), "F"), (Image.new("I", (8, 8), 70_000), "I"), (Image.new("La", (8, 8)), "La")],
    ids=["floats", "integers", "premultiplied"],
)
def test_values_that_have_no_white_are_refused(model: Model, image: Image.Image, mode: str) -> None:
    with pytest.raises(
        PictureError, match=f"an image of PIL: expected 8 bits a channel or 16 of grey, got mode {mode}"
    ):
        model.predict(image)
