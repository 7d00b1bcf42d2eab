"""The pre-processing kernel, as it is, on the host: against the definition in float64 and against what a CPU does."""

from __future__ import annotations

import ctypes
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engines.cuda.surfaces import (
    LARGEST_SIDE,
    SURFACE,
    TARGET,
    Filter,
    InputType,
    Surface,
    preprocess_launch,
    surface_records,
    target_record,
)
from engines.picture import PictureWriter, Placement
from engines.spec import InputSpec
from engines.types import YuvMatrix, YuvPlanes
from engines.validate.plain_picture import plain_levels, plain_placement, to_values
from tests.engines.cuda.host import address, compiled, run
from tests.engines.cuda.plain_area import area_levels
from tests.engines.cuda.surfaces import picture_of, surface_of
from vedette.errors import PictureError

Values = npt.NDArray[Any]

IMAGENET = {"scale": 1.0, "mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395)}
BEFORE = 77
"""What slots hold that nobody writes to."""

# What the kernel must keep to, in grey levels (issue of the GPU path): mean, share within one level, furthest.
MEAN, WITHIN_ONE, FURTHEST = 0.05, 0.999, 3

CV2_FURTHEST = 4
"""A sample of each plane may be one level off in OpenCV (engines/picture.py)."""


def written(
    pictures: list[YuvPlanes], spec: InputSpec, dtype: InputType = "float32", how: Filter = "bilinear"
) -> tuple[Values, list[Placement]]:
    """(n, 3, H, W): the pictures as the kernel writes them; one more slot must stay as it was."""
    width, height = spec.size
    out = np.full((len(pictures) + 1, 3, height, width), BEFORE, dtype)
    records, placements = surface_records([surface_of(planes, address) for planes in pictures], spec)
    run_on(records, target_record(spec, dtype, how), out, spec, dtype)
    assert (out[-1] == BEFORE).all()
    return out[:-1], placements


def run_on(records: Values, target: Values, out: Values, spec: InputSpec, dtype: InputType = "float32") -> None:
    where = {"records": address(records), "target": address(target), "out": address(out)}
    run(compiled("host_preprocess"), preprocess_launch(spec, dtype, len(records), **where))


def inside(slot: Values, placement: Placement) -> Values:
    (x, y), (width, height) = placement.offset_xy, placement.inner_wh
    return slot[:, y : y + height, x : x + width]


def around(slot: Values, placement: Placement) -> Values:
    """All values around the picture, (3, n)."""
    outside = np.ones(slot.shape[1:], bool)
    (x, y), (width, height) = placement.offset_xy, placement.inner_wh
    outside[y : y + height, x : x + width] = False
    return slot[:, outside]


def in_levels(values: Values, spec: InputSpec) -> npt.NDArray[np.float64]:
    """The network's values (3, h, w) back as levels (3, h, w) of red, green and blue."""
    std, mean = (np.array(numbers)[:, None, None] for numbers in (spec.std, spec.mean))
    levels: npt.NDArray[np.float64] = (values.astype(np.float64) * std + mean) / spec.scale
    return levels if spec.colour == "rgb" else levels[::-1]


def hold(got: Values, expected: Values) -> None:
    """Levels (3, h, w) against the definition's (h, w, 3)."""
    error = np.abs(got - np.moveaxis(expected, -1, 0))
    assert error.max() <= FURTHEST + 0.01
    # A handful of pixels has no mean and no thousandth: two samples of chroma may be a level off anywhere.
    few = 24 / error.size
    assert error.mean() <= MEAN + few
    assert (error > 1.01).mean() <= 1 - WITHIN_ONE + few


sizes = st.tuples(st.integers(1, 150), st.integers(1, 120))
pictures = st.builds(
    picture_of,
    st.sampled_from(["nv12", "p01x", "low", "grey"]),
    sizes,
    bits=st.sampled_from([9, 10, 12, 16]),
    matrix=st.sampled_from(YuvMatrix),
    full_range=st.booleans(),
    pads=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    seed=st.integers(0, 2**32),
)
specs = st.builds(
    lambda spec, changes: replace(spec, **changes),
    st.builds(
        InputSpec,
        size=st.tuples(st.integers(32, 130), st.integers(32, 130)),
        fit=st.sampled_from(["letterbox", "stretch"]),
        align=st.sampled_from(["centre", "top_left"]),
        pad=st.integers(0, 255),
        colour=st.sampled_from(["rgb", "bgr"]),
    ),
    st.sampled_from([{}, {"scale": 1.0}, IMAGENET]),
)


@given(batch=st.lists(pictures, min_size=1, max_size=4), spec=specs)
@settings(max_examples=150)
def test_batch_is_what_the_plain_definition_says(batch: list[YuvPlanes], spec: InputSpec) -> None:
    slots, placements = written(batch, spec)

    for planes, slot, placement in zip(batch, slots, placements, strict=True):
        assert placement == plain_placement(planes.size_wh, spec)
        hold(in_levels(inside(slot, placement), spec), plain_levels(planes, placement.inner_wh))
        pad = to_values(np.full((1, 1, 3), float(spec.pad)), spec)[:, 0]
        border = around(slot, placement)
        np.testing.assert_allclose(border, np.broadcast_to(pad, border.shape), rtol=1e-5, atol=1e-5)


@given(planes=pictures, spec=specs)
@settings(max_examples=100)
def test_area_is_the_mean_of_what_a_pixel_covers(planes: YuvPlanes, spec: InputSpec) -> None:
    (slot,), (placement,) = written([planes], spec, how="area")

    hold(in_levels(inside(slot, placement), spec), area_levels(planes, placement.inner_wh))


@given(planes=pictures, spec=specs)
@settings(max_examples=50)
def test_picture_is_near_to_what_a_cpu_makes_of_it(planes: YuvPlanes, spec: InputSpec) -> None:
    (slot,), (placement,) = written([planes], spec)
    width, height = spec.size
    host = np.zeros((1, 3, height, width), np.float32)

    assert PictureWriter(spec).write(planes, host, 0) == placement
    error = np.abs(in_levels(slot, spec) - in_levels(host[0], spec))
    assert error.max() <= CV2_FURTHEST + 0.01


@given(planes=pictures, spec=specs, how=st.sampled_from(get_args(Filter)))
@settings(max_examples=50)
def test_uint8_and_float16_hold_the_same_levels(planes: YuvPlanes, spec: InputSpec, how: Filter) -> None:
    floats, _ = written([planes], spec, how=how)
    halves, _ = written([planes], spec, "float16", how)
    np.testing.assert_array_equal(halves, floats.astype(np.float16))

    plain = replace(spec, scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    levels, _ = written([planes], spec, "uint8", how)
    np.testing.assert_array_equal(levels, written([planes], plain, how=how)[0])


# Ratios with many halves (4:3, 5:2, 5:6), whole numbers, cameras' own sizes, one that grows.
REAL = [(640, 512), (800, 480), (1066, 640), (1920, 1080), (1280, 720), (854, 480), (704, 576), (320, 180), (96, 1080)]


@pytest.mark.parametrize("size_wh", REAL)
@pytest.mark.parametrize("layout", ["nv12", "p01x"])
@pytest.mark.parametrize("how", get_args(Filter))
def test_sizes_of_cameras_keep_to_the_tolerance(size_wh: tuple[int, int], layout: str, how: Filter) -> None:
    spec = InputSpec(size=(640, 384), scale=1.0)
    planes = picture_of(layout, size_wh, matrix=YuvMatrix.BT709, pads=(3, 5))

    (slot,), (placement,) = written([planes], spec, how=how)

    expected = (plain_levels if how == "bilinear" else area_levels)(planes, placement.inner_wh)
    error = np.abs(inside(slot, placement) - np.moveaxis(expected, -1, 0))
    assert error.mean() <= MEAN
    assert (error <= 1).mean() >= WITHIN_ONE
    assert error.max() <= FURTHEST


def test_largest_picture_does_not_overflow() -> None:
    """Positions, and sums of the largest samples over the largest areas, in whole numbers."""
    side = LARGEST_SIDE
    planes = YuvPlanes(
        y=np.broadcast_to(np.uint16(0xFFFF), (side, side)),
        uv=np.broadcast_to(np.uint16(0x8000), (side // 2, side // 2, 2)),
        bits=16,
        msb_aligned=True,
        full_range=True,
    )
    spec = InputSpec(size=(32, 32), scale=1.0)
    # One row of memory for all rows: the pitch is what the check wants, the rows lie over each other.
    row = np.full(side, 0xFFFF, np.uint16)
    neutral = np.full(side, 0x8000, np.uint16)
    surface = Surface(
        size_wh=planes.size_wh,
        luma=address(row),
        luma_pitch=side * 2,
        chroma=address(neutral),
        chroma_pitch=side * 2,
        bits=16,
        full_range=True,
    )
    for how in get_args(Filter):
        records, _ = surface_records([surface], spec)
        records["luma_pitch"] = records["chroma_pitch"] = 0
        out = np.zeros((1, 3, 32, 32), np.float32)
        run_on(records, target_record(spec, "float32", how), out, spec)
        assert (out == 255).all()


def test_each_picture_goes_into_the_slot_that_its_record_names() -> None:
    spec = InputSpec(size=(64, 48), scale=1.0)
    batch = [picture_of("nv12", (100, 70), seed=1), picture_of("p01x", (40, 90), seed=2)]
    straight, _ = written(batch, spec)
    records, _ = surface_records([surface_of(planes, address) for planes in batch], spec)
    records["slot"] = [2, 0]
    out = np.full((3, 3, 48, 64), BEFORE, np.float32)

    run_on(records, target_record(spec, "float32"), out, spec)

    np.testing.assert_array_equal(out[[2, 0]], straight)
    assert (out[1] == BEFORE).all()


def test_records_lie_in_memory_as_the_kernel_reads_them() -> None:
    fields = [SURFACE.fields[name][1] for name in ("size_wh", "to_8bit", "blue_u")]  # type: ignore[index]
    more = [TARGET.fields[name][1] for name in ("gain", "pad")]  # type: ignore[index]
    layout = (ctypes.c_uint * 7).in_dll(compiled("host_preprocess"), "layout")

    assert list(layout) == [SURFACE.itemsize, *fields, TARGET.itemsize, *more]


GOOD: dict[str, Any] = {
    "size_wh": (64, 48), "luma": 4096, "luma_pitch": 64, "chroma": 8192, "chroma_pitch": 64,
}  # fmt: skip
WRONG = [
    ({"size_wh": (0, 48)}, "a picture of 0x48 pixels has no area"),
    ({"size_wh": (64, 20000)}, "expected a picture of at most 16384 pixels a side, got 64x20000"),
    ({"bits": 7}, "expected samples of 8 to 16 bits, got 7"),
    ({"luma_pitch": 63}, "luma: expected a pitch of at least 64 bytes for 64 pixels of 8 bits, got 63"),
    ({"bits": 10}, "luma: expected a pitch of at least 128 bytes for 64 pixels of 10 bits, got 64"),
    ({"size_wh": (65, 48), "luma_pitch": 65}, "chroma: expected a pitch of at least 66 bytes for 65 pixels"),
    ({"bits": 10, "luma": 4097, "luma_pitch": 128}, "luma: expected an address and a pitch that 2 divides, got 0x1001"),
    ({"bits": 10, "luma_pitch": 129}, "luma: expected an address and a pitch that 2 divides, got 0x1000 and 129"),
    ({"luma": 0}, "luma: expected an address and a pitch that 1 divides, got 0x0"),
]


@pytest.mark.parametrize(("changes", "says"), WRONG)
def test_surface_that_cannot_be_read_is_one_clear_error(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PictureError, match=says) as raised:
        surface_records([Surface(**(GOOD | changes))], InputSpec(size=(32, 32)))
    assert len(raised.value.lines()) == 1
