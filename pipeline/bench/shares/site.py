"""The servers, and the process under judgement on cores of its own.

A Redis, RTSP servers (GStreamer) and proxies live on the other cores, together with the subscriber. One life of
`vedette run` at a time, with two threads of the smaller shipped model. `with ShareSite(...) as site:` kills all of it
at the end.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from engines.weights import find_model
from pipeline.bench.child import BenchError
from pipeline.bench.faults.child import Life
from pipeline.bench.faults.footage import make_footage
from pipeline.bench.faults.ports import HOST
from pipeline.bench.faults.proxy import Proxies, Proxy
from pipeline.bench.faults.redis_server import RedisServer
from pipeline.bench.faults.rtsp_server import RtspServer, check_parts
from pipeline.bench.faults.subscriber import FaultSubscriber
from pipeline.bench.faults.warden import Warden
from pipeline.bench.shares.cores import Cores, on_cores
from pipeline.bench.shares.footage import long_file
from pipeline.bench.shares.view import RTCP
from pipeline.status import Status
from stages.types import Clock
from vedette.messages import FrameMessage

MODEL = "vedette-n-416"
THREADS = 2
_PASSWORD = "r3dis-of-the-measurement"
_SCENES = 4
_MAXLEN = 20_000
_TIMEOUT_S = 4
_LOOK_S = 0.05
_START_S = 60.0
_FAILED = 3
# What a start leaves behind: pictures that came in one burst, caches that are cold (guess).
_SETTLE_S = 3.0
_decoder = msgspec.json.Decoder(Status)


class ShareSite:
    """Servers and process. Everything is called by one thread."""

    def __init__(self, folder: Path, cores: Cores, clock: Clock, model: str = MODEL) -> None:
        """`model`: the name of a shipped one, or a file."""
        self._folder = folder
        self._model = find_model(model)
        self._cores = cores
        self._clock = clock
        self._never = threading.Event()
        self._servers: list[RtspServer] = []
        self._judged: Life | None = None
        self._configs = 0
        self._stack = contextlib.ExitStack()
        self.longest_lapse_ns = 0

    def __enter__(self) -> ShareSite:
        check_parts()
        with contextlib.ExitStack() as opened:
            opened.enter_context(on_cores(self._cores.others))
            self._watch = opened.enter_context(Warden(self._folder)).watch
            self._redis = RedisServer(self._folder / "redis", _PASSWORD, watch=self._watch)
            opened.callback(self._kill_all)
            self._proxies = opened.enter_context(Proxies())
            footage = make_footage(self._folder / "footage", _SCENES)
            self._scenes = [large for large, _ in footage.cameras]
            self._clip = footage.file
            self._redis.start()
            self._as_it_comes()
            self._stack = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _kill_all(self) -> None:
        if self._judged is not None:
            self._judged.abandon()
        for server in self._servers:
            server.kill()
        self._redis.kill()

    def _as_it_comes(self) -> None:
        """Redis's own default: a disk that is slow now and then is no matter of this measurement."""
        client = self._redis.client()
        try:
            client.config_set("appendfsync", "everysec")
        finally:
            client.close()

    # ── servers ──────────────────────────────────────────────────────────────────────────────────────────────────

    def rtsp_server(self) -> RtspServer:
        """One more server process."""
        server = RtspServer(watch=self._watch)
        self._servers.append(server)
        return server.start()

    def mount(self, server: RtspServer, name: str, *, fps: float, phase: float) -> None:
        number = int(name.rpartition("-")[2])
        server.mount(name, self._scenes[number % len(self._scenes)], fps=fps, phase=phase)

    def proxy(self, server: RtspServer, rng: random.Random) -> Proxy:
        return self._proxies.add(server.port, rng)

    def file(self, frames: int) -> Path:
        """A file of so many pictures, of the cameras' kind."""
        return long_file(self._clip, self._folder / f"{frames}.mkv", frames)

    def subscriber(self, streams: Sequence[str]) -> FaultSubscriber:
        return FaultSubscriber(lambda: (self._redis, 0), streams, self._clock)

    # ── the process ──────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, streams: Sequence[dict[str, Any]]) -> None:
        """Start `vedette run` with these streams on its cores, and wait until it is ready. Raises ChildError."""
        self._configs += 1
        sink = {
            "kind": "redis",
            "url": f"redis://:${{REDIS_PASSWORD}}@{HOST}:{self._redis.port}/0",
            "maxlen": _MAXLEN,
            "spool": {"path": str(self._folder / "spool")},
        }
        config = {
            "version": 1,
            "model": {"path": str(self._model), "threads": THREADS},
            "streams": list(streams),
            "sinks": [sink],
            "http": {"listen": f"{HOST}:0"},
        }
        path = self._folder / f"shares-{self._configs}.yaml"
        path.write_text(json.dumps(config, indent=2))  # JSON is YAML
        with on_cores(self._cores.judged):
            self._judged = Life(path, {"REDIS_PASSWORD": _PASSWORD}, self._clock, watch=self._watch)
        self._judged.wait_ready()

    def wait_flowing(self, subscriber: FaultSubscriber, cameras: Sequence[str], since_ns: int) -> None:
        """Until every camera's frames come with times of its own, and what a start stirs up has settled."""

        def flowing() -> bool:
            last = {entry.stream: entry for entry in subscriber.seen() if entry.at_ns >= since_ns}
            found = (last.get(name) for name in cameras)
            return all(
                entry is not None and isinstance(entry.message, FrameMessage) and entry.message.clock == RTCP
                for entry in found
            )

        if not self.wait(_START_S, flowing, every_s=0.5):
            msg = f"after {_START_S:g} s not every camera's frames came with times of its own"
            raise BenchError(msg, hint="is the machine too busy?")
        self.wait(_SETTLE_S)

    def end(self) -> Any:
        """SIGTERM; returns the summary. A stream that failed for ever (status 3) is told in it.

        Raises ChildError if it does not end, BenchError for any other status but 0.
        """
        judged, self._judged = self._judged, None
        assert judged is not None
        judged.terminate()
        if judged.status not in (0, _FAILED):
            msg = f"`vedette run` ended with status {judged.status}: {judged.last_words}"
            raise BenchError(msg)
        return judged.summary

    def status(self) -> Status:
        """What the process says of itself now."""
        assert self._judged is not None
        with urllib.request.urlopen(f"{self._judged.url}/status", timeout=10.0) as answer:
            return _decoder.decode(answer.read())

    def wait(self, seconds: float, done: Callable[[], bool] = lambda: False, *, every_s: float = _LOOK_S) -> bool:
        """Wait until `done`, at most so long; whether it was. Raises BenchError if the process ends meanwhile."""
        end_ns = self._clock.mono_ns() + int(seconds * 1e9)
        while not done():
            left_ns = end_ns - self._clock.mono_ns()
            if left_ns <= 0:
                return False
            if self._judged is not None and self._judged.status is not None:
                msg = f"`vedette run` ended by itself with status {self._judged.status}: {self._judged.last_words}"
                raise BenchError(msg)
            pause_ns = min(left_ns, int(every_s * 1e9))
            before_ns = self._clock.mono_ns()
            self._clock.wait(self._never, pause_ns / 1e9)
            self.longest_lapse_ns = max(self.longest_lapse_ns, self._clock.mono_ns() - before_ns - pause_ns)
        return True


def camera(name: str, port: int) -> dict[str, Any]:
    """A stream of a configuration: the mount `name` of the server or proxy on `port`."""
    url = f"rtsp://{HOST}:{port}/{name}"
    return {"id": name, "url": url, "open_timeout_s": _TIMEOUT_S, "read_timeout_s": _TIMEOUT_S}
