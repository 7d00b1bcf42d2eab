"""One measurement in a process of its own: `python -m pipeline.bench.child KIND CONFIG …`, its result as JSON.

KIND is `pipeline` (as fast as it goes), `paced` (files at --rate pictures a second) or `roofline` (--hint, --requests).
Called by `pipeline/bench/measure.py`; the result is a `Sample`, printed as the last line of standard output.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from pipeline.bench.cpu import by_part
from pipeline.bench.paced import endless
from pipeline.bench.roofline import Roofline
from pipeline.clock import SystemClock, process_cpu_s
from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.latency import STAGES, Stamps
from pipeline.logs import configure_logging
from pipeline.memory import forget_the_start, use_one_heap
from pipeline.status import StreamReport
from pipeline.supervisor import Supervisor
from stages.types import Clock, StreamId
from vedette.errors import VedetteError
from vedette.secrets import scrub

if TYPE_CHECKING:
    from engines.engine import Engine
    from pipeline.assembly import Machine
    from pipeline.stream import Opener

WARM_UP_S = 2.0


class BenchError(VedetteError):
    """A measurement failed, or says something that cannot be."""


class NoStreamsError(BenchError):
    """There is nothing to measure: a stream cannot be had, or was over before the measurement was."""

    exit_status = 3


class StreamSample(msgspec.Struct, kw_only=True):
    """One stream in the window: frames settled, and each frame's durations by stage in milliseconds."""

    frames: int = 0
    stages_ms: dict[str, list[float]] = msgspec.field(default_factory=dict)
    overhead_ms: list[float] = msgspec.field(default_factory=list)


class Sample(msgspec.Struct, kw_only=True):
    """What one process measured in its window."""

    kind: str
    seconds: float
    frames: int
    cpu_s: float
    cpu_by_part_s: dict[str, float]
    streams: dict[str, StreamSample] = msgspec.field(default_factory=dict)
    superseded: int = 0


class Probe:
    """What else is looked at; this one looks at nothing. Called in the measuring thread, in this order."""

    def opened(self, machine: Machine) -> None:
        """The window opens now."""

    def wait(self, clock: Clock, over: threading.Event, seconds: float) -> None:
        """Until the window closes, or `over` is set."""
        clock.wait(over, seconds)

    def closed(self, machine: Machine) -> None:
        """The window is closed; the machine still runs."""

    def after(self, machine: Machine, clock: Clock, over: threading.Event, settled: Callable[[], int]) -> None:
        """The machine runs until this returns; `settled` counts all frames since its start."""


class _Window:
    """Collects what settles between `open` and `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = False
        self.first = threading.Event()
        self.settled = 0
        self.streams: dict[str, StreamSample] = {}

    def settle(self, stream: StreamId, stamps: Stamps) -> None:
        self.first.set()
        overhead_ns = stamps.settled_ns - stamps.decoded_ns - stamps.engine_ns
        with self._lock:
            self.settled += 1
            if not self._open:
                return
            sample = self.streams.setdefault(stream, StreamSample())
            sample.frames += 1
            sample.overhead_ms.append(overhead_ns / 1e6)
            for stage, duration_ns in zip(STAGES, stamps.stages_ns(), strict=True):
                sample.stages_ms.setdefault(stage, []).append(duration_ns / 1e6)

    def open(self) -> None:
        with self._lock:
            self._open = True

    def close(self) -> None:
        with self._lock:
            self._open = False


def measure_pipeline(
    config: Config,
    *,
    seconds: float,
    rate: float | None,
    kind: str,
    opener: Opener | None = None,
    engine_opener: Callable[..., Engine] | None = None,
    probe: Probe | None = None,
) -> Sample:
    """Run the whole machine and look at it for `seconds` after it has warmed up.

    `opener` and `engine_opener`: what else to measure than the files themselves and the configured engine.
    """
    from engines.runtimes import open_engine
    from pipeline.assembly import Machine

    clock = SystemClock()
    files = frozenset(options.id for options in config.streams if options.is_file)
    if rate is not None:
        streams = tuple(
            msgspec.structs.replace(options, mode="live") if options.is_file else options for options in config.streams
        )
        config = msgspec.structs.replace(config, streams=streams)
    window, looking = _Window(), probe or Probe()
    machine = Machine(
        config,
        clock=clock,
        on_stamps=window.settle,
        opener=opener or endless(files, rate),
        engine_opener=engine_opener or open_engine,
    )
    samples: list[Sample] = []
    over = threading.Event()

    def end() -> None:
        over.set()
        window.first.set()

    def watch() -> None:
        window.first.wait()
        if over.is_set() or clock.wait(over, WARM_UP_S):
            return
        before_cpu, before_parts = process_cpu_s(), by_part(machine.thread_ids())
        before_superseded = _superseded(machine.status().streams.values())
        looking.opened(machine)
        start_ns = clock.mono_ns()
        window.open()
        looking.wait(clock, over, seconds)
        window.close()
        elapsed_s = (clock.mono_ns() - start_ns) / 1e9
        cpu_s, parts = process_cpu_s() - before_cpu, by_part(machine.thread_ids())
        looking.closed(machine)
        samples.append(
            Sample(
                kind=kind,
                seconds=elapsed_s,
                frames=sum(stream.frames for stream in window.streams.values()),
                cpu_s=cpu_s,
                cpu_by_part_s={part: parts[part] - before_parts[part] for part in parts},
                streams=window.streams,
                superseded=_superseded(machine.status().streams.values()) - before_superseded,
            )
        )
        looking.after(machine, clock, over, lambda: window.settled)
        machine.request_stop()

    forget_the_start()  # as `vedette run` does
    outcome = machine.run(beside=[("bench", watch)], on_end=end)
    if outcome.failed or not samples:
        notes = [f"{name}: {report.state}, {report.note}" for name, report in outcome.status.streams.items()]
        msg = f"the streams did not last until the measurement was over: {'; '.join(notes)}"
        raise NoStreamsError(msg)
    return samples[0]


def _superseded(reports: Iterable[StreamReport]) -> int:
    return sum(report.totals.superseded for report in reports)


def measure_roofline(config: Config, *, seconds: float, hint: str, requests: int) -> Sample:
    """Run decoder and engine alone for `seconds` after they have warmed up."""
    clock = SystemClock()
    supervisor = Supervisor(clock)
    roofline = Roofline(config, hint, requests, clock, supervisor)  # type: ignore[arg-type]
    roofline.start()
    clock.wait(supervisor.stop, WARM_UP_S)
    before_cpu, before_parts, before = process_cpu_s(), by_part(supervisor.native_ids()), roofline.frames
    start_ns = clock.mono_ns()
    clock.wait(supervisor.stop, seconds)  # which a thread that fails sets
    elapsed_s = (clock.mono_ns() - start_ns) / 1e9
    frames, cpu_s, parts = roofline.frames - before, process_cpu_s() - before_cpu, by_part(supervisor.native_ids())
    supervisor.request_stop()
    supervisor.join(timeout_s=10.0)
    if supervisor.failure is not None:
        raise supervisor.failure.error
    return Sample(
        kind=f"roofline {hint} {requests}",
        seconds=elapsed_s,
        frames=frames,
        cpu_s=cpu_s,
        cpu_by_part_s={part: parts[part] - before_parts[part] for part in parts},
    )


def main() -> NoReturn:
    """Print a Sample and end; of an error the last line on standard error says what it was."""
    run_child(_measure)


def run_child(measure: Callable[[], None]) -> NoReturn:
    """Measure, and end the process: 0, or 3 (no streams) or 70 with the reason as the last line on standard error."""
    status = 70
    try:
        measure()
        status = 0
    except VedetteError as error:
        status = NoStreamsError.exit_status if isinstance(error, NoStreamsError) else status
        sys.stderr.write(scrub(error.message) + "\n")
    except Exception:  # noqa: BLE001 - the top of the process
        sys.stderr.write(scrub(traceback.format_exc()))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a decoder blocked in the network must not hold the measurement up


def _measure() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["pipeline", "paced", "roofline"])
    parser.add_argument("config", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--hint", default="LATENCY")
    parser.add_argument("--requests", type=int, default=2)
    arguments = parser.parse_args()
    use_one_heap()
    configure_logging(level="warning", format="human", clock=SystemClock())
    config = msgspec.structs.replace(load_config(arguments.config, os.environ), http=None)
    if arguments.kind == "roofline":
        sample = measure_roofline(config, seconds=arguments.seconds, hint=arguments.hint, requests=arguments.requests)
    else:
        sample = measure_pipeline(config, seconds=arguments.seconds, rate=arguments.rate, kind=arguments.kind)
    sys.stdout.buffer.write(msgspec.json.encode(sample) + b"\n")


if __name__ == "__main__":
    main()
