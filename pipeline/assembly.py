"""The whole machine, joined: reading this file from top to bottom shows how a frame travels.

    source:{id}    decode, fps, credit ── Entrance ── Lane takes note of the order
                                             └── slot ── Batcher
    dispatch       Batcher ── Preprocess ── Engine     (these two for each GPU on which pictures stay: analysis.py)
    finish         Engine ── Detect ── Suppress ── Lane: order, Tracker, messages ── every Outlet
    sink:{kind}    Outlet ── Redis, file

Stages know nothing of each other; threads, queues and clocks are made here and in the modules named here.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engines.engine import Engine
from engines.runtimes import open_engine
from engines.runtimes.description import title
from pipeline.analysis import Analysis, analysis_of, open_analyses
from pipeline.clock import SystemClock
from pipeline.config import Config
from pipeline.config_file import stream_fingerprint
from pipeline.credits import Credits
from pipeline.entrance import Entrance
from pipeline.http import HttpServer
from pipeline.lane import Lane
from pipeline.latency import Stamps
from pipeline.ledger import Ledger, LedgerTotals
from pipeline.memory import give_back
from pipeline.outgoing import Outlet
from pipeline.outlet import build_outlets
from pipeline.reporting import Reporter
from pipeline.run_id import file_run, process_run
from pipeline.status import Readiness, Status
from pipeline.stream import Opener, StreamRunner
from pipeline.supervisor import Supervisor
from stages.options import StreamOptions
from stages.source import Connection, open_connection
from stages.source.av_open import is_local, local_path
from stages.track import build_tracker
from stages.types import Clock, State, StreamId
from vedette import __version__
from vedette.priority import step_back

logger = logging.getLogger(__name__)

_GRACE_S = 1.0
_GIVE_BACK_S = 30.0  # pages that were given back too early are taken again, at a quarter of a microsecond each (guess)
_GOLDEN_RATIO = 0.618033988749895  # its multiples, modulo 1, are evenly spread however many there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One stream's parts, together."""

    options: StreamOptions
    lane: Lane
    entrance: Entrance
    runner: StreamRunner


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended. `failed`: streams that failed for ever, with their reasons; `left_behind`: threads still blocked
    in somebody else's code when the drain's time was up.
    """

    status: Status
    ledger: LedgerTotals
    failed: Mapping[str, str]
    left_behind: tuple[str, ...]

    @property
    def ledger_problems(self) -> list[str]:
        """What does not balance or was forgotten; empty after a run that can be believed.

        A sink that is left behind, blocked in its server's name or answer, keeps what waits: that is told, not wrong.
        """
        forgotten = [
            f"stream {name}: {totals.in_flight} frames were never accounted for"
            for name, totals in self.ledger.streams.items()
            if totals.in_flight
        ]
        waiting = [
            f"sink {name}: {totals.waiting} messages still wait"
            for name, totals in self.ledger.sinks.items()
            if totals.waiting and not {f"sink:{name}", f"spool:{name}"} & set(self.left_behind)
        ]
        return [*self.ledger.problems, *forgotten, *waiting]


class Machine:
    """Everything that one configuration asks for. Build it, `run` it once; `request_stop` from anywhere."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        on_stamps: Callable[[StreamId, Stamps], None] | None = None,
        opener: Opener = open_connection,
        engine_opener: Callable[..., Engine] = open_engine,
        outlet_builder: Callable[..., Sequence[Outlet]] = build_outlets,
    ) -> None:
        """Open port, sinks and engine, in the order in which their errors are cheapest. Nothing runs yet.

        `opener`, `engine_opener` and `outlet_builder` stand for the real sources, engine and sinks; with
        `model.gpu.decode: gpu` the opener is given the number of the stream's GPU, too, as `gpu`.
        Raises ConfigError, ModelError, SpoolError, MissingExtraError.
        """
        self._config = config
        self._clock = clock or SystemClock()
        self.ledger = Ledger()
        # A SimpleQueue, since a signal handler may put into it at any moment; an Event's lock is not re-entrant.
        self._inbox: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stop_requested = False
        self._sources_stop = threading.Event()
        self._supervisor = Supervisor(self._clock)
        self._supervisor.on_stop(lambda: self._inbox.put(None))
        self._streams: dict[StreamId, Stream] = {}
        self._lock = threading.Lock()
        self._sources_alive = len(config.streams)
        self.run_id = process_run()

        for options in config.streams:
            self.ledger.open_stream(StreamId(options.id))
        # A port that is taken leaves no file behind.
        self._http = None if config.http is None else HttpServer(config.http, status=self.status, ready=self.readiness)
        self._outlets: tuple[Outlet, ...] = tuple(
            outlet_builder(
                config.sinks,
                streams=tuple(StreamId(options.id) for options in config.streams),
                ledger=self.ledger,
                clock=self._clock,
                on_leased=self._leased,
            )
        )
        self._analyses = open_analyses(config, engine_opener, self._clock)
        self.engines = tuple(analysis.engine for analysis in self._analyses)
        for index, options in enumerate(config.streams):
            analysis = analysis_of(index, self._analyses)
            self._streams[StreamId(options.id)] = self._build_stream(options, analysis, opener, on_stamps)
        self._reporter = Reporter(
            self._clock, self.ledger, self.engines, self.run_id, self._outlets,
            {name: (stream.runner, stream.lane) for name, stream in self._streams.items()},
        )  # fmt: skip

    @property
    def engine(self) -> Engine:
        """The engine, or the first of several: they run the same network."""
        return self.engines[0]

    def _build_stream(
        self,
        options: StreamOptions,
        analysis: Analysis,
        opener: Callable[..., Connection],
        on_stamps: Callable[[StreamId, Stamps], None] | None,
    ) -> Stream:
        stream = StreamId(options.id)
        credits = Credits(on_all_back=self._frames_settled) if options.is_file else None
        run = self.run_id
        if options.is_file:
            run = file_run(
                local_path(options.url) if is_local(options.url) else str(options.url),
                model_sha256=self.engine.spec.sha256,
                fingerprint=stream_fingerprint(self._config, options),
            )
        lane = Lane(
            stream,
            run=run,
            model=title(self.engine.spec),
            version=__version__,
            class_names=self.engine.spec.classes,
            tracker=build_tracker(self._config.track, self.engine.spec.classes),
            memory_s=self._config.track.memory_s,
            credits=credits,
            outlets=self._outlets,
            ledger=self.ledger,
            clock=self._clock,
            on_stamps=on_stamps,
        )
        entrance = Entrance(stream, lane=lane, dispatcher=analysis.dispatcher, ledger=self.ledger, credits=credits)
        runner = StreamRunner(
            options,
            run,
            entrance,
            self._clock,
            self._sources_stop,
            opener=opener if analysis.gpu is None else functools.partial(opener, gpu=analysis.gpu),
            phase=len(self._streams) * _GOLDEN_RATIO % 1.0,
        )
        return Stream(options=options, lane=lane, entrance=entrance, runner=runner)

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(
        self,
        beside: Sequence[tuple[str, Callable[[], None]]] = (),
        on_end: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Start every thread, wait until all streams are over or a stop is asked for, drain, and say how it ended.

        `beside`: further named bodies (a view, a measurement), told by `on_end` that the machine has drained. Raises
        what a thread raised, with its traceback.
        """
        spawn = self._supervisor.spawn
        if self._http is not None:
            spawn("http", self._http.run)
        for outlet in self._outlets:
            for name, body in outlet.bodies():
                spawn(name, body)
        for name, body in beside:
            spawn(name, body)
        for analysis in self._analyses:
            dispatch, finish = analysis.names
            spawn(finish, analysis.finisher.run)
            spawn(dispatch, analysis.dispatcher.run)
        for name, stream in self._streams.items():
            spawn(f"source:{name}", functools.partial(self._run_source, stream))
        # A file is over when its last frame is with the slowest sink, however long that takes; a stop cuts it short.
        while not (self._stop_requested or self._supervisor.failure or self._all_over()):
            try:
                self._inbox.get(timeout=_GIVE_BACK_S)
            except queue.Empty:
                give_back()
        left_behind = self._drain()
        on_end()
        for name, _ in beside:
            left_behind += self._supervisor.join(name, _GRACE_S)
        for name in left_behind:
            logger.warning("thread %s is still blocked and is left behind", name)
        failure = self._supervisor.failure
        if failure is not None:
            raise failure.error
        failed = {
            str(name): status.reason.value if status.reason else "unknown"
            for name, status in ((name, stream.runner.status()) for name, stream in self._streams.items())
            if status.state is State.FAILED
        }
        status = self.status()
        return Outcome(status=status, ledger=status.ledger, failed=failed, left_behind=tuple(left_behind))

    def request_stop(self) -> None:
        """Ask for the end: drains within `shutdown_s`. From any thread, also from a signal handler; idempotent."""
        self._stop_requested = True
        self._inbox.put(None)

    def thread_ids(self) -> dict[str, int]:
        """Kernel ids of the running threads by name, for CPU accounting."""
        return self._supervisor.native_ids()

    def status(self) -> Status:
        return self._reporter.status()

    def readiness(self) -> Readiness:
        return self._reporter.readiness()

    def _run_source(self, stream: Stream) -> None:
        if is_local(stream.options.url):
            step_back()  # a file waits, and may be decoded all of the time; a camera's packets have to be fetched
        stream.runner.run()
        with self._lock:
            self._sources_alive -= 1
        self._inbox.put(None)

    def _all_over(self) -> bool:
        """Whether every source has ended and every frame of a file is with its slowest sink."""
        return not self._sources_alive and all(stream.entrance.is_settled() for stream in self._streams.values())

    def _frames_settled(self) -> None:
        if not self._sources_alive:
            self._inbox.put(None)

    def _leased(self, stream: StreamId) -> None:
        self._streams[stream].runner.fail_leased()

    def _drain(self) -> list[str]:
        """End the threads in the order in which frames travel; returns the names of those left behind."""
        failed = self._supervisor.failure is not None
        end_ns = self._clock.mono_ns() + int(self._config.shutdown_s * 1e9)

        def left_s(share: float = 1.0) -> float:
            return max(0.0, (end_ns - self._clock.mono_ns()) / 1e9 * share)

        join = self._supervisor.join
        self._sources_stop.set()
        for stream in self._streams.values():
            stream.entrance.stop_waiting()
        if failed:
            self._close_engines()  # nobody may be left to give their buffers back
        left_behind = join("source:", left_s(0.6))
        for analysis in self._analyses:
            analysis.dispatcher.close()
        left_behind += join("dispatch", left_s(0.6))
        self._close_engines()
        left_behind += join("finish", left_s(0.6))
        # After a failure nobody had the chance to finish anything.
        unfinished = list(self._supervisor.native_ids()) if failed else left_behind
        work_left = any(name.startswith(("dispatch", "finish")) for name in unfinished)
        for stream in self._streams.values():
            source_left = f"source:{stream.options.id}" in unfinished
            stream.entrance.close(source_left=source_left, work_left=work_left)
        for outlet in self._outlets:
            outlet.close(end_ns)
        # At the deadline a sink drops what waits and lets its leases go, which takes a moment more.
        end_ns += int(_GRACE_S * 1e9)
        for outlet in self._outlets:
            for name, _ in outlet.bodies():
                left_behind += join(name, left_s())
        if self._http is not None:
            self._http.close()
            left_behind += join("http", _GRACE_S)
        return [name for name in dict.fromkeys(left_behind) if name in join(name, 0.0)]

    def _close_engines(self) -> None:
        for engine in self.engines:
            engine.close()
