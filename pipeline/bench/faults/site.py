"""Everything that a run under faults depends on, and what each kind of fault does to it.

Four RTSP servers and a Redis, each behind a proxy; the child `vedette run` with a spool; a second Redis when the first
is to be replaced. `begin` and `end` of a fault are called by one thread (one a lane, `run.py`) and return when done.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from engines.weights import find_model
from pipeline.bench.faults.child import Life
from pipeline.bench.faults.disk import DiskError, SpoolDisk, why_no_disk
from pipeline.bench.faults.footage import FPS, make_footage
from pipeline.bench.faults.ports import HOST
from pipeline.bench.faults.proxy import Proxies, Proxy
from pipeline.bench.faults.redis_server import RedisServer
from pipeline.bench.faults.rtp_weather import FAIR, Weather
from pipeline.bench.faults.rtsp_server import RtspServer, check_parts
from pipeline.bench.faults.schedule import CAMERAS, FILE, Fault
from pipeline.bench.faults.stepped_clock import HostClock
from pipeline.bench.faults.warden import Warden
from stages.types import Clock
from vedette.errors import SinkError

READ_TIMEOUT_S = 2
CAMERA_PASSWORD = "c4mera:s3cret/under@faults"
REDIS_PASSWORD = "r3dis-s3cret-under-faults"
_OTHER_PASSWORD = "another"
_INTRUDER = "intruder:1"
_LEASE_MS = 600_000
# A process does not start on a disk that it may not write to, and one that has ended has no limits.
_OF_THE_PROCESS = frozenset({"process-term", "process-kill", "disk-limit", "disk-read-only"})
# Two threads, the smaller model: the machine is shared with eight servers, and what is measured is not speed.
_MODEL = "vedette-n-416"
# Half an hour of one camera: a subscriber may be that far behind, and a soak of a day does not fill the memory.
_MAXLEN = 20_000


class FaultSite:
    """`with FaultSite(folder, seed, clock) as site: site.start_life(); site.begin(fault); site.end(fault)`.

    `kept`: whether the folder is to stay afterwards.
    """

    def __init__(self, folder: Path, seed: int, clock: Clock, *, kept: bool = False) -> None:
        self._folder = folder
        self._kept = kept
        self._seed = seed
        self._clock = clock
        self._stack = ExitStack()
        # Who ends the process has it until there is another: from a fault's begin to its end, in one thread.
        self._process = threading.Lock()
        self._cameras: dict[str, RtspServer] = {}
        self._camera_proxies: dict[str, Proxy] = {}
        self._count = 0
        self.era = 0
        self.lives: list[Life] = []
        self.lease_breaches: list[tuple[int, str, str]] = []
        self._last_id: Any = None

    def __enter__(self) -> FaultSite:
        check_parts()
        with contextlib.ExitStack() as opened:
            self._watch = opened.enter_context(Warden(None if self._kept else self._folder)).watch
            self.redis = RedisServer(self._folder / "redis-0", REDIS_PASSWORD, watch=self._watch)
            opened.callback(self._kill_all)
            proxies = opened.enter_context(Proxies())
            footage = make_footage(self._folder / "footage", len(CAMERAS))
            for name, media in zip(CAMERAS, footage.cameras, strict=True):
                camera = RtspServer(user="viewer", password=CAMERA_PASSWORD, watch=self._watch)
                self._cameras[name] = camera
                camera.start()
                camera.mount(name, media, fps=FPS)
                self._camera_proxies[name] = proxies.add(camera.port, random.Random(f"{self._seed} {name}"))
            self.redis.start()
            self._redis_proxy = proxies.add(self.redis.port)
            self._config = self._write_config(footage.file)
            self.host_clock = HostClock(self._folder / "host-clock", self._clock)
            (self._folder / "disk").mkdir()
            self._disk = None if why_no_disk() else opened.enter_context(SpoolDisk(self._folder / "disk"))
            self._stack = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _kill_all(self) -> None:
        for life in self.lives:
            life.abandon()
        for camera in self._cameras.values():
            camera.kill()
        self.redis.kill()

    def _write_config(self, file: Path) -> Path:
        cameras = [
            {
                "id": name,
                "url": f"rtsp://viewer:${{CAMERA_PASSWORD}}@{HOST}:{proxy.port}/{name}",
                "open_timeout_s": 3,
                "read_timeout_s": READ_TIMEOUT_S,
            }
            for name, proxy in self._camera_proxies.items()
        ]
        sink = {
            "kind": "redis",
            "url": f"redis://:${{REDIS_PASSWORD}}@{HOST}:{self._redis_proxy.port}/0",
            "maxlen": _MAXLEN,
            # Small, so that segments begin and end within a short run.
            "spool": {"path": str(self.spool), "max_mb": 1},
        }
        config = {
            "version": 1,
            "model": {"path": str(find_model(_MODEL)), "threads": 2},
            "streams": [*cameras, {"id": FILE, "url": str(file), "mode": "file"}],
            "sinks": [sink],
            "http": {"listen": f"{HOST}:0"},
        }
        path = self._folder / "faults.yaml"
        path.write_text(json.dumps(config, indent=2))  # JSON is YAML
        return path

    # ── what is there ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def spool(self) -> Path:
        return self._folder / "disk" / "spool"

    @property
    def life(self) -> Life:
        """The process that runs now, or ran last."""
        return self.lives[-1]

    def server(self) -> tuple[RedisServer, int]:
        """The Redis that there is, and the era of its data."""
        return self.redis, self.era

    def disk(self) -> SpoolDisk:
        """The spool's own disk. Raises DiskError if there is none."""
        if self._disk is None:
            msg = f"the spool has no disk of its own: {why_no_disk()}"
            raise DiskError(msg)
        return self._disk

    def bring_spool_out(self) -> None:
        """Once no process runs: from now on `spool` is what it left, for everybody."""
        if self._disk is not None:
            self._disk.copy_out()

    def start_life(self) -> None:
        """Start `vedette run` and wait until it is ready. Raises ChildError."""
        env = {"CAMERA_PASSWORD": CAMERA_PASSWORD, "REDIS_PASSWORD": REDIS_PASSWORD}
        enter = self._disk.enter if self._disk else ()
        life = Life(self._config, env, self._clock, host_clock=self.host_clock.path, enter=enter, watch=self._watch)
        self.lives.append(life)
        self.life.wait_ready()

    # ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, fault: Fault) -> None:
        """Do the fault. Raises SinkError or ChildError where the servers themselves cannot."""
        if fault.kind.startswith("camera-"):
            self._begin_camera(fault)
            return
        if fault.kind in _OF_THE_PROCESS:
            self._process.acquire()
        try:
            self._begin_other(fault)
        except BaseException:
            if fault.kind in _OF_THE_PROCESS:
                self._process.release()
            raise

    def end(self, fault: Fault) -> None:
        """Undo it, and wait until what was taken away is there again."""
        if fault.kind.startswith("camera-"):
            self._end_camera(fault)
            return
        try:
            self._end_other(fault)
        finally:
            if fault.kind in _OF_THE_PROCESS:
                self._process.release()

    def _begin_other(self, fault: Fault) -> None:
        match fault.kind:
            case "redis-kill":
                self.redis.kill()
            case "redis-stop":
                self.redis.pause()
            case "redis-pause":
                self._ask(lambda client: client.client_pause(int(fault.for_s * 1000), all=True))
            case "redis-slow":
                self._redis_proxy.delay_s = fault.amount
            case "redis-cut":
                self._redis_proxy.cut()
            case "redis-full":
                self._ask(lambda client: client.config_set("maxmemory", "1"))
            case "redis-empty":
                self.redis.kill()
                self.redis.forget()
            case "redis-failover":
                self._fail_over()
            case "lease-taken":
                self._take_lease(fault.target)
            case "process-term":
                self.life.terminate()
            case "process-kill":
                self.life.kill()
            case "disk-limit":
                self.life.limit_files(0)
            case "disk-full":
                self.disk().fill()
            case "disk-read-only":
                self.disk().protect()
            case "host-clock":
                self.host_clock.step(fault.amount)

    def _end_other(self, fault: Fault) -> None:
        match fault.kind:
            case "redis-kill":
                self.redis.start()
            case "redis-stop":
                self.redis.resume()
            case "redis-pause":
                self._ask(lambda client: client.ping())
            case "redis-slow":
                self._redis_proxy.delay_s = 0.0
            case "redis-cut" | "redis-failover":
                self._redis_proxy.mend()
            case "redis-full":
                self._ask(lambda client: client.config_set("maxmemory", "0"))
            case "redis-empty":
                self.era += 1
                self.redis.start()
            case "lease-taken":
                self._give_lease_back(fault.target)
            case "process-term" | "process-kill":
                self.start_life()
            case "disk-limit":
                self.life.limit_files(None)
            case "disk-full":
                self.disk().drain()
            case "disk-read-only":
                self.disk().unprotect()
            case "host-clock":
                self.host_clock.step(0.0)

    def _begin_camera(self, fault: Fault) -> None:
        camera, proxy = self._cameras[fault.target], self._camera_proxies[fault.target]
        match fault.kind:
            case "camera-kill":
                camera.kill()
            case "camera-stop":
                camera.pause()
            case "camera-cut":
                proxy.cut()
            case "camera-hush":
                proxy.hush()
            case "camera-drop":
                proxy.weather = Weather(drop=fault.amount)
            case "camera-corrupt":
                proxy.weather = Weather(corrupt=fault.amount)
            case "camera-garble":
                proxy.weather = Weather(garble=fault.amount)
            case "camera-jump":
                proxy.weather = Weather(jump_s=fault.amount)
            case "camera-clock":
                proxy.weather = Weather(clock_s=fault.amount)
            case "camera-size":
                camera.switch(fault.target, 1)
            case "camera-password":
                camera.password = _OTHER_PASSWORD
                camera.restart()

    def _end_camera(self, fault: Fault) -> None:
        camera, proxy = self._cameras[fault.target], self._camera_proxies[fault.target]
        match fault.kind:
            case "camera-kill":
                camera.start()
            case "camera-stop":
                camera.resume()
            case "camera-cut":
                proxy.mend()
            case "camera-hush":
                proxy.speak()
            case "camera-size":
                camera.switch(fault.target, 0)
            case "camera-password":
                camera.password = CAMERA_PASSWORD
                camera.restart()
            case _:
                proxy.weather = FAIR

    # ── Redis ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, question: Callable[[redis.Redis], Any]) -> Any:
        client = self.redis.client()
        try:
            return question(client)
        except (redis.RedisError, OSError) as error:
            msg = f"the schedule's own question to Redis failed: {error}"
            raise SinkError(msg) from error
        finally:
            client.close()

    def _fail_over(self) -> None:
        """The master dies, a replica that had all of it takes its place; nobody can connect until the fault's end."""
        self._count += 1
        replica = RedisServer(
            self._folder / f"redis-{self._count}", REDIS_PASSWORD, replica_of=self.redis, watch=self._watch
        )
        old = self.redis
        replica.start()
        try:
            self._wait_replica(replica)
        except BaseException:
            replica.kill()
            raise
        self._redis_proxy.cut()
        old.kill()
        self.era += 1
        self.redis = replica
        replica.promote()
        self._redis_proxy.target_port = replica.port

    def _wait_replica(self, replica: RedisServer) -> None:
        client = replica.client()
        try:
            for _ in range(200):
                if client.info("replication").get("master_link_status") == "up":
                    return
                self._clock.wait(threading.Event(), 0.05)
        finally:
            client.close()
        msg = "the replica did not follow its master within 10 s"
        raise SinkError(msg)

    def _look(self, client: redis.Redis, stream: str, *, take: bool) -> tuple[str, Any]:
        """The lease's holder and the stream's last id, at one moment; with `take` after we took the lease."""
        lease, frames = f"vedette:lease:{stream}", f"vedette:frames:{stream}"
        with client.pipeline(transaction=True) as at_once:
            if take:
                at_once.set(lease, _INTRUDER, px=_LEASE_MS)
            at_once.get(lease)
            at_once.xrevrange(frames, count=1)
            answers = at_once.execute()
        last = answers[-1][0][0] if answers[-1] else None
        return (answers[-2] or b"").decode(), last

    def _take_lease(self, stream: str) -> None:
        _, self._last_id = self._ask(lambda client: self._look(client, stream, take=True))
        self.life.leased.add(stream)

    def _give_lease_back(self, stream: str) -> None:
        """Look whether anything was written meanwhile; then the process that gave the stream up is started again."""
        holder, last = self._ask(lambda client: self._look(client, stream, take=False))
        now_ns = self._clock.mono_ns()
        if holder != _INTRUDER:
            what = f"its lease was held by another for {_LEASE_MS // 1000} s more, and now by {holder or 'nobody'}"
            self.lease_breaches.append((now_ns, stream, what))
        elif last != self._last_id:
            self.lease_breaches.append(
                (now_ns, stream, f"a frame {last.decode()} was written while another held its lease")
            )
        self._ask(lambda client: client.delete(f"vedette:lease:{stream}"))
        with self._process:
            self.life.leased.add(stream)
            self.life.terminate()
            self.start_life()
