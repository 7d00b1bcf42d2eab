"""Which runtime is taken, why, and what is refused because the file, the machine or the packages do not fit."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
import pytest

import engines.runtimes as runtimes
import engines.runtimes.choice as choice
import engines.runtimes.tensorrt_api as tensorrt_api
from engines.engine import Engine
from engines.options import ModelOptions
from engines.runtimes import open_engine
from engines.runtimes.gpus import Gpu
from engines.runtimes.onnx_numbers import FLOAT, Activations, Numbers
from tests.support.tiny_models import SPEC, mean_model
from vedette.errors import MissingExtraError, ModelError


@pytest.fixture(scope="module")
def mean_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mean_model(tmp_path_factory.mktemp("mean") / "mean.onnx")


def opened(path: Path, backend: str, precision: str = "auto") -> Engine:
    options = msgspec.convert({"path": str(path), "backend": backend, "precision": precision}, ModelOptions)
    return open_engine(options, now_ns=time.monotonic_ns)


GPU = Gpu(name="NVIDIA RTX A2000", capability=(8, 6))
HOPPER = Gpu(name="NVIDIA H100", capability=(9, 0))


def machine(monkeypatch: pytest.MonkeyPatch, *packages: str, gpus: tuple[Gpu, ...] = ()) -> None:
    """This machine as another one: these packages, these GPUs (which torch can use)."""
    monkeypatch.setattr(choice, "_installed", lambda name: name in packages)
    monkeypatch.setattr(tensorrt_api, "installed", lambda: tuple(p for p in tensorrt_api.PACKAGES if p in packages))
    monkeypatch.setattr(choice, "find_gpus", lambda: gpus)
    monkeypatch.setattr("torch.cuda.is_available", lambda: bool(gpus))


class TestChoice:
    def test_auto_takes_openvino(self, mean_path: Path) -> None:
        engine = opened(mean_path, "auto")

        assert engine.description.startswith("OpenVINO")
        assert "auto: " in engine.description

    @pytest.mark.parametrize(
        ("packages", "gpu", "activations", "chosen", "why"),
        [
            ("openvino onnxruntime torch tensorrt_rtx", None, "float", "openvino", "the fastest on a CPU"),
            ("onnxruntime torch", None, "float", "onnxruntime", "OpenVINO is not installed"),
            ("openvino torch tensorrt_rtx", GPU, "float", "tensorrt", "NVIDIA RTX A2000 with TensorRT-RTX 1"),
            ("openvino torch tensorrt_rtx", GPU, "signed", "tensorrt", "NVIDIA RTX A2000 with TensorRT-RTX 1"),
            (
                "openvino torch tensorrt_rtx",
                HOPPER,
                "float",
                "torch",
                "NVIDIA H100, TensorRT-RTX does not run",
            ),
            ("openvino torch", GPU, "float", "torch", "NVIDIA RTX A2000, TensorRT is not installed"),
            ("openvino", GPU, "float", "openvino", "no TensorRT or torch for the GPU"),
            ("openvino torch tensorrt_rtx", GPU, "unsigned", "tensorrt", "NVIDIA RTX A2000 with TensorRT-RTX 1"),
            ("openvino torch", GPU, "unsigned", "openvino", "without TensorRT, unsigned INT8 is for CPUs"),
        ],
    )
    def test_auto_takes_what_suits_the_machine_and_the_file_and_says_why(
        self,
        monkeypatch: pytest.MonkeyPatch,
        packages: str,
        gpu: Gpu | None,
        activations: Activations,
        chosen: str,
        why: str,
    ) -> None:
        machine(monkeypatch, *packages.split(), gpus=(gpu,) if gpu else ())
        numbers = Numbers(floats="float32", activations=activations, operators={})

        backend, reason = choice.choose(ModelOptions(path="m.onnx"), numbers)

        assert backend == chosen
        assert reason.startswith(f"auto: {why}")

    @pytest.mark.parametrize(
        ("packages", "chosen", "said"),
        [
            ("tensorrt", "torch", "auto: NVIDIA RTX A2000, tensorrt is installed, but cannot be imported: libcudart"),
            ("tensorrt tensorrt_rtx", "tensorrt", "auto: NVIDIA RTX A2000 with TensorRT-RTX 1"),
        ],
    )
    def test_tensorrt_that_cannot_be_imported_leaves_the_gpu_to_what_can(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packages: str, chosen: str, said: str
    ) -> None:
        (tmp_path / "tensorrt.py").write_text("raise ImportError('libcudart.so.12: cannot open\\nsearched: …')")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
        machine(monkeypatch, "openvino", "torch", *packages.split(), gpus=(GPU,))

        backend, why = choice.choose(ModelOptions(path="m.onnx"), FLOAT)

        assert backend == chosen
        assert why.startswith(said)
        assert "\n" not in why

    @pytest.mark.parametrize(("name", "chosen"), [("m.engine", "tensorrt"), ("m.plan", "tensorrt"), ("m.pth", "torch")])
    def test_file_that_one_runtime_alone_runs_is_run_by_it(self, name: str, chosen: str) -> None:
        assert choice.choose(ModelOptions(path=name), FLOAT)[0] == chosen
        with pytest.raises(ModelError, match=rf"expected {chosen} or auto for a file \.\w+, got openvino"):
            choice.choose(ModelOptions(path=name, backend="openvino"), FLOAT)

    @pytest.mark.parametrize(
        ("backend", "extra"),
        [("auto", "cpu"), ("openvino", "cpu"), ("onnxruntime", "cpu"), ("torch", "train"), ("tensorrt", "gpu")],
    )
    def test_missing_runtime_is_named_with_its_extra(
        self, mean_path: Path, backend: str, extra: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        machine(monkeypatch)

        with pytest.raises(MissingExtraError, match="installed") as error:
            opened(mean_path, backend)
        assert error.value.hint == f"pip install 'vedette[{extra}]'"

    def test_model_file_cannot_be_read_without_onnxruntime(
        self, mean_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)

        with pytest.raises(MissingExtraError, match="models are read with onnxruntime"):
            runtimes.read_model_file(mean_path)

    @pytest.mark.parametrize("backend", ["openvino", "torch"])
    def test_bf16_is_said(self, mean_path: Path, backend: str) -> None:
        assert "bf16" in opened(mean_path, backend, precision="bf16").description.lower()

    @pytest.mark.parametrize(
        ("backend", "precision", "said"),
        [
            ("onnxruntime", "bf16", "bf16 is not to be had from onnxruntime"),
            ("onnxruntime", "fp16", "fp16, but .* is a float32 file"),
            ("openvino", "fp16", "fp16 is not to be had from OpenVINO on a CPU, which runs it as BF16"),
            ("torch", "fp16", "fp16 pays on a GPU only"),
        ],
    )
    def test_precision_that_a_runtime_has_not_is_refused(
        self, mean_path: Path, backend: str, precision: str, said: str
    ) -> None:
        with pytest.raises(ModelError, match=said):
            opened(mean_path, backend, precision)

    def test_head_that_does_not_fit_the_outputs_is_refused_at_start(self, tmp_path: Path) -> None:
        path = mean_model(tmp_path / "m.onnx", spec=SPEC.replace("end2end", "yolox"))

        with pytest.raises(ModelError, match=r"head yolox with 2 classes at 64x32 expected .* got output \[1,2,6\]"):
            opened(path, "auto")
