"""`vedette bench isolation`: what a camera in trouble, or a file at full speed, takes from the other streams."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.verdict import conclude
from vedette.errors import UsageError

if TYPE_CHECKING:
    from pipeline.bench.shares.report import Check, IsolationReport, Part

PARTS = ("cameras", "file")

_EPILOG = """\
Eight RTSP cameras (GStreamer's server) of which one is killed, stalled and made to send garbage; then four cameras
with and without a file that is analysed at full speed. Calm phases alternate with the others and are what those are
held to. The process under judgement has the cores of --cores, all servers have the others; ages are those that a
subscriber of its own sees. Needs redis-server and GStreamer's RTSP server, as `vedette bench faults` does.
With the defaults it takes about six minutes. Stop other work on the machine meanwhile.
Exit status: 0 every promise held; 1 one was broken.

example:  vedette bench isolation --json out/isolation.json
"""


def register_isolation(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    isolation = kinds.add_parser(
        "isolation",
        help="what one camera's trouble, or a file at full speed, takes from the other streams",
        description="Measure, from outside, what streams feel of each other's trouble.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    isolation.add_argument("--seconds", type=float, default=12.0, help="length of each phase (default 12)")
    isolation.add_argument("--rounds", type=int, default=2, help="how often each kind of trouble is made (default 2)")
    isolation.add_argument("--only", choices=PARTS, help="the eight cameras alone, or the file alone")
    isolation.add_argument("--kinds", metavar="KINDS", help="what happens to the camera, separated by commas")
    isolation.add_argument("--fps", type=float, default=10.0, help="frames a second of each camera (default 10)")
    isolation.add_argument("--seed", type=int, default=1, help="draws when in its period each camera sends (default 1)")
    add_cores(isolation)
    isolation.add_argument("--json", type=Path, metavar="OUT", help="write the report to a file")
    isolation.set_defaults(run=run_isolation)


def add_cores(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cores", metavar="N,N", help="the cores of the process under judgement (default: the first two that are ours)"
    )


def run_isolation(arguments: argparse.Namespace) -> int:
    from pipeline.bench.shares.cores import share_out
    from pipeline.bench.shares.isolation import KINDS, Plan, bench_isolation
    from pipeline.bench.shares.report import encode
    from pipeline.clock import SystemClock
    from vedette.cli.json_file import check_writable

    if not 1 <= arguments.seconds <= 600:
        msg = f"--seconds: expected a number from 1 to 600, got {arguments.seconds:g}"
        raise UsageError(msg)
    if not 1 <= arguments.rounds <= 100:
        msg = f"--rounds: expected a whole number from 1 to 100, got {arguments.rounds}"
        raise UsageError(msg)
    if not 1 <= arguments.fps <= 120:
        msg = f"--fps: expected a number from 1 to 120, got {arguments.fps:g}"
        raise UsageError(msg)
    kinds = KINDS if arguments.kinds is None else tuple(arguments.kinds.split(","))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        msg = f"--kinds: expected some of {', '.join(KINDS)}, got {unknown[0]!r}"
        raise UsageError(msg)
    cores = share_out(arguments.cores)
    check_writable(arguments.json)
    report = bench_isolation(
        Plan(
            seconds=arguments.seconds,
            rounds=arguments.rounds,
            fps=arguments.fps,
            seed=arguments.seed,
            parts=PARTS if arguments.only is None else (arguments.only,),
            kinds=kinds,
        ),
        cores,
        clock=SystemClock(),
        command=shlex.join(["vedette", *sys.argv[1:]]),
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    return conclude(encode(report), arguments.json, lines(report), held=report.verdict == "held")


def lines(report: IsolationReport) -> list[str]:
    """The report for people."""
    told = []
    for title, part in (("one of eight cameras in trouble", report.struck), ("a file beside cameras", report.file)):
        if part is not None:
            told += [title, *_part(part), ""]
    return [*told, "Every promise held." if report.verdict == "held" else "BROKEN: see above."]


def _part(part: Part) -> list[str]:
    rows = [f"  {'age of a frame, ms':<22} {'frames':>7} {'p50':>8} {'p95':>8} {'p99':>8} {'max':>8}"]
    rows += [
        f"  {kind:<22} {age.frames:>7} {age.p50:>8.2f} {age.p95:>8.2f} {age.p99:>8.2f} {age.max:>8.2f}"
        for kind, age in part.ages_ms.items()
    ]
    return [*rows, *check_lines(part.checks)]


def check_lines(checks: list[Check]) -> list[str]:
    return [
        f"  {'held  ' if check.holds else 'BROKEN'} {check.promise}: {check.found} (limit: {check.limit})"
        for check in checks
    ]
