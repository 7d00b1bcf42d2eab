"""Runs a schedule of faults and judges what came of it: the whole of `vedette bench faults`."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from pipeline.bench.faults.camera_verdict import CameraRun, Struck, check_host, recovery, silences, told_waits
from pipeline.bench.faults.child import ChildError, Life
from pipeline.bench.faults.disk import why_no_disk
from pipeline.bench.faults.footage import FILE_FRAMES
from pipeline.bench.faults.host_time import HostTime
from pipeline.bench.faults.recovery import Recovered
from pipeline.bench.faults.report import Counts, Done, FaultReport, LifeReport, Violation
from pipeline.bench.faults.sampler import Sampler, growth
from pipeline.bench.faults.schedule import ALL, CAMERAS, ENDING, FILE, MOUNTED, Fault, FaultKind, draw, lane_of
from pipeline.bench.faults.site import CAMERA_PASSWORD, REDIS_PASSWORD, FaultSite
from pipeline.bench.faults.subscriber import FaultSubscriber, Seen
from pipeline.bench.faults.verdict import Broken, LifeSeen, check_end, check_growth, judge, limited
from pipeline.bench.measure import machine_facts, package_versions
from pipeline.outlet import open_spool
from stages.options import SpoolOptions
from stages.types import Clock
from vedette import __version__
from vedette.errors import SinkError
from vedette.messages import FrameMessage, GapEvent

_START_S = 60.0
_SETTLE_S = 120.0
_LOOK_S = 0.05
_END_NS = 90_000_000_000
_LED = 8


class _Run:
    """One run of a schedule."""

    def __init__(self, site: FaultSite, clock: Clock, progress: Callable[[str], None]) -> None:
        self._site = site
        self._clock = clock
        self._progress = progress
        self._stop = threading.Event()
        self._failures: list[Exception] = []
        self.subscriber = FaultSubscriber(site.server, (*CAMERAS, FILE), clock)
        self.sampler = Sampler(lambda: site.life, clock)
        self.struck: list[Struck] = []
        self.broken: list[Broken] = []
        self.begin_ns = 0
        self.end_ns = 0
        self.longest_lapse_ns = 0

    def run(self, schedule: Sequence[Fault], minutes: float) -> None:
        """Do all of it. A process that does not start, end or live as it should ends it, and is a violation."""
        site, clock = self._site, self._clock
        self.begin_ns = clock.mono_ns()
        self.subscriber.start()
        try:
            site.start_life()
            self.sampler.start()
            self._wait(_START_S, lambda: all(self.subscriber.last_ns(name) for name in CAMERAS))
            self.begin_ns = clock.mono_ns()
            self._do(schedule)
            left_s = minutes * 60 - (clock.mono_ns() - self.begin_ns) / 1e9
            self._wait(left_s, lambda: False)
            self._settle()
            self.end_ns = clock.mono_ns()
            self.sampler.stop()
            self._look_after()
            site.life.terminate()
        except ChildError as error:
            self.end_ns = clock.mono_ns()
            if site.life.ended_ns is None:
                site.life.abandon()
            self._break("a process ends as it should", "process", error.message)
        finally:
            self.sampler.stop()
            self.subscriber.stop()

    def _do(self, schedule: Sequence[Fault]) -> None:
        """One thread a lane, so that a start of the process keeps no other fault waiting."""
        lanes: dict[str, list[Fault]] = {}
        for fault in schedule:
            lanes.setdefault(lane_of(fault.kind), []).append(fault)
        threads = [
            threading.Thread(target=self._do_lane, args=(faults,), name=f"faults:{lane}", daemon=True)
            for lane, faults in lanes.items()
        ]
        for thread in threads:
            thread.start()
        try:
            self._wait(None, lambda: not any(thread.is_alive() for thread in threads))
        finally:
            self._stop.set()
            until_ns = self._clock.mono_ns() + _END_NS
            for thread in threads:
                thread.join(max(0.0, (until_ns - self._clock.mono_ns()) / 1e9))
        if self._failures:
            raise self._failures[0]

    def _do_lane(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            if not self._sleep_until(fault.at_s):
                return
            begin_ns = mending_ns = self._say(f"{fault}")
            try:
                self._site.begin(fault)
                self._sleep_until(fault.at_s + fault.for_s)
                mending_ns = self._say(f"end of {fault.kind} {fault.target}")
                self._site.end(fault)
            except Exception as error:  # noqa: BLE001 - raised again by the thread that waits for this one
                self._failures.append(error)
                self._stop.set()
            now_ns = self._clock.mono_ns()
            self.struck.append(Struck(fault=fault, begin_ns=begin_ns, mending_ns=mending_ns, end_ns=now_ns))

    def _say(self, what: str) -> int:
        now_ns = self._clock.mono_ns()
        self._progress(f"{(now_ns - self.begin_ns) / 1e9:7.2f} s  {what}")
        return now_ns

    def _sleep_until(self, at_s: float) -> bool:
        left_s = self.begin_ns / 1e9 + at_s - self._clock.mono_ns() / 1e9
        return not self._stop.is_set() and not self._clock.wait(self._stop, max(0.0, left_s))

    def _settle(self) -> None:
        """Until every camera's frames flow again and the file is whole, or for two minutes: the verdict says which."""
        since_ns = self._clock.mono_ns()

        def calm() -> bool:
            return all(self.subscriber.last_ns(name) > since_ns for name in CAMERAS)

        def whole() -> bool:
            return self.subscriber.frames_of_the_file() >= FILE_FRAMES

        self._wait(_SETTLE_S, lambda: calm() and whole())

    def _wait(self, timeout_s: float | None, done: Callable[[], bool]) -> None:
        end_ns = None if timeout_s is None else self._clock.mono_ns() + int(timeout_s * 1e9)
        never = threading.Event()
        while not done() and (end_ns is None or self._clock.mono_ns() < end_ns):
            self._look_after()
            before_ns = self._clock.mono_ns()
            self._clock.wait(never, _LOOK_S)
            self.longest_lapse_ns = max(self.longest_lapse_ns, self._clock.mono_ns() - before_ns)

    def _look_after(self) -> None:
        life = self._site.life
        if life.asked_ns is None and life.status is not None:
            life.terminate()
            msg = f"`vedette run` ended by itself with status {life.status}: {_last(life)}"
            raise ChildError(msg)

    def _break(self, promise: str, whom: str, what: str) -> None:
        self.broken.append(Broken(at_ns=self._clock.mono_ns(), promise=promise, whom=whom, what=what))


def bench_faults(
    *,
    seed: int,
    minutes: float,
    slack_s: float,
    clock: Clock,
    command: str,
    progress: Callable[[str], None],
    kinds: frozenset[FaultKind] = ALL,
    soak: bool = False,
    keep: Path | None = None,
) -> FaultReport:
    """Draw the schedule of `seed`, run it, judge it. `slack_s`: how long beyond a back-off recovery may take.

    `soak`: nothing ends the process, and what it holds (memory, threads, descriptors) is judged too.

    `keep`: a folder that keeps logs, spool and configuration. Raises MissingExtraError, SinkError.
    """
    skipped = impossible(kinds)
    kinds -= skipped.keys()
    schedule = draw(seed, minutes, kinds - ENDING if soak else kinds)
    with tempfile.TemporaryDirectory(prefix="vedette-faults-") as name:
        folder = Path(name) if keep is None else keep.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        progress(f"seed {seed}, {minutes:g} minutes: {len(schedule)} faults; rendering the cameras' pictures …")
        with FaultSite(folder, seed, clock, kept=keep is not None) as site:
            run = _Run(site, clock, progress)
            run.run(schedule, minutes)
            site.bring_spool_out()
            if keep is not None:
                for number, life in enumerate(site.lives, 1):
                    (folder / f"life-{number}.log").write_text("\n".join(life.log) + "\n")
                    (folder / f"life-{number}.json").write_text(life.out)
            return _judged(run, site, seed, minutes, slack_s, clock, command, skipped, soak=soak)


def impossible(kinds: frozenset[FaultKind] = ALL) -> dict[FaultKind, str]:
    """Those of `kinds` that cannot be made on this machine, and why."""
    wanted = sorted(kinds & MOUNTED)
    why = why_no_disk() if wanted else None
    return {} if why is None else dict.fromkeys(wanted, why)


def _judged(
    run: _Run,
    site: FaultSite,
    seed: int,
    minutes: float,
    slack_s: float,
    clock: Clock,
    command: str,
    skipped: dict[FaultKind, str],
    *,
    soak: bool,
) -> FaultReport:
    seen = run.subscriber.seen()
    lives = [_life(life, run) for life in site.lives]
    host = HostTime(clock.wall_ns() - clock.mono_ns(), site.host_clock.steps)
    recovered: list[Recovered] = []
    broken = [*run.broken, *judge(seen, lives), *_secrets(run, site, seen)]
    for camera in CAMERAS:
        part = CameraRun(
            camera=camera,
            struck=run.struck,
            seen=seen,
            waits=[wait for life in site.lives for wait in told_waits(camera, life.log, life.log_ns)],
            begin_ns=run.begin_ns,
            end_ns=run.end_ns,
            lapse_ns=run.longest_lapse_ns,
        )
        recovered.append(recovery(part, slack_s))
        broken += [*silences(camera, recovered[-1]), *check_host(part, host, site.host_clock.steps)]
    broken += [
        Broken(at_ns=at_ns, promise="only the lease's holder publishes", whom=stream, what=what)
        for at_ns, stream, what in site.lease_breaches
    ]
    broken += [
        Broken(at_ns=sample.at_ns, promise="every ledger closes", whom="process", what=f"/status: {problem}")
        for sample in run.sampler.samples
        for problem in sample.problems
    ]
    if run.subscriber.failure is not None:
        what = f"an entry that cannot be read: {run.subscriber.failure}"
        broken.append(Broken(at_ns=run.end_ns, promise="every message fits its schema", whom="subscriber", what=what))
    grown = growth(run.sampler.samples, minutes)
    if soak and grown is not None:
        broken += check_growth(grown, run.end_ns)
    if not run.broken:
        broken += check_end(seen, lives[-1], _promised(site.spool, clock), FILE_FRAMES)

    def seconds(at_ns: int) -> float:
        return round((at_ns - run.begin_ns) / 1e9, 3)

    gaps = [entry.message for entry in seen if isinstance(entry.message, GapEvent)]
    return FaultReport(
        command=command,
        version=__version__,
        machine=machine_facts(),
        versions=package_versions(),
        seed=seed,
        minutes=minutes,
        slack_s=slack_s,
        verdict="broken" if broken else "held",
        violations=[
            Violation(
                promise=one.promise, whom=one.whom, at_s=seconds(one.at_ns), what=one.what, led=_led(one, run, seconds)
            )
            for one in limited(broken)
        ],
        counts=Counts(
            frames=sum(isinstance(entry.message, FrameMessage) for entry in seen),
            events=sum(entry.stream == "events" for entry in seen),
            gaps_told=len(gaps),
            frames_told_lost=sum(gap.count for gap in gaps if gap.what == "frames"),
            recoveries_checked=sum(one.checked for one in recovered),
            slowest_recovery_s=round(max(one.slowest_ns for one in recovered) / 1e9, 3),
            ledgers_checked=sum(not life.killed for life in lives),
            statuses_checked=len(run.sampler.samples),
            longest_lapse_s=round(run.longest_lapse_ns / 1e9, 3),
        ),
        growth=grown,
        lives=[
            LifeReport(
                starts_s=seconds(life.started_ns),
                ends_s=seconds(life.ended_ns),
                how="SIGKILL" if life.killed else "SIGTERM",
                status=life.status,
            )
            for life in lives
        ],
        skipped={str(kind): why for kind, why in skipped.items()},
        done=[
            Done(fault=one.fault, begins_s=seconds(one.begin_ns), ends_s=seconds(one.end_ns))
            for one in sorted(run.struck, key=lambda one: one.begin_ns)
        ],
    )


def _life(life: Life, run: _Run) -> LifeSeen:
    ended_ns = life.ended_ns or run.end_ns
    return LifeSeen(
        started_ns=life.started_ns,
        asked_ns=life.asked_ns or run.end_ns,
        ended_ns=ended_ns,
        disk_away_ns=min(
            (
                one.begin_ns
                for one in run.struck
                if one.fault.kind.startswith("disk-") and one.begin_ns <= ended_ns <= one.end_ns
            ),
            default=None,
        ),
        killed=life.killed,
        status=life.status,
        summary=life.summary,
        leased=frozenset(life.leased),
        log=life.log,
    )


def _secrets(run: _Run, site: FaultSite, seen: Sequence[Seen]) -> Iterable[Broken]:
    """No password stands anywhere: logs, summaries, `/status`, Redis, the spool."""
    places = [(f"log of process {life.pid}", "\n".join(life.log).encode()) for life in site.lives]
    places += [(f"summary of process {life.pid}", life.out.encode()) for life in site.lives]
    places += [("/status", text) for text in run.sampler.texts]
    places += [(f"{entry.stream} in Redis", entry.raw) for entry in seen]
    places += [(f"spool file {path.name}", path.read_bytes()) for path in site.spool.glob("*") if path.is_file()]
    words = [form for word in (CAMERA_PASSWORD, REDIS_PASSWORD) for form in {word, quote(word, safe="")}]
    for place, text in places:
        for secret in words:
            if secret.encode() in text:
                line = next(line for line in text.splitlines() if secret.encode() in line)
                what = f"a password stands in: {line.decode(errors='replace').replace(secret, '<the password>')[:300]}"
                yield Broken(at_ns=run.end_ns, promise="no password is shown", whom=place, what=what)


def _promised(path: Path, clock: Clock) -> dict[str, int]:
    """The last event that each producer has on the disk, read as the next process would."""
    try:
        spool = open_spool(SpoolOptions(path=str(path)), clock)
    except SinkError:
        return {}
    try:
        return {spool.producer: spool.next_n - 1}
    finally:
        spool.close()


def _led(broken: Broken, run: _Run, seconds: Callable[[int], float]) -> list[str]:
    steps = [(one.begin_ns, f"{one.fault.kind} {one.fault.target} begins") for one in run.struck]
    steps += [(one.end_ns, f"{one.fault.kind} {one.fault.target} is over") for one in run.struck]
    before = sorted((step for step in steps if step[0] <= broken.at_ns), reverse=True)[:_LED]
    return [f"{seconds(at_ns):.2f} s: {' '.join(what.split())}" for at_ns, what in before]


def _last(life: Life) -> str:
    return life.log[-1][-300:] if life.log else "it said nothing"


def encode(report: FaultReport) -> bytes:
    """The report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
