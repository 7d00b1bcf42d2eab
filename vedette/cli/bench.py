"""`vedette bench pipeline CONFIG`: how fast it is here, and how near to what decoder and engine could do alone."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.bench_faults import register_faults
from vedette.cli.bench_isolation import register_isolation
from vedette.cli.bench_staleness import register_staleness
from vedette.cli.json_file import check_writable, write_json
from vedette.errors import UsageError

if TYPE_CHECKING:
    from pipeline.bench.measure import Latency, Report

_EPILOG = """\
The whole pipeline and the roofline (decoder and engine alone, at the same time) are measured in turns, each in a
process of its own, and medians are compared. Then files are paced at half of the measured rate, for latency.
Stop other work on the machine meanwhile. With the defaults it takes about four minutes.

With --gpu: the pipeline whose pictures stay on an NVIDIA GPU, over surfaces that lie there already and over the files
through NVDEC, against the network alone, and the pre-processing kernel against a copy (docs/gpu.md). CONFIG has files
only; of the options above it takes --seconds, --rounds and --json.

examples:
  vedette bench pipeline configs/file.yaml --json bench.json
  vedette bench pipeline configs/gpu.yaml --gpu --json bench-gpu.json
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
    pipeline.add_argument("--gpu", action="store_true", help="measure on an NVIDIA GPU, pictures never leaving it")
    pipeline.add_argument("--json", type=Path, metavar="OUT", help="write the report to a file")
    pipeline.set_defaults(run=run_pipeline)
    synthetic = kinds.add_parser(
        "synthetic",
        help="the synthetic camera: CPU a frame, and how well a model recognises it",
        description="Measure what a frame of the synthetic camera costs, and with --model what is found in it.",
    )
    synthetic.add_argument("--model", metavar="M", help="a model file, or one that ships; its recall is measured too")
    synthetic.add_argument("--score", type=float, default=0.35, help="find nothing below this score (default 0.35)")
    synthetic.add_argument("--frames", type=int, default=500, help="how many frames to render (default 500)")
    synthetic.add_argument("--json", type=Path, metavar="OUT", help="write the report to a file")
    synthetic.set_defaults(run=run_synthetic)
    register_faults(kinds)
    register_isolation(kinds)
    register_staleness(kinds)


def run_pipeline(arguments: argparse.Namespace) -> int:
    from pipeline.bench.measure import bench

    for option, value in (("--seconds", arguments.seconds), ("--paced-seconds", arguments.paced_seconds)):
        if not 0.1 <= value <= 3600:
            msg = f"{option}: expected seconds from 0.1 to 3600, got {value:g}"
            raise UsageError(msg)
    if not 1 <= arguments.rounds <= 1000:
        msg = f"--rounds: expected a whole number from 1 to 1000, got {arguments.rounds}"
        raise UsageError(msg)
    if arguments.gpu:
        from vedette.cli.bench_gpu import run_gpu

        return run_gpu(arguments)
    check_writable(arguments.json)
    command = shlex.join(["vedette", *sys.argv[1:]])
    report = bench(
        arguments.config,
        seconds=arguments.seconds,
        rounds=arguments.rounds,
        paced_seconds=arguments.paced_seconds,
        command=command,
        progress=lambda line: print(line, file=sys.stderr),
    )
    for line in table(report):
        print(line)
    if arguments.json is not None:
        write_json(arguments.json, report)
    return 0


def run_synthetic(arguments: argparse.Namespace) -> int:
    from engines.options import ModelOptions
    from engines.weights import find_model
    from pipeline.bench.synthetic import bench_synthetic

    if not 50 <= arguments.frames <= 100_000:
        msg = f"--frames: expected a whole number from 50 to 100000, got {arguments.frames}"
        raise UsageError(msg)
    if not 0.0 <= arguments.score <= 1.0:
        msg = f"--score: expected a number from 0 to 1, got {arguments.score:g}"
        raise UsageError(msg)
    model = None if arguments.model is None else str(find_model(arguments.model))
    check_writable(arguments.json)
    report = bench_synthetic(
        None if model is None else ModelOptions(path=model, score=arguments.score),
        frames=arguments.frames,
        command=shlex.join(["vedette", *sys.argv[1:]]),
        progress=lambda line: print(line, file=sys.stderr),
    )
    for time, cpu_ms in report.cpu_ms.items():
        found = "".join(
            f"   {kind} {part.found}/{part.expected} = {part.recall:.2f}"
            for kind, part in report.recall.get(time, {}).items()
        )
        print(f"{time:<6} {cpu_ms:5.2f} ms of CPU a frame{found}")
    if arguments.json is not None:
        write_json(arguments.json, report)
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
