"""Every configuration in configs/ is started, and publishes from each of its streams.

Only what lies outside is put in its place: the cameras' and Redis's ports, the clips, the folder for output.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engines.runtimes.gpus import find_gpus
from engines.weights import find_model
from tests.support.media import make_clip
from tests.support.process import VedetteProcess
from tests.support.redis_server import RedisServer, free_port
from tests.support.rtsp import RtspServer
from tests.support.system import ROOT, check_status, check_summary, http_get, http_json, read_redis
from vedette import Subscriber
from vedette.messages import FrameMessage, decode_message

pytestmark = pytest.mark.system

CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))
PASSWORD = "p@ss:w/rd"


class Outside:
    """Servers on ports of their own, and a configuration changed to name them."""

    def __init__(self, folder: Path, redis: RedisServer, cameras: RtspServer) -> None:
        self.folder = folder
        self.redis = redis
        self.cameras = cameras
        self.http_port = free_port()

    def place(self, name: str) -> Path:
        text = (ROOT / "configs" / name).read_text()
        for given, ours in {
            "127.0.0.1:8554": f"127.0.0.1:{self.cameras.port}",
            "127.0.0.1:6379": f"127.0.0.1:{self.redis.port}",
            "127.0.0.1:8080": f"127.0.0.1:{self.http_port}",
            "../engines/weights/": f"{ROOT}/engines/weights/",
        }.items():
            text = text.replace(given, ours)
        path = self.folder / "configs" / name
        (path.parent / "clips").mkdir(parents=True)
        path.write_text(text)
        for clip in ("archive", "lobby"):
            make_clip(path.parent / "clips" / f"{clip}.mp4", frames=30, size_wh=(320, 240))
        return path


@pytest.fixture
def outside(
    tmp_path: Path, redis_server: RedisServer, rtsp_servers: Callable[..., RtspServer], painted_h264: Path
) -> Outside:
    cameras = rtsp_servers(user="user", password=PASSWORD)
    for mount in ("gate", "yard"):
        cameras.mount(mount, painted_h264, fps=25)
    return Outside(tmp_path, redis_server, cameras)


def test_every_configuration_has_a_test_here() -> None:
    assert CONFIGS == ["bench.yaml", "cameras.yaml", "file.yaml", "gpu.yaml", "synthetic.yaml"]


@pytest.mark.parametrize(
    ("name", "streams"), [("cameras.yaml", ["gate", "yard"]), ("synthetic.yaml", ["market", "midnight", "morning"])]
)
def test_a_configuration_with_cameras_publishes_to_redis(outside: Outside, name: str, streams: list[str]) -> None:
    with VedetteProcess(outside.place(name), env={"GATE_PASSWORD": PASSWORD}) as vedette:
        with Subscriber(outside.redis.url, block_s=0.1) as subscriber:
            seen: set[str] = set()
            for item in subscriber.frames(start="0"):
                seen.add(item.stream)
                if seen == set(streams):
                    break
        status = http_json(f"http://127.0.0.1:{outside.http_port}/status")
        check_status(status)
        assert http_get(f"http://127.0.0.1:{outside.http_port}/healthz")[0] == 200
        assert vedette.terminate() == 0, vedette.log

    ledger = check_summary(vedette.summary)
    assert sorted(ledger.streams) == streams
    contents = read_redis(outside.redis)
    assert sum(len(entries) for entries in contents.frames.values()) == ledger.published
    assert len(contents.events) == ledger.events


def test_the_configuration_with_files_ends_with_them(outside: Outside) -> None:
    with VedetteProcess(outside.place("file.yaml")) as vedette:
        assert vedette.wait() == 0, vedette.log

    ledger = check_summary(vedette.summary)
    assert ledger.streams["archive"].published == ledger.streams["archive"].decoded == 30
    lobby = ledger.streams["lobby"]
    assert lobby.decoded == 30
    assert lobby.published > 0
    messages = [
        decode_message(line) for line in (outside.folder / "out/file/detections.jsonl").read_bytes().splitlines()
    ]
    frames = [message for message in messages if isinstance(message, FrameMessage)]
    assert len(frames) == ledger.published
    archive = [frame for frame in frames if frame.stream == "archive"]
    assert archive[0].wall_ns == 1_795_197_600_000_000_000  # 2026-11-20T18:00:00Z
    assert {frame.clock for frame in archive} == {"file"}


def test_the_configuration_of_the_benchmark_publishes_to_both_sinks(outside: Outside) -> None:
    path = outside.place("bench.yaml")
    env = {"CLIP": str(path.parent / "clips/archive.mp4"), "MODEL": str(find_model("vedette-n"))}
    with VedetteProcess(path, env=env) as vedette:
        assert vedette.wait() == 0, vedette.log

    ledger = check_summary(vedette.summary)
    assert ledger.streams["clip"].published == 30
    assert {name: (sink.accepted_frames, sink.dropped) for name, sink in ledger.sinks.items()} == {
        "redis": (30, {}),
        "jsonl": (30, {}),
    }


def test_the_configuration_for_a_gpu_publishes_there_and_elsewhere_says_what_is_missing(outside: Outside) -> None:
    path = outside.place("gpu.yaml")
    env = {"CLIP": str(path.parent / "clips/archive.mp4"), "MODEL": str(find_model("vedette-n-float"))}
    with VedetteProcess(path, env=env) as vedette:
        status = vedette.wait()

    if find_gpus():
        assert status == 0, vedette.log
        assert check_summary(vedette.summary).published == 16 * 30
    else:
        assert status == 2
        assert "GpuError: model.gpu: no GPU can run" in vedette.log
        assert "leave model.gpu out to run it on the CPU" in vedette.log
