"""Three times what the engine can do, from real cameras, and how old what is analysed becomes.

First and last a file alone says what the engine can do here (A B A). Between them so many cameras as make more than
three times that, for two minutes; the kernel's queues are looked at once a second.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.bench.child import BenchError
from pipeline.bench.faults.rtsp_server import RtspServer
from pipeline.bench.measure import machine_facts, package_versions
from pipeline.bench.shares.cores import Cores
from pipeline.bench.shares.report import QueueSample, Setting, StalenessReport
from pipeline.bench.shares.send_queue import queued
from pipeline.bench.shares.site import ShareSite, camera
from pipeline.bench.shares.staleness_verdict import Overload, judge_staleness
from pipeline.bench.shares.view import views, within
from stages.types import Clock
from vedette import __version__

FILE = "archive"
_SERVERS = 2
_WARM_S = 2.0
_LOOK_S = 1.0
_FASTEST_FPS = 500
_START_S = 30.0
MOST_CAMERAS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`seconds` of overload by cameras of `fps`, `factor` times what the engine did in `capacity_seconds` of a file.

    `cameras`: so many, whatever the engine can do. Moments in the cameras' periods are drawn from `seed`.
    """

    model: str
    seconds: float
    capacity_seconds: float
    fps: float
    factor: float
    cameras: int | None
    seed: int


def bench_staleness(
    plan: Plan, cores: Cores, *, clock: Clock, command: str, progress: Callable[[str], None]
) -> StalenessReport:
    """Run it and judge it. Raises BenchError, MissingExtraError, SinkError."""
    machine = machine_facts()
    progress("rendering the cameras' pictures …")
    with (
        tempfile.TemporaryDirectory(prefix="vedette-staleness-") as name,
        ShareSite(Path(name), cores, clock, plan.model) as site,
    ):
        file = site.file(int(_FASTEST_FPS * (plan.capacity_seconds + _WARM_S + 2)))
        run = _Run(site, plan, clock, progress)
        before = run.capacity(file)
        cameras = plan.cameras or math.ceil(plan.factor * before / plan.fps)
        if cameras > MOST_CAMERAS:
            msg = f"the engine did {before:.0f} frames a second, which takes {cameras} cameras of {plan.fps:g} fps"
            raise BenchError(msg, hint=f"at most {MOST_CAMERAS} are served: raise --fps")
        overload = run.overload(cameras)
        after = run.capacity(file)
        lapse_ms = site.longest_lapse_ns / 1e6
    setting = Setting(
        command=command,
        version=__version__,
        versions=package_versions(),
        machine=machine,
        model=plan.model,
        engine=overload.after.engine,
        judged_cores=sorted(cores.judged),
        other_cores=sorted(cores.others),
        longest_lapse_ms=round(lapse_ms, 1),
    )
    return judge_staleness(overload, capacity_fps=[before, after], setting=setting)


class _Run:
    def __init__(self, site: ShareSite, plan: Plan, clock: Clock, progress: Callable[[str], None]) -> None:
        self._site = site
        self._plan = plan
        self._clock = clock
        self._progress = progress

    def capacity(self, file: Path) -> float:
        """Frames a second of a file alone."""
        site, seconds = self._site, self._plan.capacity_seconds
        self._progress(f"what the engine can do: a file alone, {seconds:g} s")
        site.start([{"id": FILE, "url": str(file), "mode": "file"}])
        if not site.wait(_START_S, lambda: site.status().published > 0, every_s=0.2):
            msg = f"no frame of the file came within {_START_S:g} s"
            raise BenchError(msg)
        site.wait(_WARM_S)
        before, begin_ns = site.status(), self._clock.mono_ns()
        site.wait(seconds)
        after, end_ns = site.status(), self._clock.mono_ns()
        if after.streams[FILE].state != "streaming":
            msg = "the file was over before it had been measured"
            raise BenchError(msg)
        site.end()
        return (after.published - before.published) * 1e9 / (end_ns - begin_ns)

    def overload(self, count: int) -> Overload:
        site, plan = self._site, self._plan
        rng = random.Random(plan.seed)
        servers = [site.rtsp_server() for _ in range(_SERVERS)]
        names = [f"cam-{number}" for number in range(1, count + 1)]
        streams = []
        for number, name in enumerate(names):
            server = servers[number % _SERVERS]
            site.mount(server, name, fps=plan.fps, phase=rng.random())
            streams.append(camera(name, server.port))
        subscriber = site.subscriber(names)
        subscriber.start()
        try:
            self._progress(f"{count} cameras of {plan.fps:g} fps: starting")
            wall_of_mono_ns = self._clock.wall_ns() - self._clock.mono_ns()
            started_ns = self._clock.mono_ns()
            site.start(streams)
            site.wait_flowing(subscriber, names, started_ns)
            self._progress(f"{plan.seconds:g} s of them")
            before, sent_before = site.status(), _sent(servers, names)
            begin_ns = self._clock.mono_ns()
            queues = self._look(servers, begin_ns)
            end_ns = self._clock.mono_ns()
            after, sent_after = site.status(), _sent(servers, names)
            summary = site.end()
        finally:
            subscriber.stop()
        seen = views(subscriber.seen(), names, fps=plan.fps, wall_of_mono_ns=wall_of_mono_ns)
        return Overload(
            fps=plan.fps,
            begin_ns=begin_ns,
            end_ns=end_ns,
            frames=within(seen, begin_ns, end_ns),
            sent=sent_after - sent_before,
            queues=queues,
            before=before,
            after=after,
            summary=summary,
        )

    def _look(self, servers: Sequence[RtspServer], begin_ns: int) -> list[QueueSample]:
        """Wait for the overload's time, looking at the queues."""
        ports = [server.port for server in servers]
        found: list[QueueSample] = []
        while (left_s := self._plan.seconds - (self._clock.mono_ns() - begin_ns) / 1e9) > 0:
            self._site.wait(min(left_s, _LOOK_S))
            unsent, unread = queued(ports)
            at_s = round((self._clock.mono_ns() - begin_ns) / 1e9, 2)
            found.append(QueueSample(at_s=at_s, unsent=unsent, unread=unread))
        return found


def _sent(servers: Sequence[RtspServer], names: Sequence[str]) -> int:
    return sum(servers[number % len(servers)].sent(name) for number, name in enumerate(names))
