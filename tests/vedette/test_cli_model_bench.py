"""`vedette model bench`: measures for real, as short as it can, and writes what it promises.

So short a run says nothing of speed; what is tested is that it runs, what is in the report, and what is refused.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engines.bench.accuracy import ap_of_gate
from engines.bench.job import Job
from engines.bench.measure import measure
from tests.support.datasets import coco_set
from tests.support.models import colour_model
from tests.support.tiny_models import mean_model, picky_model
from vedette.cli.main import main

FIELDS = ("model", "runtime", "precision", "batch", "p50_ms", "p95_ms", "p99_ms", "fps", "memory_mb", "file_mb")
QUICK = ["--rounds", "2", "--seconds", "0.02", "--threads", "2"]
CHILD = [sys.executable, "-m", "vedette.cli.model.bench_child"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mean_model(tmp_path_factory.mktemp("model") / "tiny.onnx", batch="n")


def test_rows_are_of_every_runtime_and_batch(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "reports" / "bench.json"
    words = ["model", "bench", str(tiny), "--runtime", "openvino,onnx", "--batch", "1,2"]
    words += ["--precision", "fp32"]

    assert main([*words, *QUICK, "--json", str(out)]) == 0

    report: dict[str, Any] = json.loads(out.read_text())
    assert [path.name for path in out.parent.iterdir()] == ["bench.json"]
    rows = report["rows"]
    assert [(row["runtime"], row["precision"], row["batch"]) for row in rows] == [
        ("openvino", "fp32", 1),
        ("openvino", "fp32", 2),
        ("onnxruntime", "fp32", 1),
        ("onnxruntime", "fp32", 2),
    ]
    for row in rows:
        assert set(FIELDS) <= set(row)
        assert row["p50_ms"] > 0
        assert 0 < row["p95_ms"] <= row["p99_ms"]
        assert row["fps"] > 0
        assert 10 < row["memory_mb"] < 2000
        assert row["model"] == "tiny"
        assert row["requests"] == 2
        assert len(row["p50_ms_by_round"]) == len(row["fps_by_round"]) == 2
    assert [row["speedup_first"] is None for row in rows] == [False, True, False, True]
    assert rows[0]["speedup_fp32"] == 1.0
    assert {"python", "vedette", "openvino", "onnxruntime"} <= set(report["versions"])
    assert {"cpu", "cores", "load_average"} <= set(report["machine"])
    assert report["command"].split()[0] == "vedette"
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:5] == ["model", "runtime", "precision", "batch", "p50"]
    assert [line.split()[1] for line in table[1:]] == ["openvino", "openvino", "onnxruntime", "onnxruntime"]


def test_accuracy_is_measured_on_labelled_pictures_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = colour_model(tmp_path / "colours.onnx")
    data = coco_set(tmp_path / "data", 4)
    out, drawn = tmp_path / "bench.json", tmp_path / "bench.png"
    words = ["model", "bench", str(model), "--runtime", "onnx", "--precision", "fp32", "--data", str(data)]

    assert main([*words, *QUICK, "--json", str(out), "--plot", str(drawn)]) == 0

    (row,) = json.loads(out.read_text())["rows"]
    assert row["ap"] == pytest.approx(1.0)
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.splitlines()[1].endswith("100.0")


def test_accuracy_is_else_what_the_models_own_gate_found(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "colours.onnx")
    assert ap_of_gate(model) is None
    spec = model.with_suffix(".yaml")
    spec.write_text(spec.read_text() + "gate: {passed: true, candidate_ap: 0.25}\n")

    assert ap_of_gate(model) == 0.25
    assert ap_of_gate("yolo-nas-s") is None


def test_what_cannot_run_is_said_and_without_any_row_the_status_is_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mean_model(tmp_path / "one.onnx", batch=1)
    words = ["model", "bench", str(path), "--runtime", "onnx", "--precision", "fp32,bf16", "--batch", "4"]

    assert main([*words, *QUICK]) == 2

    (missing,) = capsys.readouterr().out.splitlines()
    assert missing.startswith("one, onnxruntime, fp32 batch 4, bf16 batch 4: ")
    assert missing.endswith("takes one picture at a time, expected a free batch for 4")


def test_a_network_that_fails_at_work_is_left_out_of_the_rounds(tmp_path: Path, tiny: Path) -> None:
    """`picky_model` wants a black picture; it is given noise."""
    jobs = [
        Job(label="m", path=str(path), runtime="onnxruntime", precision="fp32", mode="latency", threads=2)
        for path in (picky_model(tmp_path / "picky.onnx"), tiny)
    ]
    said: list[str] = []

    picky, good = measure(jobs, command=CHILD, seconds=0.01, rounds=2, progress=said.append)

    assert picky.failed.startswith("onnxruntime failed: ")
    assert picky.turns == []
    assert len(good.turns) == 2
    assert [what.partition(":")[0] for what in said] == [
        "opening m, onnxruntime, fp32, batch 1, latency",
        "opening m, onnxruntime, fp32, batch 1, latency",
        "round 1 of 2",
        "round 2 of 2",
    ]


def test_a_child_that_dies_says_its_last_words(tiny: Path) -> None:
    job = Job(label="m", path=str(tiny), runtime="openvino", precision="fp32", mode="latency")
    dying = [sys.executable, "-c", "import sys; sys.exit('out of luck')"]

    (died,) = measure([job], command=dying, seconds=0.01, rounds=1, progress=lambda _what: None)

    assert died.failed == "it ended with status 1: out of luck"


def test_rounds_go_to_and_fro(tmp_path: Path) -> None:
    """So that a machine that becomes slower meets first and last alike."""
    child = tmp_path / "child.py"
    child.write_text(
        "import sys\n"
        """print('{"type":"ready","description":"","requests":1}', flush=True)\n"""
        "for line in sys.stdin:\n"
        """    print('{"type":"turn","seconds":1.0,"requests":1,"memory_bytes":1}', flush=True)\n"""
    )
    jobs = [Job(label=name, path="", runtime="openvino", precision="fp32", mode="latency") for name in ("a", "b", "c")]
    said: list[str] = []

    measure(jobs, command=[sys.executable, str(child)], seconds=0.01, rounds=3, progress=said.append)

    assert [what.partition(": ")[2][0] for what in said if what.startswith("round")] == list("abccbaabc")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "600"], "--size: expected W or WxH, multiples of 32, got '600'"),
        (["--size", "640x"], "--size: tiny.onnx is made for 64x32, got 640x640"),
        (["--size", "640by384"], "--size: expected W or WxH, multiples of 32, got '640by384'"),
        (["--runtime", "abacus"], "--runtime: expected some of openvino, onnxruntime, torch, tensorrt, got 'abacus'"),
        (["--precision", ","], "--precision: expected some of fp32, bf16, fp16, int8, nncf-int8, got nothing"),
        (["--batch", "0"], "--batch: expected whole numbers from 1 to 256, got '0'"),
        (["--batch", "1,x"], "--batch: expected whole numbers from 1 to 256, got '1,x'"),
        (["--rounds", "0"], "--rounds: expected a whole number from 1 to 1000, got 0"),
        (["--seconds", "nan"], "--seconds: expected a number from 0.01 to 3600, got nan"),
        (["--threads", "0"], "--threads: expected a whole number from 1 to 256, got 0"),
        (["--images", "none"], "none: no such file or folder"),
        (["--data", "none"], "none: no such file or folder"),
        (["--json", "/proc/none/a.json"], "--json: /proc/none/a.json cannot be written"),
        (["--plot", "a.png"], "--plot: it needs an AP"),
    ],
)
def test_wrong_words_are_refused_at_once(
    words: list[str],
    message: str,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tiny.parent)

    assert main(["model", "bench", "tiny.onnx", *words]) == 2

    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


def test_names_that_nobody_knows_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "bench", "yolo-nas-xl"]) == 2
    assert "yolo-nas-xl: expected a model file or the name of a model that ships" in capsys.readouterr().err


def test_a_job_comes_over_whole() -> None:
    job = Job(label="m", path="m.onnx", runtime="torch", precision="fp32", mode="throughput", batch=4, threads=3)

    assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job
