"""Puts the machine's status together from what its parts know; read by HTTP, the demo, `vedette run` and tests."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from engines.engine import Engine
from engines.runtimes.description import title
from pipeline.clock import process_age_ns, process_cpu_s
from pipeline.lane import Lane
from pipeline.ledger import Ledger, StreamTotals
from pipeline.outgoing import Outlet
from pipeline.status import ProcessReport, Readiness, SinkReport, Status, StreamReport
from pipeline.stream import StreamRunner
from stages.types import Clock, State, StreamId
from vedette import __version__


class Reporter:
    """Reads; changes nothing. Thread-safe as far as the parts are, and they are."""

    def __init__(
        self,
        clock: Clock,
        ledger: Ledger,
        engines: Sequence[Engine],
        run_id: str,
        outlets: Sequence[Outlet],
        streams: Mapping[StreamId, tuple[StreamRunner, Lane]],
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._engines = tuple(engines)
        self._run_id = run_id
        self._outlets = tuple(outlets)
        self._streams = dict(streams)
        age_ns = process_age_ns()  # models and sinks were opened before this
        self._started_wall_ns = clock.wall_ns() - age_ns
        self._started_ns = clock.mono_ns() - age_ns

    def status(self) -> Status:
        totals = self._ledger.totals()
        now_ns = self._clock.mono_ns()
        return Status(
            version=__version__,
            started_wall_ns=self._started_wall_ns,
            uptime_s=(now_ns - self._started_ns) / 1e9,
            model=title(self._engines[0].spec),
            engine="; ".join(engine.description for engine in self._engines),
            run=self._run_id,
            streams={
                str(name): self._stream(runner, lane, totals.streams[name], now_ns)
                for name, (runner, lane) in self._streams.items()
            },
            sinks={
                outlet.name: SinkReport(problem=outlet.problem(), totals=totals.sinks[outlet.name])
                for outlet in self._outlets
            },
            published=totals.published,
            events=totals.events,
            ledger_problems=totals.problems,
            threads=sorted(thread.name for thread in threading.enumerate()),
            process=_process(),
        )

    def readiness(self) -> Readiness:
        """Ready while at least one stream's frames flow and no sink has a problem; every reason is named either way.

        One dead camera of many does not make the process unready: restarting it would stop the others.
        """
        status = self.status()
        silent = [
            f"stream {name}: {report.state}" + (f" ({report.reason})" if report.reason else "")
            for name, report in status.streams.items()
            if not _flows(report)
        ]
        broken = [f"sink {name}: {sink.problem}" for name, sink in status.sinks.items() if sink.problem]
        ready = len(silent) < len(status.streams) and not broken
        return Readiness(ready=ready, reasons=broken + silent)

    def _stream(self, runner: StreamRunner, lane: Lane, totals: StreamTotals, now_ns: int) -> StreamReport:
        source = runner.status()
        published = lane.report()
        return StreamReport(
            state=source.state.value,
            reason=source.reason.value if source.reason else None,
            since_s=(now_ns - source.since_mono_ns) / 1e9,
            epoch=source.epoch,
            url=source.url,
            run=lane.run,
            size=published.size_wh or source.size_wh,
            codec=source.codec,
            decoder=source.decoder,
            fps_decoded=source.fps_decoded,
            fps_published=published.fps_published,
            frozen=source.frozen,
            clock=source.clock.value if source.clock else None,
            clock_error_ms=source.clock_error_ms,
            note=source.note,
            latency_ms=lane.latencies.quantiles(),
            objects=published.objects,
            last_wall_ns=published.last_wall_ns,
            totals=totals,
        )


def _flows(report: StreamReport) -> bool:
    if report.state == State.ENDED.value:
        return True
    return report.state == State.STREAMING.value and report.fps_published > 0


def _process() -> ProcessReport:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        open_files = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:  # not Linux, or no descriptor left: what cannot be read is said as zero, never guessed
        return ProcessReport(cpu_s=process_cpu_s(), rss_bytes=0, open_files=0)
    return ProcessReport(cpu_s=process_cpu_s(), rss_bytes=pages * os.sysconf("SC_PAGE_SIZE"), open_files=open_files)
