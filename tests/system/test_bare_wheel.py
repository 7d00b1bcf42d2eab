"""The wheel without extras: messages, client and command line on a machine that has no OpenCV, PyAV or OpenVINO.

The wheel is built from this checkout and installed into a new environment, together with what its own metadata
requires and nothing else. Those packages are taken from the environment that runs the tests, so no registry is asked.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.published import announce, publish_events, publish_frames
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
HEAVY = ("cv2", "av", "openvino", "onnxruntime", "numpy", "norfair", "rich", "starlette", "prometheus_client", "torch")
CONFIG = """\
version: 1
model: {path: model.onnx}
streams: [{id: gate, url: "rtsp://127.0.0.1:9/gate"}]
sinks: [{kind: redis, url: "URL"}]
"""


@dataclass(frozen=True)
class Bare:
    """An environment with the bare wheel in it."""

    directory: Path
    wheel: Path

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one of its commands, far from the checkout; `environment` is all it gets beside PATH."""
        path = os.pathsep.join([str(self.directory / "bin"), "/usr/bin", "/bin"])
        return subprocess.run(
            [self.directory / "bin" / command[0], *command[1:]],
            cwd=self.directory,
            env={"PATH": path, "LANG": "C.UTF-8", **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Bare:
    work = tmp_path_factory.mktemp("bare")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(work / "dist"), str(ROOT)]
    subprocess.run([*pip, *build], check=True, timeout=300)
    (wheel,) = (work / "dist").glob("vedette-*.whl")

    directory = work / "venv"
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    answer = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    site = Path(answer.stdout.strip())
    for name in sorted(_required_by(wheel)):
        _copy(importlib.metadata.distribution(name), site)
    install = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *install], check=True, timeout=300)
    subprocess.run([*pip, "--python", str(python), "check"], check=True, timeout=120)
    return Bare(directory=directory, wheel=wheel)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Frames of one stream and two events, put there by a plain Redis client."""
    server = RedisServer(directory=Path(tmp_path_factory.mktemp("redis")), persistence="none").start()
    with server.client() as client:
        announce(client, "gate")
        publish_frames(client, 1, 2)
        publish_events(client, 1, 2)
    yield server
    server.kill()


def _required_by(wheel: Path) -> set[str]:
    """The distributions that the wheel's metadata requires without any extra, and what those require in turn."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        requirements = BytesParser().parsebytes(archive.read(name)).get_all("Requires-Dist", [])
    found: set[str] = set()
    while requirements:
        requirement = Requirement(requirements.pop())
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        requirements += importlib.metadata.requires(name) or []
    return found


def _copy(distribution: importlib.metadata.Distribution, site: Path) -> None:
    """Put an installed distribution into another environment, except for its scripts."""
    for file in distribution.files or []:
        source = Path(str(file.locate()))
        if ".." not in file.parts and source.is_file():
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def test_nothing_heavy_comes_with_it(bare: Bare) -> None:
    code = f"import importlib.util as u; print([name for name in {HEAVY!r} if u.find_spec(name)])"

    assert bare.run("python", "-c", code).stdout.strip() == "[]"


def test_the_wheel_holds_the_schema_the_types_and_the_licence_and_no_tests(bare: Bare) -> None:
    with zipfile.ZipFile(bare.wheel) as archive:
        names = archive.namelist()

    assert "vedette/schema/messages-v1.json" in names
    assert "vedette/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "vedette",
        "pipeline",
        "stages",
        "engines",
    }


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_a_program_subscribes_with_it(kind: str, bare: Bare, server: RedisServer) -> None:
    threads = """
import sys
from vedette import Subscriber
with Subscriber() as subscriber:
    print(list(subscriber.streams()), [item.message.n for item in subscriber.frames("gate", start="0", idle_s=0)])
    print([item.message.class_ for item in subscriber.events(start="0", idle_s=0)])
print(sorted(name for name in sys.modules if name in HEAVY))
"""
    asyncio = """
import asyncio, sys
from vedette import AsyncSubscriber
async def main():
    async with AsyncSubscriber() as subscriber:
        frames = [item.message.n async for item in subscriber.frames("gate", start="0", idle_s=0)]
        print(list(await subscriber.streams()), frames)
        print([item.message.class_ async for item in subscriber.events(start="0", idle_s=0)])
asyncio.run(main())
print(sorted(name for name in sys.modules if name in HEAVY))
"""
    code = f"HEAVY = {HEAVY!r}\n" + {"threads": threads, "asyncio": asyncio}[kind]

    ended = bare.run("python", "-c", code, VEDETTE_REDIS_URL=server.url)

    assert ended.stderr == ""
    assert ended.stdout.splitlines() == ["['gate'] [1, 2]", "['car', 'car']", "[]"]


def test_tail_runs_from_a_url_and_from_a_configuration(bare: Bare, server: RedisServer) -> None:
    config = bare.directory / "site.yaml"
    config.write_text(CONFIG.replace("URL", server.url))
    for where in (["--redis", server.url], ["--config", str(config)]):
        ended = bare.run("vedette", "tail", "gate", "--from", "start", "--count", "1", "--json", *where)

        assert (ended.returncode, ended.stderr) == (0, "")
        assert json.loads(ended.stdout)["message"]["n"] == 1


def test_help_runs_and_names_every_command(bare: Bare) -> None:
    ended = bare.run("vedette", "--help")

    assert (ended.returncode, ended.stderr) == (0, "")
    for command in ("run", "check", "tail", "annotate", "synth", "bench", "model"):
        assert f"\n    {command} " in ended.stdout
        assert bare.run("vedette", command, "--help").returncode == 0


@pytest.mark.parametrize("command", ["check", "run"])
def test_what_needs_more_names_its_extra(command: str, bare: Bare, server: RedisServer) -> None:
    config = bare.directory / "site.yaml"
    config.write_text(CONFIG.replace("URL", server.url))

    ended = bare.run("vedette", command, str(config))

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("MissingExtraError: ")
    assert "vedette[cpu]" in ended.stderr
    assert "Traceback" not in ended.stderr
