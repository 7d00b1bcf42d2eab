"""`vedette run CONFIG`: runs what a configuration describes until its files are over or it is told to stop."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from vedette.json_text import json_text

if TYPE_CHECKING:
    from pipeline.assembly import Outcome

EXIT_STREAM_FAILED = 3
EXIT_LEDGER = 71

_EPILOG = """\
SIGTERM or Ctrl-C drains within shutdown_s and prints the ledger; a second one ends at once.
Exit status: 0 all is well; 2 configuration; 3 a stream failed for ever; 70 our own fault; 71 the ledger is off.

example:  GATE_PASSWORD=… vedette run cameras.yaml
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "run",
        help="run a configuration: cameras and files in, tracked detections out",
        description="Run what CONFIG describes until its files are over or it is told to stop.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file (see configs/)")
    parser.add_argument("--json", action="store_true", help="print the summary at the end as JSON on standard output")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--log-format", default="auto", choices=["auto", "human", "json"])
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """`arguments.clock`: another clock than the system's (`vedette.cli.main.main`), or None."""
    from pipeline.memory import forget_the_start, use_one_heap

    use_one_heap()  # before anything starts threads

    from pipeline.assembly import Machine
    from pipeline.clock import SystemClock
    from pipeline.config_file import load_config, resolved
    from pipeline.logs import configure_logging

    stop = StopSignals()
    clock = arguments.clock or SystemClock()
    configure_logging(level=arguments.log_level, format=arguments.log_format, clock=clock)
    config = load_config(arguments.config, os.environ)
    log_resolved(resolved(config))
    machine = Machine(config, clock=clock)
    stop.ask(machine.request_stop)
    forget_the_start()
    outcome = machine.run()
    print_summary(outcome, as_json=arguments.json)
    return exit_status(outcome)


def log_resolved(text: str) -> None:
    """Log the configuration as it was understood, secrets masked."""
    import logging

    logging.getLogger("vedette").info("configuration:\n%s", text)


class StopSignals:
    """The first SIGTERM or SIGINT asks for an orderly end; the second ends the process at once.

    Installed before anything is opened: as the first process of a container a process ignores a SIGTERM that it does
    not handle, and one that came while the model was compiled was lost.
    """

    def __init__(self, at_once: Callable[[], None] = lambda: None) -> None:
        """`at_once` is called before the process is ended by the second signal."""
        self._at_once = at_once
        self._asked = False
        self._request: Callable[[], None] | None = None
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def ask(self, request_stop: Callable[[], None]) -> None:
        """Have `request_stop` called by the first signal; at once if it has come already."""
        self._request = request_stop
        if self._asked:
            request_stop()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._asked:
            self._at_once()
            os._exit(128 + number)
        self._asked = True
        if self._request is not None:
            self._request()


def exit_status(outcome: Outcome) -> int:
    """What the run's end means to whoever started it."""
    if outcome.ledger_problems:
        return EXIT_LEDGER
    return EXIT_STREAM_FAILED if outcome.failed else 0


def print_summary(outcome: Outcome, *, as_json: bool) -> None:
    """Print what became of every frame: JSON on standard output, or a table on standard error."""
    if as_json:
        summary = {
            "ledger": outcome.ledger,
            "failed": outcome.failed,
            "ledger_problems": outcome.ledger_problems,
            "left_behind": outcome.left_behind,
        }
        print(json_text(summary))
        return
    for line in summary_lines(outcome):
        print(line, file=sys.stderr)


def summary_lines(outcome: Outcome) -> list[str]:
    """The ledger for people, a line a stream and a line a sink; what is 0 is left out."""
    lines = ["", "What became of every frame:"]
    for name, stream in outcome.ledger.streams.items():
        ends = {
            "published": stream.published,
            "rate-limited": stream.rate_limited,
            "superseded": stream.superseded,
            f"failed{_reasons(stream.failed)}": sum(stream.failed.values()),
            "abandoned": stream.abandoned,
            "in flight": stream.in_flight,
        }
        failed = f"   FAILED: {outcome.failed[name]}" if name in outcome.failed else ""
        lines.append(f"  {name:<14} {stream.decoded} decoded = {_sum(ends)}{failed}")
    lines.append("What became of every message:")
    for name, sink in outcome.ledger.sinks.items():
        taken = {
            "frames": sink.accepted_frames,
            "events": sink.accepted_events,
            "recovered": sink.recovered,
            "told gaps": sink.gaps,
        }
        ends = {
            "delivered": sink.delivered,
            f"dropped{_reasons(sink.dropped)}": sum(sink.dropped.values()),
            "spooled": sink.spooled,
            "waiting": sink.waiting,
        }
        lines.append(f"  {name:<14} {_sum(taken)} = {_sum(ends)}")
    lines.append("The ledger balances." if not outcome.ledger_problems else "THE LEDGER DOES NOT BALANCE:")
    lines.extend(f"  {problem}" for problem in outcome.ledger_problems)
    return lines


def _sum(parts: dict[str, int]) -> str:
    """«3 published + 1 superseded»: the first always, of the others those that are not 0."""
    (first, count), *others = parts.items()
    return " + ".join([f"{count} {first}", *(f"{count} {name}" for name, count in others if count)])


def _reasons(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{reason} {count}' for reason, count in sorted(counts.items()))})" if counts else ""
