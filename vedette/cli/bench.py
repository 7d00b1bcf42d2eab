"""`vedette bench pipeline CONFIG`: how fast it is here, and how near to what decoder and engine could do alone."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.bench.measure import Latency, Report

_EPILOG = """\
The whole pipeline and the roofline (decoder and engine alone, at the same time) are measured in turns, each in a
process of its own, and medians are compared. Then files are paced at half of the measured rate, for latency.
Stop other work on the machine meanwhile. With the defaults it takes about four minutes.

example:  vedette bench pipeline configs/file.yaml --json bench.json
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("bench", help="measure speed and latency on this machine")
    kinds = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)
    pipeline = kinds.add_parser(
        "pipeline",
        help="the whole pipeline of a configuration against its roofline",
        description="Measure the whole pipeline of CONFIG against what its decoder and engine can do alone.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pipeline.add_argument("config", type=Path, metavar="CONFIG")
    pipeline.add_argument("--seconds", type=float, default=10.0, help="length of each measurement (default 10)")
    pipeline.add_argument("--rounds", type=int, default=3, help="alternations (default 3)")
    pipeline.add_argument("--paced-seconds", type=float, default=20.0, help="length of the paced phase (default 20)")
    pipeline.add_argument("--json", type=Path, metavar="OUT", help="write the report to a file")
    pipeline.set_defaults(run=run_pipeline)


def run_pipeline(arguments: argparse.Namespace) -> int:
    import msgspec

    from pipeline.bench.measure import bench

    command = shlex.join(["vedette", *sys.argv[1:]])
    report = bench(
        arguments.config,
        seconds=arguments.seconds,
        rounds=arguments.rounds,
        paced_seconds=arguments.paced_seconds,
        command=command,
        progress=lambda line: print(line, file=sys.stderr),
    )
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    for line in table(report):
        print(line)
    return 0


def table(report: Report) -> list[str]:
    """The report for people."""

    def row(name: str, latency: Latency) -> str:
        return f"  {name:<22} {latency.p50:8.2f} {latency.p95:8.2f} {latency.p99:8.2f}"

    lines = [
        f"pipeline             {report.fps:8.1f} frames/s",
        f"roofline             {report.roofline_fps:8.1f} frames/s   ({report.roofline_mode})",
        f"ratio                {report.ratio:8.3f}",
        f"CPU over the roofline{report.overhead_cpu_ms:8.2f} ms a frame",
        "",
        "CPU by part, ms a frame: " + ", ".join(f"{part} {value:.2f}" for part, value in report.cpu_ms.items()),
        "",
        f"latency at {report.paced_fps:.1f} frames/s, ms      p50      p95      p99",
        row("overhead", report.overhead_ms),
    ]
    lines.extend(row(stage, latency) for stage, latency in report.stages.items())
    lines.append("")
    for name, stream in report.streams.items():
        total = stream.latency_ms.get("total")
        latency = f", arrival to sink p50 {total.p50:.1f} ms, p99 {total.p99:.1f} ms" if total else ""
        lines.append(f"stream {name}: {stream.fps:.1f} frames/s{latency}")
    return lines
