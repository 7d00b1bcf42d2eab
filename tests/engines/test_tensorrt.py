"""TensorRT without a GPU: building (TensorRT-RTX does that here), engine files, the cache, and what is refused.

Running an engine needs a GPU: tests/gpu.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.options import ModelOptions
from engines.quantize.writer import Form
from engines.runtimes import open_engine, read_model_file, tensorrt
from engines.runtimes.engine_cache import default_folder, engine_path, ensure_engine
from engines.runtimes.engine_file import Manifest, Wanted, manifest_of, read_engine, wanted_of, write_engine
from engines.runtimes.gpus import Gpu, find_gpus
from engines.runtimes.onnx_numbers import FLOAT, Numbers
from engines.runtimes.tensorrt import deserialized, precision_of, refuse_stranger
from engines.runtimes.tensorrt_api import TensorRt, load
from engines.runtimes.tensorrt_build import Batches, build_plan
from engines.spec import ModelFile, ModelSpec, find_spec
from tests.support.quantized_models import quantized_model, quantized_seed
from tests.support.tiny_models import HEIGHT, WIDTH, mean_model
from vedette.errors import EngineError, MissingExtraError, ModelError

SHIPPED = Path(__file__).resolve().parents[2] / "engines/weights/vedette-n-seed_640x384.onnx"
SM86 = (8, 6)
A2000 = Gpu(name="NVIDIA RTX A2000", capability=SM86)
NO_GPU = pytest.mark.skipif(bool(find_gpus()), reason="there is a GPU: see tests/gpu")
ONE = Batches(least=1, best=1, most=1)


@pytest.fixture(scope="module")
def api() -> TensorRt:
    return load("tensorrt_rtx")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[Form, Path]:
    return quantized_seed(tmp_path_factory.mktemp("seeds"))


@pytest.fixture
def mean(tmp_path: Path) -> tuple[ModelFile, ModelSpec]:
    file = read_model_file(mean_model(tmp_path / "mean.onnx", batch="n"))
    return file, find_spec(file).spec


class TestBuild:
    def test_shipped_network_is_built_and_progress_shown(self, api: TensorRt) -> None:
        steps: list[tuple[str, int, int]] = []

        plan = build_plan(
            api,
            SHIPPED,
            size_wh=(640, 384),
            batches=ONE,
            capability=SM86,
            progress=lambda phase, done, of: steps.append((phase, done, of)),
        )

        assert len(plan.data) > 5_000_000
        assert [str(tensor) for tensor in (*plan.inputs, *plan.outputs)] == [
            "images float32[1,3,384,640]",
            "boxes float32[1,5040,4]",
            "scores float32[1,5040,3]",
        ]
        shares = [done / of for _, done, of in steps]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0.0, 1.0)
        assert len({phase for phase, _, _ in steps}) > 3

    def test_signed_int8_form_of_the_shipped_network_is_built(self, api: TensorRt, seeds: dict[Form, Path]) -> None:
        plan = build_plan(api, seeds["signed"], size_wh=(416, 256), batches=ONE, capability=SM86)

        assert len(plan.data) > 5_000_000

    def test_free_batch_gets_a_profile(self, api: TensorRt, mean: tuple[ModelFile, ModelSpec]) -> None:
        batches = Batches(least=1, best=4, most=8)

        plan = build_plan(api, Path(mean[0].path), size_wh=(WIDTH, HEIGHT), batches=batches, capability=SM86)

        assert plan.inputs[0].shape == (-1, 3, HEIGHT, WIDTH)

    def test_unsigned_int8_file_is_built_as_its_signed_form(self, api: TensorRt, seeds: dict[Form, Path]) -> None:
        plan = build_plan(api, seeds["unsigned"], size_wh=(416, 256), batches=ONE, capability=SM86)

        assert len(plan.data) > 5_000_000

    def test_file_of_both_forms_is_refused(self, api: TensorRt, tmp_path: Path) -> None:
        model = onnx.load(quantized_model(tmp_path / "m.onnx", "unsigned"))
        zeros = [numpy_helper.from_array(np.array(0, np.int8), "signed_zero")]
        model.graph.initializer.extend(zeros)
        for node in model.graph.node:
            if node.op_type in {"QuantizeLinear", "DequantizeLinear"} and node.input[0].startswith("c"):
                node.input[2] = "signed_zero"
        onnx.save(model, tmp_path / "both.onnx")

        with pytest.raises(ModelError, match="its INT8 activations are signed and unsigned; expected one form"):
            build_plan(api, tmp_path / "both.onnx", size_wh=(WIDTH, HEIGHT), batches=ONE, capability=SM86)

    def test_node_that_is_not_taken_is_named(self, api: TensorRt, tmp_path: Path) -> None:
        path = quantized_model(tmp_path / "shifted.onnx", "signed", zero_point=3)

        with pytest.raises(ModelError, match=r"shifted\.onnx: TensorRT-RTX \S+ does not take it: node \S+") as error:
            build_plan(api, path, size_wh=(WIDTH, HEIGHT), batches=ONE, capability=SM86)
        assert "zero point" in str(error.value).lower()
        assert "\n" not in str(error.value)

    def test_operator_that_is_unknown_is_named(self, api: TensorRt, tmp_path: Path) -> None:
        graph = helper.make_graph(
            [helper.make_node("Frobnicate", ["x"], ["y"], name="odd_one")],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])],
        )
        path = tmp_path / "m.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))

        with pytest.raises(ModelError, match=r"node odd_one \(Frobnicate\)"):
            build_plan(api, path, size_wh=(8, 8), batches=ONE, capability=SM86)

    def test_gpu_that_it_does_not_build_for_is_refused(self, api: TensorRt, mean: tuple[ModelFile, ModelSpec]) -> None:
        with pytest.raises(EngineError, match=r"does not build for sm_90, expected one of SM120, "):
            build_plan(api, Path(mean[0].path), size_wh=(WIDTH, HEIGHT), batches=ONE, capability=(9, 0))

    def test_half_precision_is_the_file_s(self, api: TensorRt, tmp_path: Path) -> None:
        """Strongly typed: a network of half precision stays one."""
        graph = helper.make_graph(
            [helper.make_node("Conv", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1, 4, 6, 6])],
            [numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float16), "w")],
        )
        path = tmp_path / "half.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))

        plan = build_plan(api, path, size_wh=(8, 8), batches=ONE, capability=SM86)

        assert [tensor.dtype for tensor in (*plan.inputs, *plan.outputs)] == ["float16", "float16"]


class TestCache:
    @pytest.fixture
    def ensure(
        self, api: TensorRt, mean: tuple[ModelFile, ModelSpec], tmp_path: Path
    ) -> Callable[..., tuple[Manifest, bytes]]:
        """Ask the cache for the engine; `builds` of the function counts."""

        def ask(file: ModelFile | None = None, **changed: object) -> tuple[Manifest, bytes]:
            wanted = msgspec.structs.replace(self.wanted(api, file or mean[0]), **changed)
            return ensure_engine(api, file or mean[0], mean[1], wanted, capability=SM86, folder=tmp_path / "cache")

        return ask

    @staticmethod
    def wanted(api: TensorRt, file: ModelFile) -> Wanted:
        return wanted_of(file, api.flavour, api.version, A2000, A2000.sm, Batches(least=1, best=2, most=2), "fp32")

    def test_engine_is_built_once_and_found_again(
        self,
        ensure: Callable[..., tuple[Manifest, bytes]],
        caplog: pytest.LogCaptureFixture,
        tmp_path: Path,
        api: TensorRt,
        mean: tuple[ModelFile, ModelSpec],
    ) -> None:
        caplog.set_level(logging.INFO, "engines")
        first = ensure()
        assert "builds an engine of" in caplog.text
        assert "TensorRT: " in caplog.text
        caplog.clear()

        assert ensure() == first

        assert caplog.text == ""
        (path,) = (tmp_path / "cache").iterdir()
        assert path == engine_path(tmp_path / "cache", mean[0], self.wanted(api, mean[0]))
        assert path.name.startswith("mean-")
        assert re.search(r"-tensorrt-rtx-sm_86-[0-9a-f]{8}-fp32-b2\.engine$", path.name)

    def test_gpus_of_one_sm_have_an_engine_each(
        self, ensure: Callable[..., tuple[Manifest, bytes]], caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        """They wrote over each other's, and each start built one again."""
        caplog.set_level(logging.INFO, "engines")
        first, second = ensure(), ensure(gpu="NVIDIA RTX A4000")
        caplog.clear()

        assert (ensure(), ensure(gpu="NVIDIA RTX A4000")) == (first, second)

        assert caplog.text == ""
        assert len(list((tmp_path / "cache").iterdir())) == 2
        assert ensure(gpu="")[0].gpu == ""  # any GPU of the sm runs it
        assert len(list((tmp_path / "cache").glob("*-tensorrt-rtx-sm_86-fp32-b2.engine"))) == 1

    @pytest.mark.parametrize(
        ("field", "value", "said"),
        [
            ("version", "9.9", r"version 1\.\S+, now 9\.9"),
            ("batches", (1, 1, 2), "batches 1-2-2, now 1-1-2"),
            ("model_sha256", "0" * 64, "model [0-9a-f]{12}…, now 000000000000…"),
        ],
    )
    def test_engine_is_built_again_when_something_differs_and_the_log_says_what(
        self,
        ensure: Callable[..., tuple[Manifest, bytes]],
        caplog: pytest.LogCaptureFixture,
        tmp_path: Path,
        field: str,
        value: object,
        said: str,
    ) -> None:
        caplog.set_level(logging.INFO, "engines")
        ensure()
        caplog.clear()

        manifest, _ = ensure(**{field: value})

        assert getattr(manifest, field) == value
        assert re.search(f" is built again: {said}", caplog.text)
        assert len(list((tmp_path / "cache").iterdir())) == 1

    @pytest.mark.parametrize("damage", ["cut", "flipped", "manifest", "foreign", "empty"])
    def test_damaged_engine_is_noticed_and_built_again(
        self,
        ensure: Callable[..., tuple[Manifest, bytes]],
        caplog: pytest.LogCaptureFixture,
        tmp_path: Path,
        damage: str,
    ) -> None:
        good = ensure()
        (path,) = (tmp_path / "cache").iterdir()
        whole = path.read_bytes()
        path.write_bytes(
            {
                "cut": whole[:-100],
                "flipped": whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:],
                "manifest": whole[:40] + b"}}" + whole[42:],
                "foreign": b"a plan of someone else's",
                "empty": b"",
            }[damage]
        )

        again, _ = ensure()

        assert msgspec.structs.asdict(again).keys() == msgspec.structs.asdict(good[0]).keys()
        assert "it is built again" in caplog.text
        read_engine(path)

    def test_half_precision_is_cast_from_the_float_file(self, api: TensorRt, tmp_path: Path) -> None:
        file = read_model_file(SHIPPED)
        spec = find_spec(file).spec
        plans = {}
        for precision in ("fp32", "fp16"):
            wanted = wanted_of(file, api.flavour, api.version, None, "sm_86", ONE, precision)
            plans[precision] = ensure_engine(api, file, spec, wanted, capability=SM86, folder=tmp_path)

        whole, half = plans["fp32"], plans["fp16"]
        assert (whole[0].precision, half[0].precision) == ("fp32", "fp16")
        assert half[0].model_sha256 == whole[0].model_sha256 == file.sha256
        assert half[0].plan_bytes < 0.7 * whole[0].plan_bytes
        assert {tensor.name for tensor in half[0].outputs} == {"boxes", "scores"}

    def test_failed_build_leaves_nothing(self, api: TensorRt, tmp_path: Path) -> None:
        file = read_model_file(quantized_model(tmp_path / "shifted.onnx", "signed", zero_point=3))
        with pytest.raises(ModelError, match="does not take it"):
            ensure_engine(
                api,
                file,
                find_spec(file).spec,
                self.wanted(api, file),
                capability=SM86,
                folder=tmp_path / "cache",
            )

        assert not list((tmp_path / "cache").glob("*"))

    def test_folder_that_cannot_be_written_is_named(
        self, api: TensorRt, mean: tuple[ModelFile, ModelSpec], tmp_path: Path
    ) -> None:
        (tmp_path / "cache").write_text("a file where the folder should be")
        with pytest.raises(EngineError, match=r"cache/mean-\S+: cannot be (read|written): "):
            ensure_engine(api, mean[0], mean[1], self.wanted(api, mean[0]), capability=SM86, folder=tmp_path / "cache")

    def test_folder_is_the_user_s_cache(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert default_folder() == Path("/somewhere/vedette/engines")
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert default_folder() == Path.home() / ".cache/vedette/engines"


def manifest(**changed: object) -> Manifest:
    made = Manifest(
        model="yolo_nas_s.onnx",
        model_sha256="a" * 64,
        flavour="TensorRT",
        version="10.3",
        gpu="NVIDIA RTX A2000",
        sm="sm_86",
        batches=(1, 4, 8),
        precision="int8",
        inputs=(),
        outputs=(),
        spec=msgspec.convert(
            {"name": "s", "head": "yolo_nas", "classes": ["a"], "input": {"size": [640, 640]}}, ModelSpec
        ),
        plan_bytes=0,
        plan_sha256="",
    )
    return msgspec.structs.replace(made, **changed)


class TestEngineFile:
    @pytest.fixture
    def engine(self, api: TensorRt, mean: tuple[ModelFile, ModelSpec], tmp_path: Path) -> Path:
        wanted = wanted_of(mean[0], api.flavour, api.version, None, "sm_86", Batches(least=1, best=2, most=2), "fp32")
        spec = msgspec.structs.replace(mean[1], gate={"ap": 0.4}, unverified=True)
        made, plan = ensure_engine(api, mean[0], spec, wanted, capability=SM86, folder=tmp_path / "cache")
        path = tmp_path / "mine.engine"
        write_engine(path, made, plan)
        return path

    def test_it_describes_itself_as_a_model_file_does(self, engine: Path) -> None:
        """`vedette model describe` works on it; the gate's report has come along."""
        file = read_model_file(engine)
        spec = find_spec(file).spec

        assert [str(tensor) for tensor in file.inputs] == [f"images float32[?,3,{HEIGHT},{WIDTH}]"]
        assert (spec.name, spec.gate, spec.unverified, spec.sha256) == ("tiny", {"ap": 0.4}, True, file.sha256)
        assert manifest_of(engine).model == "mean.onnx"

    @NO_GPU
    def test_without_a_gpu_it_is_refused_in_one_line(self, engine: Path) -> None:
        with pytest.raises(EngineError) as error:
            open_engine(ModelOptions(path=str(engine)), now_ns=time.monotonic_ns)

        assert str(error.value).startswith(f"{engine} was built for TensorRT-RTX 1.")
        assert ", sm_86; found TensorRT-RTX 1." in str(error.value)
        assert str(error.value).endswith(", no GPU")
        assert len(error.value.lines()) == 2

    def test_damaged_file_is_refused(self, engine: Path) -> None:
        engine.write_bytes(engine.read_bytes()[:-10])

        with pytest.raises(
            ModelError, match=r"mine\.engine: is damaged: expected a plan of \d+ bytes .*, got \d+ bytes"
        ):
            open_engine(ModelOptions(path=str(engine)), now_ns=time.monotonic_ns)

    @NO_GPU
    def test_plan_that_cannot_be_taken_is_one_line(self, api: TensorRt, engine: Path) -> None:
        _, plan = read_engine(engine)

        with pytest.raises(EngineError, match=r"mine\.engine: TensorRT-RTX \S+ does not take the engine: \S") as error:
            deserialized(api, plan, "mine.engine")
        assert "\n" not in str(error.value)
        assert "CUDA" in str(error.value)

    @pytest.mark.parametrize(
        ("changed", "gpu", "fits"),
        [
            ({}, A2000, True),
            ({"gpu": ""}, A2000, True),
            ({"version": "10.7"}, A2000, False),
            ({"flavour": "TensorRT-RTX"}, A2000, False),
            ({}, Gpu(name="NVIDIA RTX A4000", capability=(8, 6)), False),
            ({"gpu": ""}, Gpu(name="NVIDIA H100", capability=(9, 0)), False),
            ({}, None, False),
        ],
    )
    def test_engine_of_another_version_or_gpu_is_refused(
        self, changed: dict[str, object], gpu: Gpu | None, fits: bool
    ) -> None:
        here = TensorRt(module=None, flavour="TensorRT", version="10.3")
        made = manifest(**changed)
        if fits:
            refuse_stranger(Path("s.engine"), made, here, gpu)
            return
        with pytest.raises(
            EngineError, match=r"s\.engine was built for TensorRT\S* 10\.\d, sm_86.*; found TensorRT 10\.3"
        ):
            refuse_stranger(Path("s.engine"), made, here, gpu)

    def test_refusal_reads_as_in_the_book(self) -> None:
        here = TensorRt(module=None, flavour="TensorRT", version="10.7")
        with pytest.raises(EngineError) as error:
            refuse_stranger(Path("yolo_nas_s.plan"), manifest(gpu=""), here, Gpu(name="NVIDIA H100", capability=(9, 0)))

        assert error.value.lines() == [
            "GpuError: yolo_nas_s.plan was built for TensorRT 10.3, sm_86; found TensorRT 10.7, sm_90 (NVIDIA H100)",
            "  hint: give yolo_nas_s.onnx instead, from which an engine for this machine is built",
        ]


class TestOpen:
    @NO_GPU
    def test_without_a_gpu_the_backend_is_refused_in_one_line(self) -> None:
        with pytest.raises(EngineError, match="needs an NVIDIA GPU and its driver; found none"):
            open_engine(ModelOptions(path=str(SHIPPED), backend="tensorrt"), now_ns=time.monotonic_ns)

    def test_gpu_that_is_not_supported_is_named(self, monkeypatch: pytest.MonkeyPatch, api: TensorRt) -> None:
        monkeypatch.setattr(tensorrt, "find_gpus", lambda: (Gpu(name="NVIDIA H100", capability=(9, 0)),))
        monkeypatch.setattr(tensorrt, "load", lambda: api)

        with pytest.raises(EngineError, match=r"does not run on NVIDIA H100 \(sm_90\)") as error:
            open_engine(ModelOptions(path=str(SHIPPED), backend="tensorrt"), now_ns=time.monotonic_ns)
        assert error.value.hint == "model.backend: torch runs on it"

    def test_package_that_is_missing_is_named_with_its_extra(self) -> None:
        with pytest.raises(MissingExtraError, match="tensorrt_none cannot be imported") as error:
            load("tensorrt_none")
        assert error.value.hint == "pip install 'vedette[gpu]'"

    @pytest.mark.parametrize(
        ("asked", "numbers", "taken"),
        [
            ("auto", FLOAT, "fp16"),
            ("fp16", FLOAT, "fp16"),
            ("fp32", FLOAT, "fp32"),
            ("auto", Numbers(floats="float32", activations="signed", operators={}), "int8"),
        ],
    )
    def test_precision(self, asked: str, numbers: Numbers, taken: str) -> None:
        options = msgspec.convert({"path": "m.onnx", "precision": asked}, ModelOptions)

        assert precision_of(options, numbers) == taken

    def test_bf16_is_refused(self) -> None:
        with pytest.raises(ModelError, match="bf16 is not to be had from TensorRT"):
            precision_of(ModelOptions(path="m.onnx", precision="bf16"), FLOAT)
