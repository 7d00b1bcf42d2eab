"""`vedette demo` (what `make demo` runs): cameras, Redis, pipeline and a subscriber, with nothing to set up."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.errors import UsageError

if TYPE_CHECKING:
    from pipeline.demo_truth import Judgement

_LONGEST_S = 10_000_000  # four months, which waits and clocks can count

_EPILOG = """\
With no option it films three synthetic streets. Nothing is left behind: Redis and its data are gone afterwards.

examples:
  vedette demo --source clips/street.mp4
  vedette demo --source rtsp://192.0.2.7/stream1 --duration 0
  vedette demo --config configs/cameras.yaml
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="see it work: cameras, Redis and a live view, nothing to set up",
        description="Run cameras, an embedded Redis, the pipeline and a subscriber, and show them live.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--source", help="a file, or a stream without a password, instead of the synthetic streets")
    what.add_argument("--config", type=Path, help="a configuration; its sinks give way to the demo's own Redis")
    parser.add_argument("--model", help="a model file, or the name of one that ships (default: vedette-n)")
    parser.add_argument("--duration", type=float, default=30.0, metavar="S", help="seconds; 0: for ever (default 30)")
    parser.add_argument("--plain", action="store_true", help="lines instead of a live table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.duration <= _LONGEST_S:
        msg = f"--duration: expected seconds, 0 (for ever) to {_LONGEST_S}, got {arguments.duration:g}"
        raise UsageError(msg)
    from pipeline.memory import use_one_heap

    use_one_heap()  # before anything starts threads

    from engines.weights import find_model
    from pipeline.assembly import Machine
    from pipeline.clock import SystemClock
    from pipeline.demo import demo_config
    from pipeline.demo_truth import Jury
    from pipeline.embedded_redis import EmbeddedRedis
    from pipeline.logs import configure_logging
    from vedette.cli.demo_view import EventLog, describe, show
    from vedette.cli.run import StopSignals, exit_status, print_summary
    from vedette.client import Gap, Subscriber

    clock = SystemClock()
    configure_logging(level="warning", format="human", clock=clock)
    log = EventLog()
    over = threading.Event()
    unseen: list[OSError] = []
    embedded = EmbeddedRedis(clock)
    stop = StopSignals(at_once=embedded.kill)
    with embedded as server:
        config = demo_config(
            source=arguments.source,
            config=arguments.config,
            model=None if arguments.model is None else find_model(arguments.model),
            redis_url=server.url,
            folder=server.folder,
        )
        machine = Machine(config, clock=clock)
        stop.ask(machine.request_stop)
        subscriber = Subscriber(server.url, block_s=0.2)  # so that it ends soon after the machine
        jury = Jury.of(config)

        def listen() -> None:
            for item in subscriber.events(start="0"):
                log.add(describe(getattr(item, "message", item)))

        def watch() -> None:
            for item in subscriber.frames(*jury.streets, start="0"):
                if not isinstance(item, Gap):
                    jury.see(item.message)

        def view() -> None:
            try:
                show(machine.status, log, clock, over, redis_url=server.url, plain=arguments.plain)
            except OSError as error:  # nobody reads it any more, or the disk behind it is full
                unseen.append(error)
                machine.request_stop()

        def time_out() -> None:
            if arguments.duration and not clock.wait(over, arguments.duration):
                machine.request_stop()

        def end() -> None:
            over.set()
            subscriber.close()

        beside = [("subscriber", listen), ("view", view), ("duration", time_out)]
        if jury.streets:
            beside.append(("jury", watch))
        outcome = machine.run(beside=beside, on_end=end)
        print_summary(outcome, as_json=False)
        print(f"The subscriber got {log.total} events.", file=sys.stderr)
        for line in judgement_lines(jury.judge()):
            print(line, file=sys.stderr)
    if unseen:
        raise unseen[0]
    return exit_status(outcome)


def judgement_lines(judged: Mapping[str, Judgement]) -> list[str]:
    """How right it was, for people: a line a street, and all together."""
    if not judged:
        return []
    from pipeline.demo_truth import Judgement

    rows = {**judged, "together": sum(judged.values(), Judgement())} if len(judged) > 1 else dict(judged)
    lines = ["How right it was, against the truth that the streets were painted from (IoU 0.5):"]
    for name, one in rows.items():
        precision, recall = ("-" if value is None else f"{value:.2f}" for value in (one.precision, one.recall))
        counts = f"{one.found} found, {one.missed} missed, {one.wrong} wrong in {one.frames} frames"
        lines.append(f"  {name:<14} precision {precision}, recall {recall}   ({counts})")
    return lines
