"""`vedette bench staleness`: how old analysed frames become when cameras offer three times what the engine can do."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.bench_isolation import add_cores, check_lines
from vedette.cli.verdict import conclude
from vedette.errors import UsageError

if TYPE_CHECKING:
    from pipeline.bench.shares.report import StalenessReport

# The one that ships as the default. Three times what the smaller one does is more than two cores can decode.
MODEL = "vedette-n"

_EPILOG = """\
A file alone says what the engine can do here; then so many RTSP cameras (GStreamer's server) as offer more than three
times that; then the file again. The process under judgement has the cores of --cores, all servers have the others;
ages are those that a subscriber of its own sees. Needs redis-server and GStreamer's RTSP server, as
`vedette bench faults` does. With the defaults it takes about three minutes. Stop other work on the machine meanwhile.
Exit status: 0 every promise held; 1 one was broken.

example:  vedette bench staleness --json out/staleness.json
"""


def register_staleness(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    staleness = kinds.add_parser(
        "staleness",
        help="how old analysed frames become under three times the engine's load",
        description="Measure, from outside, how old analysed frames become when cameras offer too many.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    staleness.add_argument(
        "--model", default=MODEL, metavar="NAME", help=f"a model that ships, or a file (default {MODEL})"
    )
    staleness.add_argument("--seconds", type=float, default=120.0, help="length of the overload (default 120)")
    staleness.add_argument(
        "--capacity-seconds", type=float, default=8.0, metavar="S", help="length of each run of the file (default 8)"
    )
    staleness.add_argument("--fps", type=float, default=25.0, help="frames a second of each camera (default 25)")
    staleness.add_argument(
        "--factor", type=float, default=3.5, help="how many times what the engine did is offered (default 3.5)"
    )
    staleness.add_argument("--cameras", type=int, help="so many cameras, whatever the engine can do")
    staleness.add_argument("--seed", type=int, default=1, help="draws when in its period each camera sends (default 1)")
    add_cores(staleness)
    staleness.add_argument("--json", type=Path, metavar="OUT", help="write the report to a file")
    staleness.set_defaults(run=run_staleness)


def run_staleness(arguments: argparse.Namespace) -> int:
    from engines.weights import find_model
    from pipeline.bench.shares.cores import share_out
    from pipeline.bench.shares.report import encode
    from pipeline.bench.shares.staleness import MOST_CAMERAS, Plan, bench_staleness
    from pipeline.clock import SystemClock
    from vedette.cli.json_file import check_writable

    for option, value, least, most in (
        ("--seconds", arguments.seconds, 1, 3600),
        ("--capacity-seconds", arguments.capacity_seconds, 1, 600),
        ("--fps", arguments.fps, 1, 120),
        ("--factor", arguments.factor, 0.1, 100),
    ):
        if not least <= value <= most:
            msg = f"{option}: expected a number from {least:g} to {most:g}, got {value:g}"
            raise UsageError(msg)
    if arguments.cameras is not None and not 1 <= arguments.cameras <= MOST_CAMERAS:
        msg = f"--cameras: expected a whole number from 1 to {MOST_CAMERAS}, got {arguments.cameras}"
        raise UsageError(msg)
    find_model(arguments.model)
    cores = share_out(arguments.cores)
    check_writable(arguments.json)
    report = bench_staleness(
        Plan(
            model=arguments.model,
            seconds=arguments.seconds,
            capacity_seconds=arguments.capacity_seconds,
            fps=arguments.fps,
            factor=arguments.factor,
            cameras=arguments.cameras,
            seed=arguments.seed,
        ),
        cores,
        clock=SystemClock(),
        command=shlex.join(["vedette", *sys.argv[1:]]),
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    return conclude(encode(report), arguments.json, lines(report), held=report.verdict == "held")


def lines(report: StalenessReport) -> list[str]:
    """The report for people."""
    ages = report.ages_ms
    return [
        f"{report.cameras} cameras of {report.fps:g} fps for {report.seconds:g} s: {report.decoded_fps:.1f} frames a "
        f"second decoded, {report.published_fps:.1f} analysed (a file alone: "
        f"{' and '.join(f'{fps:.1f}' for fps in report.capacity_fps)}), {report.superseded} superseded",
        f"age of an analysed frame: p50 {ages.p50:.1f} ms, p95 {ages.p95:.1f}, p99 {ages.p99:.1f}, max {ages.max:.1f}; "
        f"engine call {report.engine_call_ms:.2f} ms (p95 {report.own_ms['engine'].p95:.2f}); "
        f"each camera {report.slowest_camera_fps:.2f} to {report.fastest_camera_fps:.2f} analysed a second",
        *check_lines(report.checks),
        "Every promise held." if report.verdict == "held" else "BROKEN: see above.",
    ]
