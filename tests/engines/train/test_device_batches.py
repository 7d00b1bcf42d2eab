"""Batches made on the device are those made on the host: the same boxes, nearly the same levels."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from engines.train.appearance import changed
from engines.train.batches import Batch, Batches
from engines.train.device_batches import DeviceBatches
from engines.train.device_looks import change
from engines.train.device_warp import DevicePictures
from engines.train.geometry import CALM, GeometryOptions
from engines.train.looks import NOTHING, AppearanceOptions, draw
from engines.train.planner import BatchOptions
from engines.train.sample import Sample
from engines.types import U8
from tests.engines.train.scenes import truth

CPU = torch.device("cpu")
SIZES = ((160, 96), (128, 128))
STILL = GeometryOptions(wide=0.0)


def scene(seed: int, size_wh: tuple[int, int]) -> U8:
    """Smooth colours with sharp, coloured things on them, as a photograph is."""
    rng = np.random.default_rng(seed)
    rgb = cv2.resize(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8), size_wh, interpolation=cv2.INTER_CUBIC)
    for _ in range(6):
        x, y = (int(rng.integers(0, side)) for side in size_wh)
        colour = tuple(int(level) for level in rng.integers(0, 256, 3))
        cv2.rectangle(rgb, (x, y), (x + int(rng.integers(8, 60)), y + int(rng.integers(8, 60))), colour, -1)
    return rgb


def samples(count: int, first: int = 0) -> list[Sample]:
    made = []
    for index in range(first, first + count):
        boxes = [(10.0, 12.0, 70.0 + index, 60.0), (40.0, 5.0, 90.0, 88.0)]
        known = truth(boxes, [index % 3, 2], regions=[((0.0, 0.0, 50.0, 50.0), (0.0, 1.0, 0.5))])
        made.append(Sample(rgb=scene(index, (120 + 8 * index, 150 - 7 * index)), truth=known))
    return made


def pair(geometry: GeometryOptions, appearance: AppearanceOptions) -> tuple[Batches, DeviceBatches]:
    options = BatchOptions(
        batch=5, sizes=SIZES, seed=5, classes=3, geometry=geometry, appearance=appearance, mixed=(0.2,)
    )
    first, further = samples(6), samples(3, 6)
    weights = [1.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    host = Batches(first, weights, options, extra=[further])
    return host, DeviceBatches(first, weights, options, CPU, extra=[further])


def differences(host: Batch, device: Batch) -> torch.Tensor:
    """Of levels; everything else must be equal."""
    for name in ("boxes", "class_ids", "weights", "regions", "region_weights"):
        assert torch.equal(getattr(host.targets, name), getattr(device.targets, name))
    assert device.levels.dtype == torch.uint8
    assert device.levels.shape == host.levels.shape
    return (device.levels.float() - host.levels.float()).abs()


@pytest.mark.parametrize(
    ("geometry", "mean"),
    [
        (CALM, 0.1),
        (replace(STILL, mosaic=0.0), 0.1),
        (replace(STILL, mosaic=1.0), 0.1),
        (replace(STILL, wide=1.0), 0.15),
    ],
    ids=["calm", "one", "mosaic", "wide"],
)
def test_geometry_is_opencvs(geometry: GeometryOptions, mean: float) -> None:
    """OpenCV rounds coordinates to 1/32 of a pixel; at the sharp border of a thing that is up to eight levels."""
    host, device = pair(geometry, NOTHING)
    for step in range(6):
        apart = differences(host.make(step, calm=False), device.make(step, calm=False))
        assert float(apart.mean()) < mean
        assert float(apart.max()) <= 8


def test_calm_pictures_are_opencvs() -> None:
    host, device = pair(GeometryOptions(), AppearanceOptions())
    for step in range(3):
        assert float(differences(host.make(step, calm=True), device.make(step, calm=True)).mean()) < 0.1


@pytest.mark.parametrize(
    ("name", "mean", "most"),
    [
        ("light", 0.0, 0.0),
        ("colour", 0.1, 1.0),
        ("night", 0.1, 2.0),
        ("infrared", 0.1, 2.0),
        ("noise", 0.0, 0.0),
        ("blur", 0.02, 1.0),
        ("small", 0.15, 2.0),
        ("jpeg", 0.8, 40.0),
    ],
)
def test_looks_are_opencvs(name: str, mean: float, most: float) -> None:
    pictures = np.stack([scene(seed, (160, 96)) for seed in range(8)])
    options = replace(NOTHING, **{name: 1.0})
    looks = [draw(options, np.random.default_rng(seed)) for seed in range(8)]
    host = np.stack([changed(picture, one) for picture, one in zip(pictures, looks, strict=True)])
    levels = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).float()
    device = change(levels.clone(), looks).permute(0, 2, 3, 1).numpy()
    apart = np.abs(device - host)
    assert apart.mean() <= mean
    assert apart.max() <= most
    assert np.abs(host.astype(np.float32) - pictures).mean() > 0.3  # something was done at all


def test_all_together_stay_near() -> None:
    host, device = pair(GeometryOptions(), AppearanceOptions())
    apart = torch.stack(
        [differences(host.make(2 * step, calm=False), device.make(2 * step, calm=False)).mean() for step in range(8)]
    )
    assert float(apart.mean()) < 0.4


def test_only_the_pictures_that_it_concerns_are_changed() -> None:
    pictures = torch.from_numpy(np.stack([scene(seed, (64, 64)) for seed in range(3)]).transpose(0, 3, 1, 2).copy())
    looks = [draw(NOTHING, np.random.default_rng(0)), draw(AppearanceOptions(jpeg=1.0), np.random.default_rng(1))]
    made = change(pictures.float(), [looks[0], looks[1], looks[0]])
    assert torch.equal(made[0], pictures[0].float())
    assert torch.equal(made[2], pictures[2].float())
    assert not torch.equal(made[1], pictures[1].float())


def test_a_batch_on_the_device_depends_on_its_number_alone() -> None:
    _, device = pair(GeometryOptions(), AppearanceOptions())
    first = [device.make(step, calm=step > 2).levels for step in range(5)]
    _, again = pair(GeometryOptions(), AppearanceOptions())
    stream = again.stream(2, lambda step: step > 2, threads=3)
    for step in (2, 3, 4):
        assert torch.equal(next(stream).levels, first[step])
    stream.close()
    assert not torch.equal(first[0], first[1][:, :, : first[0].shape[2], : first[0].shape[3]])


def test_pictures_are_worked_on_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    _, device = pair(GeometryOptions(), NOTHING)
    whole = device.make(1, calm=False).levels
    monkeypatch.setattr("engines.train.device_warp._AT_ONCE", 2 * 160 * 96)
    assert torch.equal(device.make(1, calm=False).levels, whole)


def test_a_batch_is_made_without_waiting_for_the_device_and_lies_there() -> None:
    """On torch's device `meta` nothing can be read back, and what is on two devices does not go together."""
    meta = torch.device("meta")
    options = BatchOptions(
        batch=8, sizes=SIZES, seed=5, classes=3, geometry=GeometryOptions(), appearance=AppearanceOptions()
    )
    device = DeviceBatches(samples(6), [1.0] * 6, options, meta)
    for step in range(12):  # enough for each of the looks to be there
        batch = device.make(step, calm=False)
        assert {batch.levels.device, batch.targets.boxes.device} == {meta}


def test_what_pictures_take_on_the_device_is_known_before() -> None:
    pictures = [sample.rgb for sample in samples(3)]
    assert DevicePictures.bytes_of(pictures) == 4 * sum(one.shape[0] * one.shape[1] for one in pictures)
