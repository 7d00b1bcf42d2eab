"""`vedette bench pipeline CONFIG --gpu`: pictures that never leave the GPU, against what the GPU can do."""

from __future__ import annotations

import argparse
import shlex
import sys

from vedette.cli.json_file import check_writable, write_json


def run_gpu(arguments: argparse.Namespace) -> int:
    """Measure, print the table and write the report; returns the exit status. Raises GpuError without a GPU."""
    from pipeline.bench.gpu.require import require_gpu

    require_gpu()
    from pipeline.bench.gpu.measure import bench_gpu
    from pipeline.bench.gpu.report import table

    check_writable(arguments.json)
    report = bench_gpu(
        arguments.config,
        seconds=arguments.seconds,
        rounds=arguments.rounds,
        command=shlex.join(["vedette", *sys.argv[1:]]),
        progress=lambda line: print(line, file=sys.stderr),
    )
    if arguments.json is not None:
        write_json(arguments.json, report)
    for line in table(report):
        print(line)
    return 0
