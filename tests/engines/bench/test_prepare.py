"""What a name becomes before it is measured: networks with random weights, INT8 and the yardstick, made for real."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engines.bench.opening import open_candidate
from engines.bench.prepare import YARDSTICK, Kitchen, labels, prepare
from engines.bench.run import BenchOptions, job_of
from engines.runtimes import read_model_file
from engines.runtimes.onnx_numbers import numbers_of
from engines.spec import find_spec
from tests.support.clock import FakeClock
from tests.support.tiny_models import mean_model
from vedette.errors import UsageError

CHILD = (sys.executable, "-m", "vedette.cli.model.bench_child")


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(folder=tmp_path, images=(), child=CHILD, progress=lambda _what: None)


def test_a_random_network_is_made_once_for_all_runtimes(kitchen: Kitchen) -> None:
    precisions = ("fp32", "int8", YARDSTICK)

    found, missing = prepare("yolo-nas-n", "n", (96, 64), ("openvino", "tensorrt"), precisions, kitchen)

    assert missing == []
    assert [(one.runtime, one.precision) for one in found] == [
        ("openvino", "fp32"),
        ("openvino", "int8"),
        ("openvino", YARDSTICK),
        ("tensorrt", "fp32"),
        ("tensorrt", "int8"),
    ]
    float_file, unsigned, yardstick, again, signed = found
    assert again.path == yardstick.path == float_file.path
    assert numbers_of(float_file.path).activations == "float"
    assert numbers_of(unsigned.path).activations == "unsigned"
    assert numbers_of(signed.path).activations == "signed"
    spec = find_spec(read_model_file(float_file.path)).spec
    assert (spec.input.size, len(spec.classes)) == ((96, 64), 80)
    assert [bool(one.note) for one in found] == [False, True, True, False, True]
    assert all(one.file_bytes > 1_000_000 for one in found)
    assert yardstick.file_bytes < float_file.file_bytes / 2

    options = BenchOptions(
        models=("yolo-nas-n",),
        size_wh=(96, 64),
        runtimes=("openvino",),
        precisions=precisions,
        batches=(1,),
        rounds=1,
        seconds=1.0,
        threads=2,
        images=(),
    )
    engine = open_candidate(job_of(yardstick, "latency", 2, options), now_ns=FakeClock().mono_ns)
    try:
        assert "latency" in engine.description
        assert "INT8 in" in engine.description
        assert engine.max_batch == 2
    finally:
        engine.close()


def test_a_file_that_is_made_for_another_size_is_refused(kitchen: Kitchen) -> None:
    path = mean_model(kitchen.folder / "tiny.onnx")

    with pytest.raises(UsageError, match=r"--size: .*tiny\.onnx is made for 64x32, got 96x64"):
        prepare(str(path), "tiny", (96, 64), ("openvino",), ("fp32",), kitchen)


def test_what_cannot_be_made_is_missing_and_the_rest_is_there(kitchen: Kitchen) -> None:
    """`mean_model` has no convolution: there is nothing to quantize."""
    path = mean_model(kitchen.folder / "tiny.onnx")

    found, missing = prepare(str(path), "tiny", None, ("openvino", "onnxruntime"), ("fp32", "int8"), kitchen)

    assert [one.precision for one in found] == ["fp32", "fp32"]
    (line,) = missing
    assert line.startswith("tiny, int8: ")
    assert "expected a network with convolutions" in line


def test_files_of_one_name_are_told_apart() -> None:
    words = ["vedette-n", "yolo-nas-s", "a/n.onnx", "b/n.onnx", "c/s.onnx"]

    assert list(labels(words).values()) == ["vedette-n", "yolo-nas-s", "a/n.onnx", "b/n.onnx", "s"]
