from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engines.picture import PictureWriter, Placement, place, yuv_to_rgb
from engines.spec import InputSpec
from engines.types import F32, RgbPicture, YuvMatrix, YuvPlanes
from stages.source.picture import AvPicture
from tests.support.plain_picture import plain_levels, plain_placement, to_values
from vedette.errors import PictureError

Plane = npt.NDArray[Any]

LAYOUTS = ("i420", "nv12", "422", "444", "grey", "i420 10 bits", "p010", "rgb")
SUBSAMPLING = {"422": (2, 1), "444": (1, 1)}
IMAGENET = {"scale": 1.0, "mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395)}

# A sample of each plane may be one level off, and the matrix makes of one level of luma and one of chroma at most
# 1.17 + 2.12 levels of blue, before rounding.
FURTHEST = 4


def plane_of(rng: np.random.Generator, shape: tuple[int, ...], pad: int, bits: int, msb: bool) -> Plane:
    """Noise with `pad` samples behind each row, read-only, as a decoder hands it out."""
    height, width, *channels = shape
    memory = rng.integers(0, 1 << bits, (height, width + pad, *channels)).astype(np.uint8 if bits == 8 else np.uint16)
    view = (memory << (16 - bits) if msb else memory)[:, :width]
    view.flags.writeable = False
    return view


def picture_of(
    layout: str,
    size_wh: tuple[int, int],
    *,
    matrix: YuvMatrix = YuvMatrix.BT601,
    full_range: bool = False,
    pad: int = 0,
    seed: int = 0,
) -> YuvPlanes | RgbPicture:
    """A picture of noise in some layout."""
    rng = np.random.default_rng(seed)
    width, height = size_wh
    if layout == "rgb":
        return RgbPicture(rgb=plane_of(rng, (height, width, 3), pad, 8, msb=False))
    bits, msb = (10 if "10" in layout else 8), layout == "p010"
    sub_w, sub_h = SUBSAMPLING.get(layout, (2, 2))
    half = (-(-height // sub_h), -(-width // sub_w))
    kind: dict[str, Any] = {"bits": bits, "msb_aligned": msb, "matrix": matrix, "full_range": full_range}
    luma = plane_of(rng, (height, width), pad, bits, msb)
    if layout == "grey":
        return YuvPlanes(y=luma, **kind)
    if layout in {"nv12", "p010"}:
        return YuvPlanes(y=luma, uv=plane_of(rng, (*half, 2), pad, bits, msb), **kind)
    u, v = (plane_of(rng, half, pad, bits, msb) for _ in range(2))
    return YuvPlanes(y=luma, u=u, v=v, **kind)


def memories(planes: YuvPlanes | RgbPicture) -> list[Plane]:
    """All that the planes are views of, padding included."""
    values = (getattr(planes, field.name) for field in dataclasses.fields(planes))
    return [value.base if value.base is not None else value for value in values if isinstance(value, np.ndarray)]


def written(
    planes: YuvPlanes | RgbPicture, spec: InputSpec, dtype: type[np.generic] = np.float32
) -> tuple[Plane, Placement]:
    """The picture in the middle one of three slots, the others being checked for what was there before."""
    width, height = spec.size
    array = np.full((3, 3, height, width), 77, dtype)
    placement = PictureWriter(spec).write(planes, array, 1)
    assert (array[0] == 77).all()
    assert (array[2] == 77).all()
    return array[1], placement


def inside(slot: Plane, placement: Placement) -> Plane:
    (x, y), (width, height) = placement.offset_xy, placement.inner_wh
    return slot[:, y : y + height, x : x + width]


def outside(slot: Plane, placement: Placement) -> Plane:
    """All values around the picture, (3, n)."""
    around = np.ones(slot.shape[1:], bool)
    (x, y), (width, height) = placement.offset_xy, placement.inner_wh
    around[y : y + height, x : x + width] = False
    return slot[:, around]


sizes = st.tuples(st.integers(1, 150), st.integers(1, 120))
specs = st.builds(
    InputSpec,
    size=st.tuples(st.integers(32, 130), st.integers(32, 130)),
    fit=st.sampled_from(["letterbox", "stretch"]),
    align=st.sampled_from(["centre", "top_left"]),
    pad=st.integers(0, 255),
    colour=st.sampled_from(["rgb", "bgr"]),
)
normalised = st.builds(
    lambda spec, changes: replace(spec, **changes), specs, st.sampled_from([{}, {"scale": 1.0}, IMAGENET])
)
pictures = st.builds(
    picture_of,
    st.sampled_from(LAYOUTS),
    sizes,
    matrix=st.sampled_from(YuvMatrix),
    full_range=st.booleans(),
    pad=st.sampled_from([0, 1, 31]),
    seed=st.integers(0, 2**32),
)


def in_levels(values: Plane, spec: InputSpec) -> npt.NDArray[np.float64]:
    """The network's values (3, h, w) back as levels (3, h, w) in its own channel order."""
    std, mean = (np.array(numbers)[:, None, None] for numbers in (spec.std, spec.mean))
    levels: npt.NDArray[np.float64] = (values.astype(np.float64) * std + mean) / spec.scale
    return levels


@given(planes=pictures, spec=normalised)
@settings(max_examples=150, deadline=None)
def test_input_is_what_the_plain_definition_says(planes: YuvPlanes | RgbPicture, spec: InputSpec) -> None:
    before = [memory.copy() for memory in memories(planes)]
    slot, placement = written(planes, spec)

    assert placement == plain_placement(planes.size_wh, spec)
    expected = np.moveaxis(plain_levels(planes, placement.inner_wh), -1, 0)
    got = in_levels(inside(slot, placement), spec)
    error = np.abs(got - (expected if spec.colour == "rgb" else expected[::-1]))
    assert error.max() < FURTHEST + 0.01
    # Of pure noise, the worst there is; a real picture comes much nearer (below). A few samples have no mean.
    assert error.mean() < 0.6 or min(planes.size_wh) < 24
    pad = to_values(np.full((1, 1, 3), float(spec.pad)), spec)[:, 0]
    around = outside(slot, placement)
    np.testing.assert_allclose(around, np.broadcast_to(pad, around.shape), rtol=1e-5, atol=1e-5)
    assert all(np.array_equal(now, then) for now, then in zip(memories(planes), before, strict=True))


@given(planes=pictures, spec=specs)
@settings(max_examples=50, deadline=None)
def test_uint8_and_float16_inputs_hold_the_same_levels(planes: YuvPlanes | RgbPicture, spec: InputSpec) -> None:
    spec = replace(spec, scale=1.0)
    floats, placement = written(planes, spec)
    levels, again = written(planes, spec, np.uint8)
    halves, _ = written(planes, spec, np.float16)
    assert placement == again
    assert np.array_equal(floats, levels)
    assert np.array_equal(floats, halves)


@given(planes=pictures, spec=specs)
@settings(max_examples=25, deadline=None)
def test_bgr_is_rgb_the_other_way_round(planes: YuvPlanes | RgbPicture, spec: InputSpec) -> None:
    rgb, _ = written(planes, replace(spec, colour="rgb"))
    bgr, _ = written(planes, replace(spec, colour="bgr"))
    assert np.array_equal(rgb, bgr[::-1])


@given(
    shown=st.lists(st.tuples(st.integers(0, 1), pictures), min_size=2, max_size=12),
    spec=specs,
    dtype=st.sampled_from([np.float32, np.uint8]),
)
@settings(max_examples=25, deadline=None)
def test_slots_hold_their_last_picture_whatever_was_there_and_whoever_wrote_it(
    shown: list[tuple[int, YuvPlanes | RgbPicture]], spec: InputSpec, dtype: type[np.generic]
) -> None:
    width, height = spec.size
    array = np.zeros((2, 3, height, width), dtype)
    writers = [PictureWriter(spec), PictureWriter(spec)]
    for turn, (index, planes) in enumerate(shown):
        writers[turn % 2].write(planes, array, index)
        alone, _ = written(planes, spec, dtype)
        assert np.array_equal(array[index], alone)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("times", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("full_range", [False, True])
def test_shrinking_by_a_whole_number_is_within_one_level(layout: str, times: int, full_range: bool) -> None:
    spec = InputSpec(size=(96, 64), scale=1.0)
    for matrix in YuvMatrix:
        planes = picture_of(layout, (96 * times, 64 * times), matrix=matrix, full_range=full_range, pad=3, seed=times)
        slot, placement = written(planes, spec)
        assert placement == Placement(source_wh=(96 * times, 64 * times), inner_wh=(96, 64), offset_xy=(0, 0))
        error = np.abs(slot - np.moveaxis(plain_levels(planes, (96, 64)), -1, 0))
        # More than 8 bits are rounded twice; of two interleaved planes OpenCV rounds halves to even.
        exact = layout in {"i420", "422", "444", "grey", "rgb"}
        assert error.max() <= (1 if exact else FURTHEST)
        assert error.mean() < (0.07 if exact else 0.45)


def test_one_writer_takes_more_sizes_than_it_keeps_memory_for() -> None:
    spec = InputSpec(size=(64, 64))
    writer, array = PictureWriter(spec), np.zeros((1, 3, 64, 64), np.float32)
    pictures = [picture_of("i420", (64, height), seed=height) for height in range(2, 50, 2)]
    for _ in range(2):
        for planes in pictures:
            writer.write(planes, array, 0)
            assert np.array_equal(array[0], written(planes, spec)[0])


# Known colours: ITU-R BT.601/709 in limited range (219 and 224 steps), JFIF (BT.601 in full range).
BARS = [
    (YuvMatrix.BT601, False, (235, 128, 128), (255, 255, 255)),
    (YuvMatrix.BT601, False, (16, 128, 128), (0, 0, 0)),
    (YuvMatrix.BT601, False, (81, 90, 240), (254, 0, 0)),
    (YuvMatrix.BT601, False, (145, 54, 34), (0, 255, 1)),
    (YuvMatrix.BT601, False, (41, 240, 110), (0, 0, 255)),
    (YuvMatrix.BT601, False, (5, 240, 128), (0, 0, 226)),  # below black is black
    (YuvMatrix.BT709, False, (5, 240, 128), (0, 0, 237)),
    (YuvMatrix.BT709, False, (63, 102, 240), (255, 1, 0)),
    (YuvMatrix.BT709, False, (173, 42, 26), (0, 255, 1)),
    (YuvMatrix.BT709, False, (32, 240, 118), (1, 0, 255)),
    (YuvMatrix.BT601, True, (76, 85, 255), (254, 0, 0)),
    (YuvMatrix.BT601, True, (150, 44, 21), (0, 255, 1)),
    (YuvMatrix.BT601, True, (29, 255, 107), (0, 0, 254)),
    (YuvMatrix.BT709, True, (54, 99, 255), (254, 0, 0)),
    (YuvMatrix.BT709, True, (0, 128, 128), (0, 0, 0)),
]


@pytest.mark.parametrize(("matrix", "full_range", "yuv", "rgb"), BARS)
def test_colours_are_those_of_the_standards(
    matrix: YuvMatrix, full_range: bool, yuv: tuple[int, int, int], rgb: tuple[int, int, int]
) -> None:
    luma, u, v = (np.full((48, 48), level, np.uint8) for level in yuv)
    planes = YuvPlanes(y=luma, u=u[:24, :24], v=v[:24, :24], matrix=matrix, full_range=full_range)
    slot, _ = written(planes, InputSpec(size=(48, 48)), np.uint8)
    assert np.abs(slot.astype(int).reshape(3, -1) - np.array(rgb)[:, None]).max() <= 1


@pytest.mark.parametrize("matrix", YuvMatrix)
def test_matrix_takes_black_grey_and_white_to_themselves(matrix: YuvMatrix) -> None:
    for full_range, black, white in ((False, 16, 235), (True, 0, 255)):
        luma = np.linspace(black, white, 12)
        got = yuv_to_rgb(matrix, full_range=full_range) @ [luma, luma * 0 + 128, luma * 0 + 128, luma * 0 + 1]
        np.testing.assert_allclose(got, np.tile(np.linspace(0, 255, 12), (3, 1)), atol=1e-9)


@given(size_wh=st.tuples(st.integers(1, 8192), st.integers(1, 8192)), spec=specs, data=st.data())
@settings(max_examples=200, deadline=None)
def test_boxes_come_back_where_they_were(size_wh: tuple[int, int], spec: InputSpec, data: st.DataObject) -> None:
    width, height = size_wh
    unit = st.floats(0, 1, width=32)
    ends = np.array(data.draw(st.lists(st.tuples(unit, unit, unit, unit), max_size=5)), np.float64).reshape(-1, 4)
    boxes: F32 = (ends * [width, height, width, height]).astype(np.float32)
    placement = place(size_wh, spec)
    back = placement.to_source(placement.to_input(boxes))
    assert back.dtype == np.float32
    assert back.shape == boxes.shape
    # Half a step of float32 in the input, in source pixels, beside the millipixel.
    slack = 1e-3 + np.spacing(np.float32(max(spec.size))) / min(placement.scale_xy)
    np.testing.assert_allclose(back, boxes, rtol=0, atol=slack)


@given(size_wh=st.tuples(st.integers(1, 8192), st.integers(1, 8192)), spec=specs)
@settings(max_examples=100, deadline=None)
def test_boxes_are_clipped_to_the_picture(size_wh: tuple[int, int], spec: InputSpec) -> None:
    width, height = size_wh
    full_w, full_h = spec.size
    placement = place(size_wh, spec)
    boxes = np.array([[-5e4, -5e4, 5e4, 5e4], [0, 0, full_w, full_h], [-9e3, -9e3, -8e3, -8e3]], np.float32)
    got = placement.to_source(boxes)
    assert got[0].tolist() == got[1].tolist() == [0, 0, width, height]
    assert got[2].tolist() == [0, 0, 0, 0]
    edges = np.array([[0, 0, width, height]], np.float32)
    (x, y), (inner_w, inner_h) = placement.offset_xy, placement.inner_wh
    np.testing.assert_allclose(placement.to_input(edges), [[x, y, x + inner_w, y + inner_h]], atol=1e-3)


@pytest.mark.parametrize("size_wh", [(1366, 768), (854, 480), (720, 576), (300, 700), (1920, 1080)])
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_what_is_seen_in_the_input_lies_there_in_the_source(size_wh: tuple[int, int], fit: Any) -> None:
    width, height = size_wh
    luma = np.full((height, width), 16, np.uint8)
    left, top, right, bottom = width // 5, height // 4, width // 2, height - height // 3
    luma[top:bottom, left:right] = 235
    slot, placement = written(YuvPlanes(y=luma), InputSpec(size=(640, 384), fit=fit, pad=0))
    rows, columns = np.nonzero(slot[0] > 0.5)
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    # Half a pixel of the input on either side is all that a threshold can tell.
    slack = 0.5 / min(placement.scale_xy) + 0.01
    np.testing.assert_allclose(placement.to_source(box), [[left, top, right, bottom]], rtol=0, atol=slack)


NOISE = np.zeros((8, 8), np.uint8)
WRONG = [
    (YuvPlanes(y=NOISE.astype(np.float32)), "planes of float32 cannot be converted, expected uint8 or uint16"),
    (YuvPlanes(y=NOISE, bits=10), "expected 8 to 8 bits in planes of uint8, got 10"),
    (YuvPlanes(y=NOISE.astype(np.uint16)), "expected 9 to 16 bits in planes of uint16, got 8"),
    (YuvPlanes(y=NOISE[..., None]), "expected luma with u and v, with uv or alone"),
    (YuvPlanes(y=NOISE, u=NOISE), r"alone, all of one type, got y \(8, 8\) uint8, u \(8, 8\) uint8"),
    (YuvPlanes(y=NOISE, u=NOISE, v=NOISE[:4]), "expected luma with u and v"),
    (YuvPlanes(y=NOISE, u=NOISE[:0], v=NOISE[:0]), "expected luma with u and v"),
    (YuvPlanes(y=NOISE, u=NOISE.astype(np.uint16), v=NOISE.astype(np.uint16)), "all of one type"),
    (YuvPlanes(y=NOISE, uv=NOISE), "expected luma with u and v, with uv"),
    (YuvPlanes(y=NOISE, uv=np.zeros((4, 4, 2), np.uint8), u=NOISE), "expected luma with u and v"),
    (YuvPlanes(y=NOISE[:, :0]), "a picture of 0x8 pixels has no area"),
    (RgbPicture(rgb=np.zeros((8, 8, 4), np.uint8)), r"expected an RGB picture .* got \(8, 8, 4\), uint8"),
    (RgbPicture(rgb=np.zeros((8, 8, 3), np.float32)), r"expected an RGB picture .* got \(8, 8, 3\), float32"),
    (RgbPicture(rgb=NOISE), r"expected an RGB picture of shape \(height, width, 3\)"),
]


@pytest.mark.parametrize(("planes", "says"), WRONG)
def test_planes_that_cannot_be_converted_are_one_clear_error_and_nothing_is_written(
    planes: YuvPlanes | RgbPicture, says: str
) -> None:
    array = np.full((1, 3, 32, 32), 7, np.float32)
    with pytest.raises(PictureError, match=says) as raised:
        PictureWriter(InputSpec(size=(32, 32))).write(planes, array, 0)
    assert len(raised.value.lines()) == 1
    assert (array == 7).all()


def test_array_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected an array of shape \(batch, 3, 32, 64\), got \(1, 3, 64, 32\)"):
        PictureWriter(InputSpec(size=(64, 32))).write(YuvPlanes(y=NOISE), np.zeros((1, 3, 64, 32), np.float32), 0)


def scene(size_wh: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """An RGB picture with soft shades, hard edges and some sensor noise."""
    width, height = size_wh
    rng = np.random.default_rng(5)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    shades = np.stack([np.sin(7 * x + 3 * y), np.cos(5 * x * y), np.sin(9 * y - 2 * x)], axis=-1) * 60 + 120
    for _ in range(20):
        left, top = rng.integers(0, width * 3 // 4), rng.integers(0, height * 3 // 4)
        shades[top : top + height // 5, left : left + width // 7] = rng.integers(20, 236, 3)
    return np.clip(shades + rng.normal(0, 3, shades.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size_wh", [(1366, 768), (854, 480), (1920, 1080)])
@pytest.mark.parametrize(
    ("codec", "pixels", "matrix"),
    [("libx264", "yuv420p", 2), ("libx264", "yuv420p", 1), ("mjpeg", "yuvj422p", 2), ("libx265", "yuv420p10le", 1)],
)
def test_decoded_frames_of_padded_widths(
    tmp_path: Path, size_wh: tuple[int, int], codec: str, pixels: str, matrix: int
) -> None:
    frame = encoded_and_decoded(tmp_path / "clip.mkv", size_wh, codec, pixels, matrix)
    shown = AvPicture(frame)
    planes = shown.planes()
    assert isinstance(planes, YuvPlanes)
    assert planes.matrix is (YuvMatrix.BT709 if matrix == 1 else YuvMatrix.BT601)
    assert planes.full_range == (codec == "mjpeg")
    assert size_wh == (1920, 1080) or planes.y.strides[0] > size_wh[0] * planes.y.itemsize
    before = [bytes(plane) for plane in frame.planes]

    spec = InputSpec(size=(640, 384))
    array = np.zeros((1, 3, 384, 640), np.float32)
    placement = PictureWriter(spec).write(shown, array, 0)

    expected = np.moveaxis(plain_levels(planes, placement.inner_wh), -1, 0)
    error = np.abs(in_levels(inside(array[0], placement), spec) - expected)
    assert error.max() < FURTHEST + 0.01
    # Which part of the values is how far off; ten bits are rounded twice.
    mean, above_1, above_2 = (0.2, 0.04, 0.004) if planes.bits == 8 else (0.45, 0.15, 0.03)
    assert error.mean() < mean
    assert (error > 1.01).mean() < above_1
    assert (error > 2.01).mean() < above_2
    assert [bytes(plane) for plane in frame.planes] == before


def encoded_and_decoded(path: Path, size_wh: tuple[int, int], codec: str, pixels: str, matrix: int) -> av.VideoFrame:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height = size_wh
        stream.pix_fmt = pixels
        stream.codec_context.colorspace = matrix
        if codec != "mjpeg":
            quiet = {"x265-params": "log-level=none:pools=1:frame-threads=1"} if codec == "libx265" else {}
            stream.options = {"preset": "ultrafast", **quiet}
        frame = av.VideoFrame.from_ndarray(scene(size_wh), format="rgb24").reformat(format=pixels)
        frame.colorspace = matrix
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        return next(container.decode(video=0))
