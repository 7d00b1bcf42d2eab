"""The whole way: calibrate, quantize, hold against the float network, keep what passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import engines
from engines.build import BuildReport, BuildRequest, build
from engines.datasets import Dataset, open_dataset
from engines.options import ModelOptions
from engines.quantize import LEAST_IMAGES, QuantizeOptions
from engines.runtimes import open_engine, read_model_file
from engines.spec import find_spec
from engines.validate.gate import GateLimits
from stages.source.synthetic.dataset import write_dataset
from stages.source.synthetic.options import parse_synthetic
from vedette.errors import DataError, UsageError

SEED = Path(engines.__file__).parent / "weights" / "vedette-n-seed_416x256.onnx"
HELD_OUT = 24
LOOSE = GateLimits(images=HELD_OUT, ap_points=3.0)
"""Two dozen pictures say little of a network: the gate's own limits are for a hundred and more."""


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Scenes with their boxes: enough to calibrate with and to compare on."""
    folder = tmp_path_factory.mktemp("street") / "scenes"
    frames = LEAST_IMAGES + HELD_OUT
    url = f"synthetic://street?people=6&vehicles=3&bikes=2&seed=4&fps=2&seconds={frames / 2:g}"
    write_dataset(folder, parse_synthetic(url), every=1, progress=lambda: None)
    return open_dataset(next(folder.glob("*.json")))


@pytest.fixture(scope="module")
def calibrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kept from test to test: what the tensors of one network hold for the same pictures is looked at once."""
    return tmp_path_factory.mktemp("calibrations")


@pytest.fixture
def request_for(street: Dataset, calibrations: Path, tmp_path: Path) -> BuildRequest:
    return BuildRequest(
        model=SEED,
        name="street",
        calibration=street,
        held_out=street,
        out_dir=tmp_path / "out",
        cache_dir=calibrations,
        options=QuantizeOptions(images=LEAST_IMAGES),
        limits=LOOSE,
    )


def built(request: BuildRequest, told: list[tuple[str, int]] | None = None) -> BuildReport:
    def begin(words: str, total: int) -> Callable[[], None]:
        if told is not None:
            told.append((words, total))
        return lambda: None

    return build(request, now_ns=time.monotonic_ns, begin=begin)


def test_both_files_pass_and_carry_their_gate(request_for: BuildRequest) -> None:
    told: list[tuple[str, int]] = []

    report = built(request_for, told)

    assert report.passed
    assert [file.form for file in report.files] == ["unsigned", "signed"]
    assert told[0] == ("calibrating", LEAST_IMAGES)
    for file in report.files:
        assert file.gate is not None
        assert (file.gate.rule, file.gate.images, file.gate.used_for_calibration) == ("ap", HELD_OUT, LEAST_IMAGES)
        assert file.path is not None
        spec = find_spec(read_model_file(Path(file.path))).spec
        assert not spec.unverified
        assert spec.gate == file.gate.to_spec()
        assert spec.gate["candidate"] == spec.sha256
    assert sorted(path.name for path in request_for.out_dir.iterdir()) == [
        f"street-int8-{form}.{end}" for form in ("signed", "unsigned") for end in ("onnx", "yaml")
    ]


def test_what_is_built_runs_in_int8_and_says_so(request_for: BuildRequest) -> None:
    report = built(replace(request_for, gated=False))

    path = report.files[0].path
    assert path is not None
    engine = open_engine(ModelOptions(path=path), now_ns=time.monotonic_ns)
    assert "INT8 in 100 of" in engine.description
    assert "-int8 (unverified)" in engine.description
    engine.close()


def test_a_file_that_fails_is_not_kept(request_for: BuildRequest) -> None:
    report = built(replace(request_for, limits=GateLimits(images=HELD_OUT, ap_points=-100.0)))

    assert not report.passed
    assert [file.path for file in report.files] == [None, None]
    assert all(file.gate is not None and "gate failed" in file.gate.line() for file in report.files)
    assert list(request_for.out_dir.iterdir()) == []


def test_a_folder_of_the_outputs_name_is_refused_before_the_work(request_for: BuildRequest) -> None:
    (request_for.out_dir / "street-int8-signed.onnx").mkdir(parents=True)
    told: list[tuple[str, int]] = []

    with pytest.raises(UsageError, match=r"street-int8-signed\.onnx cannot be written: it is a folder"):
        built(request_for, told)

    assert told == []
    assert [path.name for path in request_for.out_dir.iterdir()] == ["street-int8-signed.onnx"]


def test_too_few_pictures_left_for_the_gate_are_refused_before_the_work(request_for: BuildRequest) -> None:
    told: list[tuple[str, int]] = []

    with pytest.raises(DataError, match=f"at least 100 images that calibration has not used, got {HELD_OUT}"):
        built(replace(request_for, limits=GateLimits()), told)

    assert told == []
    assert list(request_for.out_dir.iterdir()) == []


def test_half_precision_is_held_against_the_float_network_too(request_for: BuildRequest) -> None:
    report = built(replace(request_for, precision="fp16", limits=GateLimits(images=HELD_OUT)))

    assert report.passed
    (file,) = report.files
    assert file.gate is not None
    assert "onnxruntime" in file.gate.candidate_runtime
    assert file.path is not None
    assert Path(file.path).name == "street-fp16.onnx"
