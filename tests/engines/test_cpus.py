from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engines.options import ModelOptions
from engines.runtimes.cpus import int8_sums_saturate, usable_cpus
from engines.runtimes.openvino import cpu_settings

ROOT = Path(__file__).resolve().parents[2]
V1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def groups(tmp_path: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A tree of control groups and the file that says which the process is in."""
    for name, text in files.items():
        path = tmp_path / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "own").write_text(own)
    return tmp_path / "mount", tmp_path / "own"


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),  # docker run --cpus 2
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "1600000 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "rubbish\n"}, 8),
        ("0::/\n", {"cpu.max": "100000 0\n"}, 8),
        ("0::/kubepods/pod/box\n", {"kubepods/pod/cpu.max": "300000 100000", "kubepods/pod/box/cpu.max": "max 9"}, 3),
        ("0::/kubepods/pod/box\n", {"kubepods/cpu.max": "200000 100000", "kubepods/pod/cpu.max": "400000 100000"}, 2),
        ("0::/path/of/the/host\n", {"cpu.max": "400000 100000"}, 4),
        ("1:name=systemd:/x\n0::/x\n", {"unified/x/cpu.max": "200000 100000"}, 2),
        ("4:cpu,cpuacct:/box\n", {f"cpu,cpuacct/box/{V1[0]}": "300000", f"cpu,cpuacct/box/{V1[1]}": "100000"}, 3),
        ("4:cpu:/box\n", {f"cpu/{V1[0]}": "-1", f"cpu/{V1[1]}": "100000"}, 8),
        ("4:cpuset:/box\n", {f"cpu/{V1[0]}": "100000", f"cpu/{V1[1]}": "100000"}, 8),
        ("", {"cpu.max": "200000 100000"}, 8),
    ],
)  # fmt: skip
def test_cores_are_those_bound_to_or_fewer_under_a_quota(
    tmp_path: Path, own: str, files: dict[str, str], cores: int
) -> None:
    mount, own_path = groups(tmp_path, own, files)
    assert usable_cpus(mount, own_path) == cores


def test_cores_are_those_bound_to_where_there_are_no_groups(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path / "none", tmp_path / "none either") == 8


def test_openvino_takes_all_cores_by_itself_and_is_told_of_less(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(threads: int | None) -> tuple[object, object]:
        settings = cpu_settings(ModelOptions(path="m.onnx", threads=threads), "THROUGHPUT", 2)
        return settings.get("INFERENCE_NUM_THREADS"), settings.get("ENABLE_CPU_PINNING")

    monkeypatch.setattr("engines.runtimes.openvino.usable_cpus", lambda: 8)
    assert chosen(None) == (None, None)
    # Two processes of 4 threads each must not be pinned to the same 4 cores.
    assert chosen(4) == (4, False)
    assert chosen(8) == (8, None)
    monkeypatch.setattr("engines.runtimes.openvino.usable_cpus", lambda: 2)
    assert chosen(None) == (2, False)
    assert chosen(3) == (3, False)


def test_this_process_counts_the_cores_that_it_is_bound_to() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from engines.runtimes.cpus import bound_cpus, usable_cpus; print(bound_cpus(), usable_cpus())"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT)
    assert (ended.stdout, ended.stderr) == ("1 1\n", "")


@pytest.mark.parametrize(
    ("flags", "machine", "saturate"),
    [
        ("fma avx2 avx512f avx512_vnni", "x86_64", False),
        ("fma avx2 avx_vnni", "AMD64", False),
        ("fma avx2 avx512f avx512bw", "x86_64", True),
        ("fma avx2", "x86_64", True),
        (None, "x86_64", True),
        (None, "aarch64", False),
    ],
)
def test_cpus_without_vnni_are_known(tmp_path: Path, flags: str | None, machine: str, saturate: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n\n")
    assert int8_sums_saturate(cpuinfo, machine) is saturate
