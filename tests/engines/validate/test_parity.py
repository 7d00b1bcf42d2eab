"""Parity on models that are known: all is well, or one thing is wrong and shows where it is."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import engines
from engines.options import ModelOptions
from engines.spec import InputSpec, ModelSpec, read_spec
from engines.stills import read_still
from engines.validate.parity import ParityReport, check_parity
from tests.support.models import colour_model
from vedette.errors import ModelError, StillError

SEED = Path(engines.__file__).parent / "weights" / "vedette-n-seed_416x256.onnx"
STREET = Path(engines.__file__).parents[1] / "docs" / "pictures" / "street.jpg"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A colourful JPEG of an odd size, and a PNG."""
    folder = tmp_path_factory.mktemp("pictures")
    soft = cv2.resize(np.random.default_rng(5).integers(0, 256, (9, 12, 3), np.uint8), (211, 135))
    for name in ("a.jpg", "b.png"):
        assert cv2.imwrite(str(folder / name), soft)
    return [folder / "a.jpg", folder / "b.png"]


def parity(
    model: Path, images: list[Path], *, backend: str = "onnxruntime", spec: ModelSpec | None = None, **more: object
) -> ParityReport:
    options = msgspec.convert({"path": str(model), "backend": backend, **more}, ModelOptions)
    return check_parity(options, images, now_ns=time.monotonic_ns, reference_spec=spec)


def wrong_stages(report: ParityReport) -> set[str]:
    return {row.stage for row in report.differences if not row.good}


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_the_model_that_ships_runs_as_it_is_defined(backend: str) -> None:
    report = parity(SEED, [STREET], backend=backend)
    assert report.first_wrong is None
    assert {row.stage for row in report.differences} == {
        "pre-process", "network", "head", "suppression", "boxes", "end to end",
    }  # fmt: skip
    shown = next(row for row in report.differences if row.what == "the plain way's boxes not found")
    assert shown.unit != "of 0"


def test_fewer_bits_are_measured_by_the_norm() -> None:
    report = parity(SEED, [STREET], backend="openvino", precision="bf16")
    assert report.first_wrong is None
    assert [row.what for row in report.differences if row.stage == "network" and row.limit] == [
        "boxes, norm", "scores, norm",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"colour": "bgr"}, {"pre-process"}),
        ({"scale": 1.0}, {"pre-process"}),
        ({"mean": (0.5, 0.5, 0.5)}, {"pre-process"}),
        ({"pad": 0}, {"pre-process"}),
        ({"fit": "stretch"}, {"pre-process", "boxes"}),
        ({"align": "top_left"}, {"pre-process", "boxes"}),
    ],
)
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_wrong_input_shows_in_the_pre_processing(
    tmp_path: Path, pictures: list[Path], backend: str, change: dict[str, object], wrong: set[str]
) -> None:
    """The spec of the model is wrong, the one that it is held against is right."""
    model = colour_model(tmp_path / "colours.onnx")
    right = read_spec(model.with_suffix(".yaml"))
    mistaken = msgspec.convert(msgspec.to_builtins(right.input) | change, InputSpec)
    spec = msgspec.to_builtins(msgspec.structs.replace(right, input=mistaken))
    model.with_suffix(".yaml").write_bytes(msgspec.yaml.encode(spec))

    report = parity(model, pictures, backend=backend, spec=right)
    assert report.first_wrong == "pre-process"
    assert wrong_stages(report) - {"end to end"} == wrong
    assert parity(model, pictures, backend=backend).first_wrong is None  # by itself it is consistent


def test_another_threshold_shows_in_the_head_and_another_overlap_in_the_suppression(pictures: list[Path]) -> None:
    right = read_spec(SEED.with_suffix(".yaml"))
    images = [STREET]
    assert parity(SEED, images, spec=msgspec.structs.replace(right, score=0.2)).first_wrong == "head"
    assert parity(SEED, images, spec=msgspec.structs.replace(right, nms_iou=0.6)).first_wrong == "suppression"


def test_another_network_shows_in_the_network(tmp_path: Path) -> None:
    model = onnx.load(SEED)
    weight = next(one for one in model.graph.initializer if len(one.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 2, weight.name))
    other = tmp_path / "other.onnx"
    onnx.save(model, str(other))

    options = ModelOptions(path=str(SEED), backend="onnxruntime")
    report = check_parity(options, [STREET], now_ns=time.monotonic_ns, reference=other)
    assert report.first_wrong == "network"
    assert report.reference == str(other)
    assert wrong_stages(report) - {"end to end"} == {"network"}


def test_a_reference_of_another_size_is_refused(tmp_path: Path, pictures: list[Path]) -> None:
    small, large = colour_model(tmp_path / "a.onnx", (96, 64)), colour_model(tmp_path / "b.onnx", (160, 96))
    with pytest.raises(ModelError, match=r"b\.onnx: expected an input \[1,3,64,96\], as the model"):
        check_parity(ModelOptions(path=str(small)), pictures, now_ns=time.monotonic_ns, reference=large)
    with pytest.raises(ModelError, match=r"reference spec: input\.size: expected \[96, 64\].*got \[160, 96\]"):
        parity(small, pictures, spec=read_spec(large.with_suffix(".yaml")))


def test_a_reference_spec_of_another_head_is_refused(tmp_path: Path, pictures: list[Path]) -> None:
    model = colour_model(tmp_path / "a.onnx")
    spec = msgspec.structs.replace(read_spec(model.with_suffix(".yaml")), head="yolox")
    with pytest.raises(ModelError, match="outputs: head yolox with 3 classes"):
        parity(model, pictures, spec=spec)


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StillError, match=r"none\.jpg: no such image file"):
        parity(colour_model(tmp_path / "a.onnx"), [tmp_path / "none.jpg"])


def test_differences_name_the_picture_in_which_they_are_largest(tmp_path: Path, pictures: list[Path]) -> None:
    report = parity(colour_model(tmp_path / "a.onnx"), pictures)
    row = report.differences[0]
    assert row.image in {str(path) for path in pictures}
    assert read_still(pictures[0]).size_wh == (211, 135)
