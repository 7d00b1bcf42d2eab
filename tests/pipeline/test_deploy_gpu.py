"""deploy/Dockerfile.gpu and compose.gpu.yaml: the CPU's, but for what a GPU needs; and the versions fit together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from pipeline.config_file import load_config
from tests.gpu import preflight
from tests.pipeline.test_deploy import DEPLOY, ENVIRONMENT, ROOT, check_deployed

PINNED = re.compile(r"^([\w.-]+)==(\S+)$", re.MULTILINE)


def lines_of(name: str) -> list[str]:
    """A Dockerfile's instructions, a line each, without comments."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / name).read_text(), flags=re.MULTILINE)
    return [line for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines() if line]


def merged() -> dict[str, Any]:
    """Service vedette as compose sees both files: mappings merged, mounts by where they are mounted."""
    base, over = (
        yaml.safe_load((DEPLOY / name).read_text())["services"]["vedette"]
        for name in ("compose.yaml", "compose.gpu.yaml")
    )
    mounts = {volume.split(":")[1]: volume for volume in [*base["volumes"], *over["volumes"]]}
    return {**base, **over, "volumes": list(mounts.values())}


def test_image_differs_from_the_cpu_s_only_where_it_must() -> None:
    cpu, gpu = lines_of("Dockerfile"), lines_of("Dockerfile.gpu")
    started = r"--start-period=\d+s"

    def plain(lines: list[str]) -> list[str]:
        return [re.sub(started, "", line) for line in lines]

    only = [line for line in plain(gpu) if line not in plain(cpu)]
    assert [line.split()[0] for line in only] == ["ARG", "COPY", "RUN", "ENV"]
    missing = [line.split()[0] for line in plain(cpu) if line not in plain(gpu)]
    assert missing == ["COPY", "RUN", "ENV"]
    for same in ("USER 10001:10001", 'ENTRYPOINT ["vedette"]', "STOPSIGNAL SIGTERM"):
        assert same in gpu
    assert any(line.startswith("HEALTHCHECK") and "/healthz" in line for line in gpu)
    assert not [line for line in gpu if re.match(r"(ARG|ENV)\b.*(PASSWORD|TOKEN|SECRET)", line)]


def test_image_asks_the_nvidia_runtime_for_nvdec() -> None:
    (environment,) = (line for line in lines_of("Dockerfile.gpu") if line.startswith("ENV"))

    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video" in environment
    assert "HOME=/var/lib/vedette" in environment


def test_image_asks_for_a_driver_that_its_torch_runs_on() -> None:
    (environment,) = (line for line in lines_of("Dockerfile.gpu") if line.startswith("ENV"))

    (cuda,) = re.findall(r'NVIDIA_REQUIRE_CUDA="cuda>=(\d+)\.\d+"', environment)
    assert int(cuda) == preflight.CUDA // 1000
    assert f"nvidia-cudnn-cu{cuda}==" in (ROOT / "constraints/gpu.txt").read_text()


def test_image_copies_what_is_there_and_nothing_else_is_sent() -> None:
    ignored = (DEPLOY / "Dockerfile.gpu.dockerignore").read_text()
    assert ignored == (DEPLOY / "Dockerfile.dockerignore").read_text()
    allowed = {line.removeprefix("!") for line in ignored.splitlines() if line.startswith("!")}
    for line in lines_of("Dockerfile.gpu"):
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists()
                assert source.split("/")[0] in allowed


def test_versions_for_a_gpu_stand_in_the_place_of_the_cpu_s() -> None:
    """What the image and tests/gpu/run.sh make of both files pins each package once."""
    gpu = dict(PINNED.findall((ROOT / "constraints/gpu.txt").read_text()))
    left_out = re.compile("^(torch|cuda-|nvidia-|tensorrt)")
    assert f"'{left_out.pattern}'" in (DEPLOY / "Dockerfile.gpu").read_text()
    assert f"'{left_out.pattern}'" in (ROOT / "constraints/gpu.txt").read_text()
    for name in ("py311.txt", "py312.txt"):
        cpu = dict(PINNED.findall((ROOT / "constraints" / name).read_text()))
        assert not {package for package in cpu if not left_out.match(package)} & set(gpu)
        assert cpu["torch"].partition("+")[0] == gpu["torch"]
        assert cpu["cuda-bindings"] == gpu["cuda-bindings"]


def test_compose_gives_the_service_a_gpu_with_nvdec_and_no_other_right() -> None:
    service = merged()
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]

    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu", "compute", "utility", "video"]}
    assert (
        DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]
    ).resolve() == DEPLOY / "Dockerfile.gpu"
    assert service["image"] == "vedette-gpu"
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}
    assert service["volumes"] == [
        "./vedette.gpu.yaml:/opt/vedette/deploy/vedette.yaml:ro",
        "spool:/var/lib/vedette",
    ]
    over = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text())
    assert list(over) == ["services"]
    assert list(over["services"]) == ["vedette"]


def test_configuration_of_compose_loads_and_is_the_cpu_s_but_for_the_model() -> None:
    cpu, gpu = (load_config(DEPLOY / name, ENVIRONMENT) for name in ("vedette.yaml", "vedette.gpu.yaml"))

    check_deployed(gpu)
    assert gpu.model.gpu.decode == "gpu"
    assert Path(gpu.model.path).name == "vedette-n_640x384.onnx"  # a float file: torch takes no unsigned INT8
    assert (gpu.streams, gpu.sinks, gpu.track, gpu.http) == (cpu.streams, cpu.sinks, cpu.track, cpu.http)
