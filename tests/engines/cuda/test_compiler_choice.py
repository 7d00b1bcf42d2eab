"""Which compiler takes the kernels: pycuda's with nvcc, else NVRTC. The packages are made up, what chooses is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.cuda.compilers import Nvcc, Nvrtc, find_compiler
from engines.cuda.loader import HERE
from engines.cuda.suppression import FLAGS
from vedette.errors import EngineError, MissingExtraError

PYCUDA = """
class CompileError(Exception):
    def __init__(self, stderr):
        super().__init__("nvcc compilation failed")
        self.stderr = stderr

CompileError.__module__ = "pycuda.driver"
asked = []

def compile(source, **options):
    asked.append(options)
    if "no such thing" in source:
        raise CompileError("kernel.cu(3): warning: unused\\nkernel.cu(7): error: missing\\n1 error detected")
    return source.encode()
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages before all others, and a PATH with nothing on it but its `bin`."""
    (tmp_path / "bin").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycuda"]:
        del sys.modules[name]


def with_pycuda(machine: Path, compiler: str = PYCUDA) -> None:
    (machine / "pycuda").mkdir()
    (machine / "pycuda/__init__.py").touch()
    (machine / "pycuda/compiler.py").write_text(compiler)


def with_nvcc(machine: Path) -> None:
    nvcc = machine / "bin/nvcc"
    nvcc.write_text("#!/bin/sh\n")
    nvcc.chmod(0o755)


def test_pycuda_with_its_compiler_is_preferred(machine: Path) -> None:
    with_pycuda(machine)
    with_nvcc(machine)

    compiler = find_compiler()

    assert compiler.name == "pycuda"
    assert compiler.compile(HERE / "nms.cu", (9, 0), FLAGS) == (HERE / "nms.cu").read_bytes()
    assert sys.modules["pycuda.compiler"].asked == [  # as pycuda's documentation names them
        {"options": ["-std=c++17", *FLAGS], "no_extern_c": True, "arch": "sm_90"}
    ]


def test_what_nvcc_says_is_one_line(machine: Path, tmp_path: Path) -> None:
    with_pycuda(machine)
    with_nvcc(machine)
    source = tmp_path / "broken.cu"
    source.write_text("no such thing")

    with pytest.raises(EngineError, match=r"broken\.cu does not compile with nvcc: kernel\.cu\(7\): error: missing$"):
        Nvcc().compile(source, (8, 6))


def test_what_neither_compiles_is_said_by_both(machine: Path, tmp_path: Path) -> None:
    with_pycuda(machine)
    with_nvcc(machine)
    source = tmp_path / "broken.cu"
    source.write_text("no such thing")

    with pytest.raises(
        EngineError, match=r"with nvcc: \S+ error: missing; broken\.cu does not compile with NVRTC \S+: "
    ):
        find_compiler().compile(source, (8, 6))


def test_gpu_that_nvcc_is_too_old_for_is_compiled_for_by_nvrtc(
    machine: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_pycuda(machine, PYCUDA.replace('"no such thing" in source', 'options["arch"] == "sm_90"'))
    with_nvcc(machine)
    source = tmp_path / "kernel.cu"
    source.write_text('extern "C" __global__ void nothing() {}')

    image = find_compiler().compile(source, (9, 0))

    assert image[:4] == b"\x7fELF"
    assert "kernel.cu does not compile with nvcc" in caplog.text
    assert "NVRTC compiled it" in caplog.text


@pytest.mark.parametrize("missing", ["pycuda", "nvcc"])
def test_cuda_bindings_serve_where_pycuda_or_its_compiler_is_missing(machine: Path, missing: str) -> None:
    if missing == "pycuda":
        with_nvcc(machine)
    else:
        with_pycuda(machine)

    assert type(find_compiler()) is Nvrtc


def test_pycuda_that_cannot_be_imported_names_the_extra(machine: Path) -> None:
    with_pycuda(machine, "raise ImportError('libcurand.so.10: cannot open shared object file')")
    with_nvcc(machine)

    with pytest.raises(MissingExtraError, match=r"pycuda cannot be imported: libcurand\.so\.10") as error:
        find_compiler()
    assert error.value.hint == "pip install 'vedette[gpu]'"


def test_cuda_bindings_without_their_library_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from cuda.bindings import nvrtc

    def missing() -> None:
        msg = "Failure finding nvrtc: libnvrtc.so.13 not found\nsearched: …"
        raise RuntimeError(msg)

    monkeypatch.setattr(nvrtc, "nvrtcVersion", missing)

    with pytest.raises(MissingExtraError, match=r"cuda-bindings finds no NVRTC: Failure finding nvrtc: .* not found$"):
        Nvrtc()
