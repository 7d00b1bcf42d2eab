from __future__ import annotations

import av
import numpy as np
import pytest

from engines.types import RgbPicture, YuvMatrix, YuvPlanes
from stages.source.picture import AvPicture
from vedette.errors import PictureError


def picture(pixels: str, size_wh: tuple[int, int] = (854, 481)) -> tuple[AvPicture, np.ndarray]:
    """A picture of noise in some format, and its luma (or RGB) as it was put in."""
    width, height = size_wh
    rng = np.random.default_rng(7)
    frame = av.VideoFrame(width, height, pixels)
    for plane in frame.planes:
        plane.update(rng.integers(0, 256, plane.buffer_size, np.uint8).tobytes())
    first = np.frombuffer(bytes(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)
    return AvPicture(frame), first


def yuv(shown: AvPicture) -> YuvPlanes:
    planes = shown.planes()
    assert isinstance(planes, YuvPlanes)
    return planes


@pytest.mark.parametrize(
    ("pixels", "chroma_wh"),
    [
        ("yuv420p", (427, 241)),
        ("yuvj420p", (427, 241)),
        ("yuv422p", (427, 481)),
        ("yuvj422p", (427, 481)),
        ("yuv444p", (854, 481)),
        ("yuvj440p", (854, 241)),
        ("yuv411p", (214, 481)),
    ],
)
def test_planar_picture_of_odd_size_gives_views_without_padding(pixels: str, chroma_wh: tuple[int, int]) -> None:
    shown, first = picture(pixels)
    planes = yuv(shown)
    assert planes.size_wh == shown.size_wh == (854, 481)
    assert np.array_equal(planes.y, first[:481, :854])
    assert planes.y.strides[0] == first.shape[1] > 854
    for plane in (planes.u, planes.v):
        assert plane is not None
        assert plane.shape == (chroma_wh[1], chroma_wh[0])
    assert planes.full_range == pixels.startswith("yuvj")


def test_semi_planar_picture_gives_interleaved_chroma() -> None:
    planes = yuv(picture("nv12")[0])
    assert planes.u is None
    assert planes.uv is not None
    assert planes.uv.shape == (241, 427, 2)


def test_nv21_gives_its_swapped_chroma_as_planes() -> None:
    shown, _ = picture("nv21")
    planes = yuv(shown)
    raw = np.frombuffer(bytes(shown.frame.planes[1]), np.uint8).reshape(-1, shown.frame.planes[1].line_size)
    assert planes.uv is None
    assert np.array_equal(planes.v, raw[:241, 0:854:2])
    assert np.array_equal(planes.u, raw[:241, 1:854:2])


def test_ten_bit_pictures_say_their_bits_and_where_they_are() -> None:
    planar, semi = yuv(picture("yuv420p10le")[0]), yuv(picture("p010le")[0])
    assert (planar.y.dtype, planar.bits, planar.msb_aligned) == (np.uint16, 10, False)
    assert (semi.y.dtype, semi.bits, semi.msb_aligned) == (np.uint16, 10, True)
    assert semi.uv is not None
    assert semi.uv.shape == (241, 427, 2)


def test_grey_picture_has_no_chroma() -> None:
    planes = yuv(picture("gray")[0])
    assert planes.u is planes.v is planes.uv is None


def test_rgb_picture_is_given_as_it_is() -> None:
    shown, first = picture("rgb24")
    planes = shown.planes()
    assert isinstance(planes, RgbPicture)
    assert np.array_equal(planes.rgb, first[:481, : 854 * 3].reshape(481, 854, 3))


def test_planes_cannot_be_written() -> None:
    planes = yuv(picture("yuv420p")[0])
    with pytest.raises(ValueError, match="read-only"):
        planes.y[0, 0] = 1


def test_planes_outlive_the_picture_and_its_frame() -> None:
    shown, first = picture("yuv420p")
    view = yuv(shown).y
    del shown
    assert np.array_equal(view, first[:481, :854])


@pytest.mark.parametrize(
    ("code", "matrix"),
    [(1, YuvMatrix.BT709), (2, YuvMatrix.BT601), (5, YuvMatrix.BT601), (6, YuvMatrix.BT601), (9, YuvMatrix.BT709)],
)
def test_matrix_is_that_of_the_frame_and_601_when_it_says_nothing(code: int, matrix: YuvMatrix) -> None:
    shown, _ = picture("yuv420p")
    shown.frame.colorspace = code
    assert yuv(shown).matrix is matrix


def test_full_range_is_that_of_the_frame() -> None:
    shown, _ = picture("yuv420p")
    assert not yuv(shown).full_range
    shown.frame.color_range = 2
    assert yuv(shown).full_range


def test_format_that_cannot_be_converted_is_an_error_that_names_it() -> None:
    with pytest.raises(PictureError, match="pixel format pal8 cannot be converted, expected planar YUV"):
        AvPicture(av.VideoFrame(16, 16, "pal8")).planes()


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "nv12", "gray", "rgb24"])
def test_a_picture_that_lies_on_its_side_is_turned(pixels: str, turns: int) -> None:
    lying, _ = picture(pixels, (64, 36))
    upright = AvPicture(lying.frame, turns)
    before, after = lying.planes(), upright.planes()
    assert after.size_wh == upright.size_wh == ((36, 64) if turns % 2 else (64, 36))
    for name in ("rgb",) if isinstance(before, RgbPicture) else ("y", "u", "v", "uv"):
        one = getattr(before, name)
        assert (one is None and getattr(after, name) is None) or np.array_equal(
            getattr(after, name), np.rot90(one, turns)
        )
    assert upright.bgr().shape == (*upright.size_wh[::-1], 3)


@pytest.mark.parametrize("pixels", ["yuyv422", "uyvy422", "bgr24", "rgba", "gbrp"])
def test_what_hardly_any_camera_sends_is_converted(pixels: str) -> None:
    shown = AvPicture(av.VideoFrame.from_ndarray(np.full((36, 64, 3), 90, np.uint8), "rgb24").reformat(format=pixels))
    planes = shown.planes()
    level = planes.rgb if isinstance(planes, RgbPicture) else planes.y
    assert planes.size_wh == (64, 36)
    assert abs(float(level.mean()) - (90 if isinstance(planes, RgbPicture) else 16 + 90 * 219 / 255)) < 2
