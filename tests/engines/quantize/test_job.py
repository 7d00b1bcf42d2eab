"""The whole way: the same files from the same pictures, calibrations kept, and every refusal in a line."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from engines.quantize import LEAST_IMAGES, QuantizeOptions, job, quantize
from engines.quantize.job import Quantized
from engines.runtimes import read_model_file
from engines.spec import find_spec
from tests.engines.quantize.conftest import Made
from tests.engines.quantize.small_network import small_model, write_pictures, write_small
from vedette.errors import DataError, ModelError, StillError, UsageError, VedetteError

Make = Callable[..., Quantized]


@pytest.fixture
def make(tmp_path: Path, small: Made) -> Make:
    """Quantizes the small network into a folder of its own, with a cache beside it."""

    def run(
        out: str = "out", model: Path | None = None, pictures: list[Path] | None = None, **how: object
    ) -> Quantized:
        options = msgspec.convert(how, QuantizeOptions)
        return quantize(
            model or small.model,
            small.pictures if pictures is None else pictures,
            options,
            out_dir=tmp_path / out,
            cache_dir=tmp_path / "cache",
        )

    return run


def left_behind(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_report_says_what_was_done(small: Made) -> None:
    graph = small.quantized.report.graph
    assert (graph.convolutions, graph.tensors, graph.scales, graph.scaled) == (13, 18, 13, 1)
    assert set(graph.predictions) == {"cls_pred", "reg_pred"}
    assert set(graph.zero_points) == {"second.mul", "second.add", "reduce"}
    assert graph.float_nodes == {"Reshape": 2, "Transpose": 2, "Mul": 1, "Sigmoid": 1}
    assert small.quantized.report.images == len(small.pictures) == len(set(small.quantized.used))


def test_the_files_carry_their_spec_and_are_unverified(small: Made) -> None:
    for path in (small.quantized.unsigned, small.quantized.signed):
        found = find_spec(read_model_file(path))
        assert found.origin == "the file's metadata"
        assert (found.spec.name, found.spec.unverified, found.spec.gate) == ("small-int8", True, None)
        assert found.spec.classes == ("person", "car")


def test_the_same_pictures_give_the_same_bytes_out_of_the_cache_too(make: Make) -> None:
    first, second = make("one"), make("two")
    assert (first.report.cached, second.report.cached) == (False, True)
    assert first.unsigned.read_bytes() == second.unsigned.read_bytes()
    assert first.signed.read_bytes() == second.signed.read_bytes()


def test_another_method_or_exclusion_needs_no_second_look(make: Make) -> None:
    first = make()
    for how in ({"method": "minmax"}, {"method": "entropy"}, {"exclude": ["*_pred"]}, {"up_branch": "float"}):
        other = make(**how)
        assert other.report.cached
        assert other.unsigned.read_bytes() != first.signed.read_bytes()


def test_the_order_of_the_pictures_is_nothing_to_a_cache(make: Make, small: Made) -> None:
    make()
    assert make(pictures=small.pictures[::-1]).report.cached


def test_other_pictures_are_another_calibration(make: Make, tmp_path: Path) -> None:
    make()
    other = make(pictures=write_pictures(tmp_path / "other", seed=9))
    assert not other.report.cached
    assert not other.report.remark


def test_a_cache_of_another_model_is_noticed_and_made_anew(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changed = small_model()
    bias = next(one for one in changed.graph.initializer if one.name == "stem.conv.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.1), bias.name))
    make()
    with caplog.at_level(logging.WARNING):
        again = make(model=write_small(tmp_path, changed))
    assert again.report.remark.endswith("the calibration cache is of another model file; made anew")
    assert caplog.messages == [again.report.remark]
    assert make(model=tmp_path / "small.onnx").report.cached


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _scribbled(path: Path) -> None:
    path.write_bytes(b"not a calibration at all")


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _altered(path: Path) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    arrays["counts"][0, 0] += 1
    with path.open("wb") as out:
        np.savez_compressed(out, **arrays)


@pytest.mark.parametrize("harm", [_cut, _scribbled, _emptied, _altered])
def test_a_damaged_cache_is_noticed_and_made_anew(make: Make, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    first = make()
    (kept,) = (tmp_path / "cache").iterdir()
    harm(kept)
    again = make()
    assert "the calibration cache is damaged" in again.report.remark
    assert not again.report.cached
    assert again.unsigned.read_bytes() == first.unsigned.read_bytes()
    assert make().report.cached


def test_a_cache_of_an_older_version_is_not_used(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    key_of = job.key_of
    monkeypatch.setattr(job, "key_of", lambda *what: msgspec.structs.replace(key_of(*what), version=2))
    assert make().report.remark.endswith("is of another version of Vedette; made anew")


@pytest.mark.parametrize("rounding", ["nearest", "compensated"])
def test_weights_may_have_one_scale_for_all_channels(make: Make, rounding: str) -> None:
    made = make(per_channel=False, rounding=rounding)
    model = onnx.load(made.unsigned)
    scales = [one for one in model.graph.initializer if one.name.endswith("/weights/scale")]
    assert len(scales) == 13
    assert all(not one.dims for one in scales)


def test_no_more_pictures_are_taken_than_asked_for(make: Make, tmp_path: Path) -> None:
    made = make(pictures=write_pictures(tmp_path / "many", 70), images=35)
    assert made.report.images == 35


def test_progress_is_told_of_every_picture(small: Made, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    options = QuantizeOptions(rounding="nearest")
    quantize(
        small.model, small.pictures, options, out_dir=tmp_path, progress=lambda done, all_: told.append((done, all_))
    )
    assert told == [(number, 32) for number in range(1, 33)]


def test_too_few_pictures_are_refused(make: Make, small: Made, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"expected at least {LEAST_IMAGES} images, got 31"):
        make(pictures=small.pictures[:31])
    assert left_behind(tmp_path) == []


def _with_nan(model: onnx.ModelProto) -> None:
    bias = next(one for one in model.graph.initializer if one.name == "squeeze.conv.bias")
    values = numpy_helper.to_array(bias).copy()
    values[0] = np.inf
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))


def _with_other_outputs(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "first.add"
    model.graph.output[0].ClearField("type")


def _without_convolutions(model: onnx.ModelProto) -> None:
    nodes = [
        helper.make_node("Slice", ["images", "a", "b"], ["part"]),
        helper.make_node("Reshape", ["part", "rows"], ["boxes"]),
        helper.make_node("Slice", ["boxes", "a", "two", "last"], ["scores"]),
    ]
    constants = {"a": [0, 0, 0, 0], "b": [1, 1, 64, 64], "rows": [-1, 1024, 4], "two": [2], "last": [2]}
    constants["a3"] = [0]
    nodes[2].input[1] = "a3"
    del model.graph.node[:]
    del model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v), k) for k, v in constants.items())


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (_with_nan, ModelError, r"tensor 'squeeze': expected finite numbers, got infinity for .*000\.jpg"),
        (_with_other_outputs, ModelError, r"outputs: head yolo_nas with 2 classes .* expected boxes .* got"),
        (_without_convolutions, ModelError, r"expected a network with convolutions, got none \(Reshape, Slice\)"),
    ],
)
def test_a_model_that_cannot_be_quantized_is_refused_in_a_line(
    make: Make, tmp_path: Path, change: Callable[[onnx.ModelProto], None], error: type[VedetteError], said: str
) -> None:
    model = small_model()
    change(model)
    with pytest.raises(error, match=said) as raised:
        make(model=write_small(tmp_path, model))
    assert len(raised.value.lines()) <= 2
    assert left_behind(tmp_path) == ["small.onnx", "small.yaml"]


def test_a_quantized_file_is_refused(make: Make, small: Made, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"expected a float model, got a quantized one \(it has DequantizeLinear, Quan"
    ):
        make(model=small.quantized.signed)
    assert left_behind(tmp_path) == []


def test_a_file_cut_short_is_refused(make: Make, small: Made, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(small.model.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"cut\.onnx: is not an ONNX model that can be loaded"):
        make(model=cut)


def test_an_image_that_cannot_be_read_is_named(make: Make, small: Made, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(small.pictures[0].read_bytes()[:300])
    with pytest.raises(StillError, match=r"broken\.jpg"):
        make(pictures=[*small.pictures, broken])
    missing = tmp_path / "missing.jpg"
    with pytest.raises(DataError, match=r"missing\.jpg: cannot be read"):
        make(pictures=[*small.pictures, missing])
    assert left_behind(tmp_path) == ["broken.jpg"]


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    small: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    monkeypatch.setattr("engines.quantize.job.see", lambda *_, **__: pytest.fail("the pictures were looked at"))
    with pytest.raises(UsageError, match=r"taken.*: cannot be written"):
        quantize(small.model, small.pictures, QuantizeOptions(), out_dir=taken / "out")


def test_a_full_disk_leaves_nothing_half_written(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = make()
    before = {path.name: path.read_bytes() for path in (kept.unsigned, kept.signed)}
    real = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if "signed" in self.name and "unsigned" not in self.name:
            real(self, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match="cannot be written: No space left on device"):
        make(method="minmax")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_model_with_its_spec_in_the_metadata_keeps_it(make: Make, tmp_path: Path) -> None:
    model = small_model()
    helper.set_model_props(model, {"vedette": (write_small(tmp_path).with_suffix(".yaml")).read_text(), "author": "me"})
    path = tmp_path / "inside.onnx"
    path.write_bytes(model.SerializeToString())
    made = make(model=path)
    file = read_model_file(made.signed)
    assert find_spec(file).spec.name == "small-int8"
    assert file.metadata["author"] == "me"
    shutil.rmtree(tmp_path / "out")
