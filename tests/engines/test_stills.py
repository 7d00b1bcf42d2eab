"""Image files as pictures: each kind against the pixels that were written, and each kind of damage."""

from __future__ import annotations

import io
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from engines.stills import read_still, still_size
from engines.types import RgbPicture, YuvMatrix, YuvPlanes
from vedette.errors import StillError

U8 = npt.NDArray[np.uint8]


def soft_picture(size_wh: tuple[int, int] = (90, 62)) -> U8:
    """(H, W, 3) RGB, soft, so that JPEG keeps it; no symmetry."""
    noise = np.random.default_rng(3).integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(cv2.resize(noise, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)


def written(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]  # whatever Pillow takes
    return path


def rgb_of(path: Path) -> U8:
    planes = read_still(path).planes()
    assert isinstance(planes, RgbPicture)
    return planes.rgb


def yuv_of(path: Path) -> YuvPlanes:
    planes = read_still(path).planes()
    assert isinstance(planes, YuvPlanes)
    return planes


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_arrives_as_its_planes(tmp_path: Path, subsampling: int) -> None:
    image = Image.fromarray(soft_picture())
    planes = yuv_of(written(tmp_path / "a.jpg", image, quality=95, subsampling=subsampling))

    assert planes.full_range
    assert planes.matrix is YuvMatrix.BT601
    assert planes.u is not None
    assert planes.u.shape == {0: (62, 90), 1: (62, 45), 2: (31, 45)}[subsampling]
    luma = np.asarray(image.convert("YCbCr"))[..., 0].astype(int)
    assert np.abs(planes.y.astype(int) - luma).max() <= 4


def test_a_grey_jpeg_is_full_range(tmp_path: Path) -> None:
    grey = soft_picture()[..., 0]
    planes = yuv_of(written(tmp_path / "a.jpg", Image.fromarray(grey), quality=95))

    assert planes.full_range
    assert planes.u is planes.v is planes.uv is None
    assert np.abs(planes.y.astype(int) - grey).max() <= 4


def test_a_jpeg_that_was_coded_as_rgb_is_rgb(tmp_path: Path) -> None:
    rgb = soft_picture()
    path = written(tmp_path / "a.jpg", Image.fromarray(rgb), quality=95, keep_rgb=True)
    assert np.abs(rgb_of(path).astype(int) - rgb).max() <= 4


@pytest.mark.parametrize(
    ("name", "mode"), [("a.png", "RGB"), ("a.png", "RGBA"), ("a.bmp", "RGB"), ("a.tiff", "RGB"), ("a.ppm", "RGB")]
)
def test_what_is_stored_without_loss_is_read_without_loss(tmp_path: Path, name: str, mode: str) -> None:
    rgb = soft_picture()
    image = Image.fromarray(rgb)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(rgb[..., 1]))
    assert np.array_equal(rgb_of(written(tmp_path / name, image)), rgb)


def test_lossless_webp_is_read_without_loss(tmp_path: Path) -> None:
    rgb = soft_picture()
    assert np.array_equal(rgb_of(written(tmp_path / "a.webp", Image.fromarray(rgb), lossless=True)), rgb)


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(soft_picture()).quantize(16)
    assert np.array_equal(rgb_of(written(tmp_path / "a.png", image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_png_is_luma_of_full_range(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(soft_picture()).convert(mode)
    planes = yuv_of(written(tmp_path / "a.png", image))
    assert planes.full_range
    assert np.array_equal(planes.y, np.asarray(image.convert("L")))


def test_16_bits_are_rounded_to_8(tmp_path: Path) -> None:
    deep = np.random.default_rng(5).integers(0, 65536, (20, 30, 3), np.uint16)
    deep[0, 0] = (0, 128, 65535)
    assert cv2.imwrite(str(tmp_path / "rgb.png"), deep[..., ::-1])
    assert cv2.imwrite(str(tmp_path / "grey.png"), deep[..., 0])

    wanted = np.round(deep / 257.0).astype(np.uint8)
    assert np.array_equal(rgb_of(tmp_path / "rgb.png"), wanted)
    assert np.array_equal(yuv_of(tmp_path / "grey.png").y, wanted[..., 0])


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_of_an_animation_the_first_picture_is_taken(tmp_path: Path, name: str) -> None:
    first = Image.fromarray(soft_picture()).quantize(64).convert("RGB")
    path = written(tmp_path / name, first, save_all=True, append_images=[first.rotate(180)])
    assert np.abs(rgb_of(path).astype(int) - np.asarray(first)).max() <= 2


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_jpeg_is_turned_upright_as_exif_says(tmp_path: Path, turn: int) -> None:
    upright = soft_picture()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    path = written(tmp_path / "a.jpg", Image.fromarray(np.ascontiguousarray(stored)), quality=95, exif=exif)

    planes = yuv_of(path)
    assert planes.size_wh == still_size(path) == (90, 62)
    luma = np.asarray(Image.fromarray(upright).convert("YCbCr")).astype(int)
    assert np.abs(planes.y.astype(int) - luma[..., 0]).max() <= 4
    assert planes.u is not None
    assert planes.u.shape == (31, 45)
    assert np.abs(planes.u.astype(int) - luma[::2, ::2, 1]).mean() < 6


def test_a_turned_picture_that_is_no_jpeg_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = written(tmp_path / "a.png", Image.fromarray(soft_picture()), exif=exif)
    with pytest.raises(StillError, match=r"a\.png: its Exif block says that it is to be turned"):
        read_still(path)


def test_cmyk_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jpg", Image.fromarray(soft_picture()).convert("CMYK"))
    with pytest.raises(StillError, match=r"a\.jpg: expected a picture .*, got a JPEG of four colours \(CMYK\)"):
        read_still(path)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_cut_anywhere_is_refused(tmp_path: Path, options: dict[str, object]) -> None:
    whole = io.BytesIO()
    Image.fromarray(soft_picture((200, 140))).save(whole, "JPEG", **options)  # type: ignore[arg-type]
    path = tmp_path / "a.jpg"
    for length in range(1, len(whole.getvalue()), 23):
        path.write_bytes(whole.getvalue()[:length])
        with pytest.raises(StillError, match=r"a\.jpg: "):
            read_still(path)


def test_a_damaged_jpeg_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jpg", Image.fromarray(soft_picture((200, 140))))
    data = bytearray(path.read_bytes())
    data[-400:-200] = bytes(200)
    path.write_bytes(bytes(data))
    with pytest.raises(StillError, match=r"a\.jpg: expected a picture .*, but it is damaged"):
        read_still(path)


def test_a_png_cut_short_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.png", Image.fromarray(soft_picture()))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(StillError, match=r"a\.png: expected a picture .*, but it is damaged"):
        read_still(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello " * 50, "damaged or of another kind"),
        (b"\xff\xd8\xff", "cut short"),
        (
            bytes.fromhex("ff0affe000104a46494600010100000100010004ffdb0043000806060706050a0707070909080a0c140d0c"),
            "got a jpegxl file, for which there is no decoder here",
        ),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(StillError, match=rf"a\.jpg: .*{message}"):
        read_still(path)


def test_a_video_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(StillError, match=r"a\.mp4: expected a picture .*, got a file of the kind mov"):
        read_still(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StillError, match=r"none\.jpg: no such image file"):
        read_still(tmp_path / "none.jpg")
