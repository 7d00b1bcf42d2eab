"""That the kernels are CUDA, not only C++: compiled for real GPUs by NVRTC, which needs none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engines.cuda.compilers import Nvrtc, find_compiler
from engines.cuda.loader import HERE, CudaKernels
from engines.cuda.suppression import FLAGS
from engines.runtimes.gpus import find_gpus
from vedette.errors import EngineError

KERNELS = {
    "preprocess": ["preprocess_uint8", "preprocess_float16", "preprocess_float32"],
    "nms": ["nms_reset", "nms_filter_float16", "nms_filter_float32", "nms_rank", "nms_suppress"],
}


@pytest.mark.parametrize("capability", [(7, 5), (8, 6), (9, 0), (12, 0)])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compile_for_gpus_from_turing_on(name: str, capability: tuple[int, int]) -> None:
    image = Nvrtc().compile(HERE / f"{name}.cu", capability, FLAGS)

    assert image.startswith(b"\x7fELF")
    assert [kernel for kernel in KERNELS[name] if kernel.encode() not in image] == []


def test_source_that_does_not_compile_is_one_line_that_says_where(tmp_path: Path) -> None:
    path = tmp_path / "broken.cu"
    path.write_text("__global__ void kernel() {\n    missing;\n}\n")

    with pytest.raises(EngineError, match=r'broken.cu\(2\): error: identifier "missing" is undefined') as raised:
        Nvrtc().compile(path, (9, 0))
    assert len(raised.value.lines()) == 1


def test_gpu_that_the_compiler_does_not_know_is_one_line() -> None:
    with pytest.raises(EngineError, match=r"nms.cu does not compile with NVRTC .*: .*invalid value"):
        Nvrtc().compile(HERE / "nms.cu", (1, 0))


def test_without_pycuda_and_nvcc_nvrtc_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert find_compiler().name.startswith("NVRTC")


def test_without_any_compiler_the_extra_is_named() -> None:
    """In a process of its own, in which neither package can be found."""
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'pycuda', 'cuda'}:\n"
        "            raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from engines.cuda.loader import load_kernels\n"
        "from vedette.errors import MissingExtraError\n"
        "try:\n"
        "    load_kernels('nms', (9, 0))\n"
        "except MissingExtraError as error:\n"
        "    print(*error.lines(), sep='\\n')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stderr
    first, second = ended.stdout.splitlines()
    assert "need pycuda with nvcc, or cuda-bindings, to be compiled; neither is installed" in first
    assert second == "  hint: pip install 'vedette[gpu]'"


@pytest.mark.skipif(bool(find_gpus()), reason="there is a GPU: tests/gpu runs the kernels")
def test_without_a_driver_loading_is_one_clear_error() -> None:
    with pytest.raises(EngineError, match=r"no NVIDIA driver|cuModuleLoadData failed"):
        CudaKernels(b"")
