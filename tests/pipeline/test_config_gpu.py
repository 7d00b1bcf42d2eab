"""`model.gpu`: what is understood of it, what is refused, and how a run ends that names a GPU which is not there."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from engines.options import GpuOptions
from engines.runtimes.gpus import find_gpus
from pipeline.config_file import load_config, make_config, resolved, stream_fingerprint
from pipeline.config_schema import config_schema
from tests.support.bad_input import ENVIRON, GOOD
from vedette.cli.main import main
from vedette.errors import ConfigError

SHIPPED = Path(__file__).resolve().parents[2] / "engines/weights/vedette-n-seed_416x256.onnx"


def written(gpu: str, more: str = "") -> str:
    return GOOD.replace("score: 0.35", f"score: 0.35, gpu: {gpu}{more}")


def refused(text: str, folder: Path) -> tuple[str, ...]:
    path = folder / "site.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path, ENVIRON)
    return tuple(problem.removeprefix(f"{path}: ") for problem in error.value.problems)


def test_placement_is_read(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(written("{devices: [2, 0], engines: 2, contexts: 3, memory_mb: 6000}"))

    config = load_config(path, ENVIRON)

    assert config.model.gpu == GpuOptions(devices=(2, 0), engines=2, contexts=3, memory_mb=6000)
    assert yaml.safe_load(resolved(config))["model"]["gpu"]["devices"] == [2, 0]
    jsonschema.validate(yaml.safe_load(path.read_text())["model"]["gpu"], gpu_schema())


@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        ("{devices: 0}", "model.gpu.devices: expected a list, got 0"),
        ("{devices: []}", "model.gpu.devices: expected at least one, got an empty list"),
        ("{devices: [-1]}", "model.gpu.devices[0]: expected a whole number >= 0 and <= 63, got -1"),
        ("{devices: ['0']}", "model.gpu.devices[0]: expected a whole number >= 0 and <= 63, got '0'"),
        ("{contexts: 0}", "model.gpu.contexts: expected a whole number >= 1 and <= 8, got 0"),
        ("{engines: 9}", "model.gpu.engines: expected a whole number >= 1 and <= 8, got 9"),
        ("{memory_mb: 100}", "model.gpu.memory_mb: expected a whole number >= 256 and <= 999999, got 100"),
        ("{memory: 1000}", "model.gpu.memory: unknown key; did you mean 'memory_mb'?"),
        ("{decode: nvdec}", "model.gpu.decode: expected 'cpu' or 'gpu', got 'nvdec'"),
        ("cuda", "model.gpu: expected a mapping, got 'cuda'"),
    ],
)
def test_what_no_gpu_can_be_given_is_refused_by_loader_and_schema(tmp_path: Path, gpu: str, said: str) -> None:
    (problem,) = refused(written(gpu), tmp_path)

    assert problem.startswith(said)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(gpu), gpu_schema())


def test_gpu_that_is_named_twice_and_one_for_a_cpu_s_backend_are_refused(tmp_path: Path) -> None:
    assert refused(written("{devices: [1, 0, 1]}", ", backend: openvino"), tmp_path) == (
        "model.gpu.devices[2]: expected each GPU once, got 1 again",
        "model.gpu: expected none with backend: openvino, which runs on CPUs",
    )


def test_pictures_may_stay_on_several_gpus(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(written("{devices: [1, 0], decode: gpu}"))

    assert load_config(path, ENVIRON).model.gpu == GpuOptions(devices=(1, 0), decode="gpu")


def test_placement_changes_no_result() -> None:
    values = {
        "version": 1,
        "model": {"path": "m.onnx"},
        "streams": [{"id": "a", "url": "a.mp4"}],
        "sinks": [{"kind": "jsonl", "path": "out.jsonl"}],
    }
    placed = values | {"model": {"path": "m.onnx", "gpu": {"contexts": 4}}}
    plain, other = (make_config(given, name="test", base=Path("/")) for given in (values, placed))

    assert stream_fingerprint(plain, plain.streams[0]) == stream_fingerprint(other, other.streams[0])


@pytest.mark.skipif(bool(find_gpus()), reason="there is a GPU")
@pytest.mark.parametrize(
    ("backend", "gpu", "said"),
    [
        ("auto", "{devices: [0]}", "model.gpu.devices: expected a GPU here, but there is no NVIDIA driver"),
        ("torch", "{devices: [0]}", "model.gpu.devices: expected a GPU here, but there is no NVIDIA driver"),
        ("auto", "{decode: gpu}", "model.gpu: no GPU can run "),
        ("auto", "{devices: [1, 0], decode: gpu}", "model.gpu.devices: expected a GPU here, but there is no NVIDIA"),
        ("torch", "{decode: gpu}", "model.gpu: torch 2"),
    ],
)
def test_run_that_asks_for_a_gpu_without_a_driver_ends_as_a_wrong_configuration_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: str, gpu: str, said: str
) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        f"version: 1\nmodel: {{path: {SHIPPED}, backend: {backend}, gpu: {gpu}}}\n"
        f"streams: [{{id: a, url: {tmp_path}/a.mp4}}]\nsinks: [{{kind: jsonl, path: {tmp_path}/out.jsonl}}]\n"
    )

    assert main(["run", str(path), "--log-level", "error"]) == 2

    line, *hint = capsys.readouterr().err.splitlines()
    assert line.startswith(f"GpuError: {said}")
    assert len(hint) <= 1


def gpu_schema() -> dict[str, object]:
    schema = config_schema()
    return {**schema["$defs"]["GpuOptions"], "$defs": schema["$defs"]}
