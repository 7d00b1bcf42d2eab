"""tests/gpu/run.sh up to the GPU: what it says without one, its steps over a scripted one, what it makes of them.

A scripted environment stands for Python on a machine with a GPU: it answers for the steps that need one, as they would,
and everything else is run by the real one.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import msgspec
import pytest

from engines.runtimes.gpus import find_gpus
from pipeline.bench.gpu.report import GpuReport
from tests.gpu import preflight, summary
from tests.gpu.open_engines import Opened
from tests.gpu.repeat_clip import repeat
from tests.pipeline.test_bench_gpu_report import Processes, bench, config
from tests.support.media import make_clip

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests/gpu/run.sh"
MIB = 1 << 20

SCRIPTED = """\
#!/bin/sh
case "$*" in
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip "*"--target"*) exec "$REAL" "$@" ;;
"-m pip "*) echo "pip: $*" ;;
"tests/gpu/preflight.py --tensorrt-rtx") exit "${RTX_RUNS:-1}" ;;
tests/gpu/preflight.py) echo "GPU 0 (NVIDIA X), sm_90, 80000 MB" ;;
"tests/gpu/preflight.py --packages" | "tests/gpu/preflight.py --driver") ;;
"-m tests.gpu.open_engines "*) cp "$SCRIPTED/engines.json" "$4" ;;
"-m pytest "*) cp "$SCRIPTED/tests.xml" "$OUT/tests.xml" ;;
*" synth "*) cp -r "$SCRIPTED/street" "$4" ;;
*" model parity "*) echo parity ;;
*" bench pipeline "*) cp "$SCRIPTED/bench.json" "$OUT/bench.json" ;;
*) exec "$REAL" "$@" ;;
esac
"""

TESTS = """\
<testsuites><testsuite name="pytest" errors="0" failures="{failures}" skipped="2" tests="240">
<testcase name="test_one"/><testcase name="test_two">{failure}</testcase>
<testcase name="test_three"><skipped message="TensorRT is not installed or does not run on this GPU"/></testcase>
</testsuite></testsuites>
"""

HOPPER = {
    "torch": Opened(engine="torch 2.13.0 on NVIDIA X, FP16, batch 8", why="", seconds=12.0),
    "tensorrt": Opened(engine=None, why="model.backend: tensorrt is not installed", seconds=0.1),
}

__all__ = ["config"]  # a fixture


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in {"GPU_PYTHON", "WHEELS", "CLIP"}}
    return subprocess.run(
        [str(SCRIPT), *words],
        capture_output=True, text=True, timeout=120, check=False,
        env={**inherited, "PYTHON": sys.executable, **environment},
    )  # fmt: skip


# ── without a GPU ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(bool(find_gpus()), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line_and_makes_nothing(tmp_path: Path) -> None:
    done = run(OUT=str(tmp_path / "out"), WORK=str(tmp_path / "work"))

    assert done.returncode == 2
    assert done.stderr == "there is no NVIDIA GPU to run on: there is no NVIDIA driver (libcuda.so.1)\n"
    assert list(tmp_path.iterdir()) == []


def test_steps_are_listed_and_wrong_words_refused() -> None:
    listed = run("--list")

    assert listed.stdout.split() == [
        "preflight", "environment", "street", "clip", "engines", "tests", "parity", "bench", "summary",
    ]  # fmt: skip
    refused = run("--lisst")
    assert refused.returncode == 2
    assert refused.stderr == "expected nothing, --list, --pack FOLDER or --help, got --lisst\n"
    assert "GPU_PYTHON=python3" in run("--help").stdout
    elsewhere = subprocess.run(["./run.sh", "--help"], cwd=SCRIPT.parent, capture_output=True, text=True, check=False)
    assert elsewhere.stdout == run("--help").stdout


def test_shell_is_sound() -> None:
    checker = shutil.which("shellcheck")
    if checker is None:  # not everybody has it; bash's own parser at least
        checked = subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True, text=True, check=False)
    else:
        checked = subprocess.run([checker, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    assert "set -euo pipefail" in SCRIPT.read_text()


def test_tree_that_a_gpu_run_needs_is_small(tmp_path: Path) -> None:
    """Far under 56 MiB, so that PyAV's 34 MiB can come along."""
    if not (ROOT / ".git").exists():
        pytest.skip("what belongs to the tree is git's to say, and this is a copy without it")
    done = run("--pack", str(tmp_path / "packed"))

    assert done.returncode == 0, done.stderr
    packed = [file for file in (tmp_path / "packed").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in packed) < 24 * MIB
    there = {str(file.relative_to(tmp_path / "packed")) for file in packed}
    assert {"tests/gpu/run.sh", "configs/gpu.yaml", "engines/cuda/nms.cu", "constraints/gpu.txt"} <= there
    assert "engines/weights/vedette-n_640x384.onnx" in there
    assert run("--pack", str(tmp_path / "packed")).returncode == 2  # not empty any more


# ── over a scripted one ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def scripted(tmp_path: Path, config: Path) -> dict[str, str]:
    """What the scripted environment answers, and the environment that run.sh is given."""
    folder = tmp_path / "scripted"
    (folder / "street").mkdir(parents=True)
    make_clip(folder / "street/video.mp4", frames=10, size_wh=(64, 48), codec="libx264")
    python = folder / "python"
    python.write_text(SCRIPTED)
    python.chmod(0o755)
    (folder / "engines.json").write_bytes(msgspec.json.encode(HOPPER))
    (folder / "tests.xml").write_text(TESTS.format(failures=0, failure=""))
    (folder / "bench.json").write_bytes(msgspec.json.encode(good(config)))
    out = tmp_path / "out"
    return {
        "GPU_PYTHON": str(python), "SCRIPTED": str(folder), "REAL": sys.executable,
        "OUT": str(out), "WORK": str(tmp_path / "work"),
    }  # fmt: skip


def good(config: Path) -> GpuReport:
    processes = Processes()
    processes.frames["nvdec"] = iter([950, 950, 950])
    return bench(config, processes)


def a_wheel(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "beside-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("beside.py", "")
        wheel.writestr("beside-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: beside\nVersion: 1.0\n")
        wheel.writestr("beside-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("beside-1.0.dist-info/RECORD", "")
    return path


def table_of(text: str) -> dict[str, list[str]]:
    """The table's rows by what they are of."""
    rows = [re.split(r" {2,}", line) for line in text[text.index("what  ") :].splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_run_builds_checks_measures_and_ends_with_a_short_table(scripted: dict[str, str], tmp_path: Path) -> None:
    done = run(**scripted, WHEELS=str(a_wheel(tmp_path / "wheels").parent))

    rows = table_of(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "work/site/beside.py").exists()
    assert "pip: " not in (tmp_path / "out/run.log").read_text()  # the given environment is left alone
    assert rows["engine in torch"][:3] == ["12 s", "opens", "held"]
    assert rows["engine in tensorrt"] == ["-", "left out", "model.backend: tensorrt is not installed"]
    assert rows["tests/gpu"] == ["238 of 240", "all pass", "held"]
    assert rows["2 tests"][1:] == ["left out", "TensorRT is not installed or does not run on this GPU"]
    assert rows["parity torch fp16"][:3] == ["ok", "ok", "held"]
    assert rows["parity tensorrt fp16"] == ["-", "left out", "tensorrt does not run here"]
    assert rows["surfaces: pipeline against the network alone"][:3] == ["0.950", ">= 0.90", "held"]
    assert rows["NVDEC: pictures that crossed the bus"][:3] == ["0.000", "0", "held"]
    assert rows["pre-processing against a copy on the device"][:3] == ["0.700", ">= 0.60", "held"]
    assert list(rows)[-1] == "all of it, s"
    assert len(done.stdout.splitlines()) < 30
    with av.open(str(tmp_path / "work/clip.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 25 * 10
    page = (tmp_path / "out/results.md").read_text()
    assert "NVIDIA X (sm_90), driver 580.1, CUDA 13.0" in page
    assert "| NVDEC: pictures that crossed the bus | 0.000 | 0 | held |" in page
    assert {row["what"] for row in json.loads((tmp_path / "out/results.json").read_bytes())} >= set(rows) - {"what"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.md", "results.json", "bench.json", "tests.xml", "run.log",
    }  # fmt: skip


@pytest.mark.parametrize(("rtx", "asked"), [("1", None), ("0", "tensorrt-rtx")])
def test_environment_of_its_own_has_torch_for_cuda(
    scripted: dict[str, str], tmp_path: Path, rtx: str, asked: str | None
) -> None:
    environment = {**scripted, "PYTHON": scripted["GPU_PYTHON"], "GPU_PYTHON": "", "RTX_RUNS": rtx}

    done = run(**environment, MINUTES="0")

    rows = table_of(done.stdout)  # what there is no time for is left out, and not held
    assert done.returncode == 1
    assert rows["street"] == ["-", "NOT HELD", "no time left"]
    assert rows["bench"][-1] == "see run.log"
    pip = [line for line in (tmp_path / "out/run.log").read_text().splitlines() if line.startswith("pip: ")]
    assert pip[1].endswith("--editable .[cpu] torch cuda-bindings onnx pytest pytest-timeout hypothesis")
    assert [line.split()[-1] for line in pip[2:]] == ([] if asked is None else [asked])
    pinned = (tmp_path / "work/constraints.txt").read_text().splitlines()
    assert [line for line in pinned if line.startswith("torch==")] == ["torch==2.13.0"]
    assert len([line for line in pinned if line.startswith("nvidia-cuda-nvrtc==")]) == 1
    assert not [line for line in pinned if line.startswith("tensorrt")]


def test_clip_and_model_that_are_not_there_are_named_before_anything_is_done(scripted: dict[str, str]) -> None:
    for name in ("CLIP", "MODEL"):
        done = run(**{**scripted, name: "/none.bin"})
        assert (done.returncode, done.stderr) == (2, f"{name}: there is no /none.bin\n")
    assert run(**scripted, WHEELS="/none").stderr == "WHEELS: there are no wheels in /none\n"


# ── what it makes of what it finds ───────────────────────────────────────────────────────────────────────────────────


def test_failures_are_named(tmp_path: Path) -> None:
    failure = '<failure message="assert 1 == 2"/>'
    (tmp_path / "tests.xml").write_text(TESTS.format(failures=1, failure=failure))
    (tmp_path / "steps.tsv").write_text(
        "environment\tok\t3\t\ntests\tfailed\t80\texit status 1\nbench\tfailed\t400\tcut off after 400 s\n"
    )

    rows = {row.what: row for row in summary.rows_of(tmp_path, tmp_path)}

    assert rows["tests/gpu"].verdict == "NOT HELD"
    assert rows["tests/gpu"].note == "test_two"
    assert rows["bench"].held is False
    assert "environment" not in rows
    assert summary.main(["--out", str(tmp_path), "--work", str(tmp_path), "--command", "x", "--seconds", "9"]) == 1


def test_run_in_which_nothing_was_found_is_not_held(tmp_path: Path) -> None:
    assert summary.main(["--out", str(tmp_path), "--work", str(tmp_path), "--command", "x", "--seconds", "9"]) == 1
    assert "tests/gpu | none | all pass | NOT HELD" in (tmp_path / "results.md").read_text()


def test_repeated_film_is_one_film(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=12, size_wh=(64, 48), codec="libx264", b_frames=2)

    count = repeat(clip, tmp_path / "long.mp4", 3)

    with av.open(str(tmp_path / "long.mp4")) as film:
        shown = [frame.pts for frame in film.decode(video=0)]
    assert count == len(shown) == 36
    steps = {later - earlier for earlier, later in itertools.pairwise(shown)}
    assert len(steps) == 1


def test_driver_that_is_too_old_for_torch_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert [preflight._driver(cuda) for cuda in (13000, 13010, 14000)] == [0, 0, 0]
    assert capsys.readouterr().err == ""

    assert preflight._driver(12080) == 2
    assert capsys.readouterr().err == (
        "the NVIDIA driver is for CUDA 12.8, expected 13.0 or newer (a driver from 580 on): "
        "renew it, or give an environment with an older torch as GPU_PYTHON\n"
    )


def test_library_that_is_not_there_does_not_load() -> None:
    assert preflight.loads("libc.so.6")
    assert not preflight.loads("libnvcuvid-that-is-not-here.so.1")


def test_preflight_s_packages_are_those_that_it_can_find(capsys: pytest.CaptureFixture[str]) -> None:
    missing = [name for name in preflight.NEEDED if not preflight._there(name)]

    assert preflight.main(["--packages"]) == (2 if missing else 0)
    assert not preflight._there("nothing.of.that.name")
    assert capsys.readouterr().out == ""
