"""One of eight cameras in trouble; a file at full speed beside four cameras: what the others feel of it.

Calm phases and those of trouble alternate in one run: A B A C A D … Every camera sends at the same moments of its
period after every restart, so that what differs between two phases is the trouble and not who happens to be first.
"""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.bench.faults.proxy import Proxy
from pipeline.bench.faults.rtp_weather import FAIR, Weather
from pipeline.bench.faults.rtsp_server import RtspServer
from pipeline.bench.faults.subscriber import FaultSubscriber
from pipeline.bench.measure import machine_facts, package_versions
from pipeline.bench.shares.cores import Cores
from pipeline.bench.shares.isolation_verdict import CALM, WITH_FILE, judge_file, judge_struck
from pipeline.bench.shares.report import IsolationReport, Part, Setting
from pipeline.bench.shares.site import MODEL, ShareSite, camera
from pipeline.bench.shares.view import Spell, fill, missed, views
from pipeline.status import Status
from stages.types import Clock
from vedette import __version__

CAMERAS = tuple(f"cam-{number}" for number in range(1, 9))
STRUCK = CAMERAS[3]
LIVE = CAMERAS[:4]
FILE = "archive"
KINDS = ("killed", "stalled", "corrupt", "garbled")
"""What happens to one camera: SIGKILL and, in the end, a new start; SIGSTOP; a byte of every packet's payload changed
(it is decoded, as it is); a byte of every packet changed, framing included (the connection breaks again and again)."""

# A back-off is 16 s at most after so short a trouble.
_BACK_S = 45.0
# Pictures that come in one burst after a reconnection belong to the trouble.
_BURST_S = 1.0
_FASTEST_FPS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`seconds` of each phase, so many `rounds` of all of them; `seed` draws when in its period a camera sends.

    `parts`: `cameras`, `file` or both. `kinds`: what happens to the one of eight cameras, out of KINDS.
    """

    seconds: float
    rounds: int
    fps: float
    seed: int
    parts: Sequence[str]
    kinds: Sequence[str] = KINDS


class _Struck:
    """What is done to the one camera."""

    def __init__(self, server: RtspServer, proxy: Proxy) -> None:
        self._server = server
        self._proxy = proxy

    def begin(self, kind: str) -> None:
        match kind:
            case "killed":
                self._server.kill()
            case "stalled":
                self._server.pause()
            case "corrupt":
                self._proxy.weather = Weather(corrupt=1.0)
            case "garbled":
                self._proxy.weather = Weather(garble=1.0)

    def end(self, kind: str) -> None:
        match kind:
            case "killed":
                self._server.start()
            case "stalled":
                self._server.resume()
            case _:
                self._proxy.weather = FAIR


def bench_isolation(
    plan: Plan, cores: Cores, *, clock: Clock, command: str, progress: Callable[[str], None]
) -> IsolationReport:
    """Run it and judge it. Raises BenchError, MissingExtraError, SinkError."""
    rng = random.Random(plan.seed)
    offsets = {name: rng.random() for name in CAMERAS}
    machine = machine_facts()
    progress("rendering the cameras' pictures …")
    with tempfile.TemporaryDirectory(prefix="vedette-isolation-") as name, ShareSite(Path(name), cores, clock) as site:
        wall_of_mono_ns = clock.wall_ns() - clock.mono_ns()
        run = _Run(site, plan, clock, offsets, wall_of_mono_ns, progress)
        struck = run.one_of_eight() if "cameras" in plan.parts else None
        file = run.beside_a_file() if "file" in plan.parts else None
        lapse_ms = site.longest_lapse_ns / 1e6
    parts = [part for part in (struck, file) if part is not None]
    held = all(check.holds for part in parts for check in part.checks)
    setting = Setting(
        command=command,
        version=__version__,
        versions=package_versions(),
        machine=machine,
        model=MODEL,
        engine=run.engine,
        judged_cores=sorted(cores.judged),
        other_cores=sorted(cores.others),
        longest_lapse_ms=round(lapse_ms, 1),
    )
    return IsolationReport(verdict="held" if held else "broken", setting=setting, struck=struck, file=file)


class _Run:
    def __init__(
        self,
        site: ShareSite,
        plan: Plan,
        clock: Clock,
        offsets: Mapping[str, float],
        wall_of_mono_ns: int,
        progress: Callable[[str], None],
    ) -> None:
        self._site = site
        self._plan = plan
        self._clock = clock
        self._offsets = offsets
        self._wall_of_mono_ns = wall_of_mono_ns
        self._progress = progress
        self.engine = ""

    def one_of_eight(self) -> Part:
        site, plan = self._site, self._plan
        steady, shaky = site.rtsp_server(), site.rtsp_server()
        proxy = site.proxy(shaky, random.Random(f"{plan.seed} weather"))
        streams = []
        for name in CAMERAS:
            server = shaky if name == STRUCK else steady
            site.mount(server, name, fps=self._plan.fps, phase=self._offsets[name])
            streams.append(camera(name, proxy.port if name == STRUCK else server.port))
        struck = _Struck(shaky, proxy)
        subscriber = site.subscriber(CAMERAS)
        subscriber.start()
        try:
            self._progress("eight cameras: starting")
            started_ns = self._clock.mono_ns()
            site.start(streams)
            site.wait_flowing(subscriber, CAMERAS, started_ns)
            spells, away = [self._spell(CALM)], list[str]()
            for number in range(1, plan.rounds + 1):
                for kind in plan.kinds:
                    self._progress(f"round {number} of {plan.rounds}: {STRUCK} {kind}, {plan.seconds:g} s")
                    begin_ns = self._clock.mono_ns()
                    struck.begin(kind)
                    site.wait(plan.seconds)
                    struck.end(kind)
                    ended_ns = self._clock.mono_ns()
                    back = site.wait(_BACK_S, functools.partial(_is_back, subscriber, ended_ns))
                    site.wait(_BURST_S)
                    spells.append(Spell(kind=kind, begin_ns=begin_ns, end_ns=self._clock.mono_ns()))
                    if not back:
                        away.append(kind)
                    spells.append(self._spell(CALM))
            status = site.status()
            summary = site.end()
        finally:
            subscriber.stop()
        self.engine = status.engine
        others = [name for name in CAMERAS if name != STRUCK]
        seen = views(subscriber.seen(), others, fps=self._plan.fps, wall_of_mono_ns=self._wall_of_mono_ns)
        spells = fill(spells, seen, missed(seen, fps=self._plan.fps), ())
        return judge_struck(
            spells, struck=STRUCK, others=others, fps=self._plan.fps, away=away, status=status, summary=summary
        )

    def beside_a_file(self) -> Part:
        site, plan = self._site, self._plan
        server = site.rtsp_server()
        for name in LIVE:
            site.mount(server, name, fps=self._plan.fps, phase=self._offsets[name])
        cameras = [camera(name, server.port) for name in LIVE]
        file = site.file(int(_FASTEST_FPS * (plan.seconds + 15)))
        subscriber = site.subscriber([*LIVE, FILE])
        subscriber.start()
        spells: list[Spell] = []
        statuses: list[Status] = []
        summaries: list[Any] = []
        try:
            for number in range(plan.rounds + 1):
                for kind in (CALM, WITH_FILE) if number < plan.rounds else (CALM,):
                    self._progress(f"four cameras, {kind}, {plan.seconds:g} s")
                    streams = [*cameras, {"id": FILE, "url": str(file), "mode": "file"}] if kind != CALM else cameras
                    started_ns = self._clock.mono_ns()
                    site.start(streams)
                    site.wait_flowing(subscriber, LIVE, started_ns)
                    spells.append(self._spell(kind))
                    statuses.append(site.status())
                    summaries.append(site.end())
        finally:
            subscriber.stop()
        self.engine = statuses[0].engine
        seen = views(subscriber.seen(), LIVE, fps=self._plan.fps, wall_of_mono_ns=self._wall_of_mono_ns)
        filed = views(subscriber.seen(), [FILE], fps=self._plan.fps, wall_of_mono_ns=self._wall_of_mono_ns)
        spells = fill(spells, seen, missed(seen, fps=self._plan.fps), filed)
        return judge_file(spells, live=LIVE, file=FILE, fps=self._plan.fps, statuses=statuses, summaries=summaries)

    def _spell(self, kind: str) -> Spell:
        begin_ns = self._clock.mono_ns()
        self._site.wait(self._plan.seconds)
        return Spell(kind=kind, begin_ns=begin_ns, end_ns=self._clock.mono_ns())


def _is_back(subscriber: FaultSubscriber, since_ns: int) -> bool:
    return subscriber.last_ns(STRUCK) > since_ns
