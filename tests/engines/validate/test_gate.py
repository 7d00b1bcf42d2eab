from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import yaml

from engines.datasets import Dataset, open_dataset
from engines.options import ModelOptions
from engines.spec import InputSpec, ModelSpec, sha256_of
from engines.validate import GateLimits, GateReport, Predictions
from engines.validate.gate import HeldOut, check, held_out, judge
from tests.support.datasets import coco_set
from tests.support.models import colour_model
from tests.support.predictions import Row, dataset, image, predictions
from vedette.errors import DataError, ModelError

FEW = GateLimits(images=10)
A: Row = ((10, 10, 50, 50), 0.9, 0)
B: Row = ((60, 60, 100, 120), 0.8, 0)


def plain_set(count: int, *, labelled: bool) -> Dataset:
    boxes = [(A[0], 0), (B[0], 0)] if labelled else []
    return dataset(*(image(boxes, labelled=[0] if labelled else []) for _ in range(count)))


def judged(of: Dataset, rows: Sequence[Sequence[Row]], limits: GateLimits = FEW) -> GateReport:
    """A candidate that finds `rows` against an original that finds A and B in every picture."""
    pictures = HeldOut(dataset=of, used_for_calibration=0, pictures="f" * 64)
    reference = predictions(of, *[[A, B]] * len(of), name="float")
    return judge(reference, predictions(of, *rows, name="int8"), pictures, limits)


def test_with_labels_ap_decides() -> None:
    of = plain_set(100, labelled=True)
    same = judged(of, [[A, B]] * 100)
    assert same.passed
    assert (same.rule, same.ap_lost_points, same.images) == ("ap", 0.0, 100)

    # One object of 200 lost: COCO's 101 points of recall make 1 point of it.
    worse = judged(of, [[A, B]] * 99 + [[A]])
    assert not worse.passed
    assert worse.ap_lost_points == pytest.approx(100 / 101)
    assert worse.ap_lost_points_by_class == {"person": pytest.approx(100 / 101)}
    assert worse.line() == (
        "gate failed on 100 held-out images of set.json: AP 99.01 against the float network's 100.00, "
        "0.99 points lost (at most 0.5 may be)"
    )
    assert judged(of, [[A, B]] * 99 + [[A]], msgspec.structs.replace(FEW, ap_points=1.0)).passed


def test_an_engine_that_is_better_passes() -> None:
    of = plain_set(20, labelled=True)
    reference = predictions(of, *[[A]] * 20, name="float")
    pictures = HeldOut(dataset=of, used_for_calibration=0, pictures="")
    report = judge(reference, predictions(of, *[[A, B]] * 20), pictures, FEW)
    assert report.passed
    assert "points gained" in report.line()


@pytest.mark.parametrize(
    ("lost", "extra", "passed"), [(0, 0, True), (3, 0, True), (4, 0, False), (0, 3, True), (0, 4, False), (3, 3, True)]
)
def test_without_labels_the_boxes_of_either_must_be_found_again(lost: int, extra: int, passed: bool) -> None:
    away: Row = ((150, 150, 190, 190), 0.9, 0)
    rows = [[A, B][: 1 if index < lost else 2] + ([away] if index < extra else []) for index in range(50)]
    report = judged(plain_set(50, labelled=False), rows)
    assert report.rule == "agreement"
    assert report.passed is passed
    there, back = report.agreement.found_again
    assert there == pytest.approx(1 - lost / 100)
    assert back == pytest.approx((100 - lost) / (100 - lost + extra))
    assert report.line().startswith(f"gate {'passed' if passed else 'failed'} on 50 held-out images of set.json: ")
    assert "(at least 97 % must be, same class, IoU 0.75" in report.line()


def test_scores_that_cross_the_threshold_are_lost_by_the_letter_and_not_with_slack() -> None:
    of = plain_set(50, labelled=False)
    rows = [[A, (B[0], 0.47, 0)]] * 50  # the threshold is 0.5
    strict = judged(of, rows)
    assert not strict.passed
    assert strict.line().endswith("IoU 0.75; 100.0 % and 100.0 % if scores may be 0.05 below the threshold)")
    loose = judged(of, rows, msgspec.structs.replace(FEW, score_slack=0.04))
    assert loose.passed
    assert loose.line().endswith("IoU 0.75, scores up to 0.04 below the threshold)")
    assert not judged(of, rows, msgspec.structs.replace(FEW, score_slack=0.02)).passed


def test_too_few_labelled_pictures_leave_it_to_the_boxes() -> None:
    some = plain_set(9, labelled=True).images + plain_set(41, labelled=False).images
    report = judged(dataset(*some), [[A, B]] * 50)
    assert (report.rule, report.images) == ("agreement", 50)


def test_an_original_that_finds_nothing_proves_nothing() -> None:
    of = plain_set(50, labelled=False)
    empty = predictions(of, *[[]] * 50)
    pictures = HeldOut(dataset=of, used_for_calibration=0, pictures="")
    with pytest.raises(DataError, match="expected the float network to show at least 50 boxes, got 0"):
        judge(empty, empty, pictures, FEW)
    labelled = plain_set(50, labelled=True)
    nothing = predictions(labelled, *[[]] * 50)
    with pytest.raises(DataError, match=r"the float network's own AP is 0\.00: nothing to be held against"):
        judge(nothing, nothing, replace(pictures, dataset=labelled), FEW)


def test_a_candidate_that_finds_nothing_fails() -> None:
    assert not judged(plain_set(50, labelled=False), [[]] * 50).passed
    assert not judged(plain_set(50, labelled=True), [[]] * 50).passed


def test_pictures_of_calibration_are_left_out_by_their_content(tmp_path: Path) -> None:
    of = open_dataset(coco_set(tmp_path, 12))
    hashes = [sha256_of(one.path) for one in of.images]
    copy = tmp_path / "elsewhere.png"
    copy.write_bytes(of.images[0].path.read_bytes())

    assert held_out(of, {sha256_of(copy), hashes[1]}, FEW).used_for_calibration == 2
    with pytest.raises(DataError, match=r"10 images that calibration has not used, got 9 \(3 of 12 were used\)"):
        held_out(of, set(hashes[:3]), FEW)


def test_copies_of_a_picture_are_one_picture(tmp_path: Path) -> None:
    of = open_dataset(coco_set(tmp_path, 12))
    for one in of.images[1:4]:
        one.path.write_bytes(of.images[0].path.read_bytes())
    with pytest.raises(DataError, match=r"got 9 \(3 are copies or cannot be read\)"):
        held_out(of, set(), FEW)


def test_the_hash_of_the_pictures_does_not_depend_on_their_names_and_order(tmp_path: Path) -> None:
    of = open_dataset(coco_set(tmp_path, 12))
    again = replace(of, images=of.images[::-1])
    assert held_out(of, set(), FEW).pictures == held_out(again, set(), FEW).pictures


def test_the_gate_runs_both_engines_and_its_report_travels_in_the_spec(tmp_path: Path) -> None:
    of = open_dataset(coco_set(tmp_path, 14))
    model = colour_model(tmp_path / "colours.onnx")
    reference = ModelOptions(path=str(model), backend="onnxruntime")
    calls: list[int] = []

    report = check(
        reference,
        ModelOptions(path=str(model), backend="openvino"),
        of,
        used={sha256_of(of.images[0].path)},
        now_ns=time.monotonic_ns,
        limits=FEW,
        progress=lambda: calls.append(1),
    )
    assert report.passed
    assert (report.images, report.used_for_calibration, len(calls)) == (13, 1, 26)
    assert report.reference == report.candidate == sha256_of(model)
    assert "onnxruntime" in report.reference_runtime
    assert "OpenVINO" in report.candidate_runtime

    spec = ModelSpec(name="x", head="yolo_nas", classes=("a",), input=InputSpec(size=(64, 64)), gate=report.to_spec())
    back = msgspec.convert(yaml.safe_load(yaml.safe_dump(msgspec.to_builtins(spec))), ModelSpec)
    assert back == spec
    assert msgspec.convert(spec.gate, GateReport) == report


def test_a_candidate_of_other_colours_fails(tmp_path: Path) -> None:
    of = open_dataset(coco_set(tmp_path, 12))
    good, bad = colour_model(tmp_path / "good.onnx"), colour_model(tmp_path / "bad.onnx")
    spec = bad.with_suffix(".yaml")
    spec.write_text(spec.read_text().replace("96]", "96], colour: bgr"))
    report = check(
        *(ModelOptions(path=str(path), backend="onnxruntime") for path in (good, bad)),
        of,
        used=(),
        now_ns=time.monotonic_ns,
        limits=FEW,
    )
    assert not report.passed


def test_a_candidate_of_other_classes_is_refused(tmp_path: Path) -> None:
    of = open_dataset(coco_set(tmp_path, 12))
    good, other = colour_model(tmp_path / "good.onnx"), colour_model(tmp_path / "other.onnx")
    spec = other.with_suffix(".yaml")
    spec.write_text(spec.read_text().replace("blue", "mauve"))
    with pytest.raises(ModelError, match=r"other\.onnx: expected the classes of .*good\.onnx, got red, green, mauve"):
        check(
            *(ModelOptions(path=str(path), backend="onnxruntime") for path in (good, other)),
            of,
            used=(),
            now_ns=time.monotonic_ns,
            limits=FEW,
        )


def test_pictures_that_cannot_be_read_are_named_and_do_not_count(tmp_path: Path) -> None:
    of = open_dataset(coco_set(tmp_path, 12))
    model = ModelOptions(path=str(colour_model(tmp_path / "colours.onnx")), backend="onnxruntime")
    of.images[3].path.write_bytes(b"broken")
    report = check(model, model, of, used=(), now_ns=time.monotonic_ns, limits=FEW)
    assert report.images == 11
    assert len(report.unreadable) == 1
    assert "003.png" in report.unreadable[0]

    for one in of.images[4:6]:
        one.path.write_bytes(b"broken, too" + one.path.name.encode())
    with pytest.raises(DataError, match="needs at least 10 images, 9 can be read"):
        check(model, model, of, used=(), now_ns=time.monotonic_ns, limits=FEW)


def test_predictions_of_another_set_are_a_mistake_of_the_caller() -> None:
    of = plain_set(3, labelled=True)
    one: Predictions = predictions(of, [A], [A], [A])
    fewer = replace(one, found=one.found[:2])
    with pytest.raises(ValueError, match="the same images"):
        judge(one, fewer, HeldOut(dataset=of, used_for_calibration=0, pictures=""), GateLimits(images=1))
