"""`vedette model bench MODEL…`: how fast networks are here, in every runtime and precision, side by side in one run."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.json_file import check_writable, write_json
from vedette.cli.printable import printable
from vedette.errors import UsageError

if TYPE_CHECKING:
    from engines.bench.prepare import Candidate
    from engines.bench.report import Report, Row
    from engines.bench.run import Steps

_EPILOG = """\
A MODEL is a file, the name of one that ships (vedette-n), or yolo-nas-n, -s, -m, -l: that network with random weights,
for speed alone. A float model is quantized for int8, with the pictures of --images or, without, with noise.
nncf-int8 is what NNCF makes of the same network for OpenVINO: the yardstick.

Every candidate has a process of its own, and they take turns, --rounds times; speed-ups are taken within rounds, and
their medians are shown. p50, p95, p99: milliseconds of one request at a time. img/s: with as many in flight as the
pipeline has. mem MB: the most that the process had, Python and libraries included. Stop other work on the machine
meanwhile; where one cannot, many short rounds are better: --rounds 25 --seconds 0.5. `taskset -c 0,1 vedette model
bench …` measures on two cores.

example:  vedette model bench yolo-nas-s --runtime openvino --precision fp32,bf16,int8,nncf-int8 --json bench.json
"""

_ALIASES = {"onnx": "onnxruntime", "ort": "onnxruntime", "trt": "tensorrt"}


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bench = commands.add_parser(
        "bench",
        help="measure how fast networks are here, side by side",
        description="Measure networks in every runtime and precision that this machine has, side by side in one run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument("models", nargs="+", metavar="MODEL", help="a file, a shipped name, or yolo-nas-n|s|m|l")
    bench.add_argument("--size", metavar="W[xH]", help="of yolo-nas-…: 640 or 640x384 (640)")
    bench.add_argument("--runtime", default="openvino,onnxruntime,torch,tensorrt", help="(%(default)s)")
    bench.add_argument("--precision", default="fp32,bf16,int8", help="also fp16, nncf-int8 (%(default)s)")
    bench.add_argument("--batch", default="1", metavar="N,…", help="pictures a request (%(default)s)")
    bench.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    bench.add_argument("--seconds", type=float, default=2.0, help="length of each turn (%(default)s)")
    bench.add_argument("--threads", type=int, help="of the engine (every core that it may use)")
    bench.add_argument("--images", type=Path, metavar="DIR", help="pictures that calibrate int8, instead of noise")
    bench.add_argument("--data", type=Path, metavar="DATA", help="labelled pictures: measures AP, too")
    bench.add_argument("--json", type=Path, metavar="OUT", help="write the report to a file")
    bench.add_argument("--plot", type=Path, metavar="OUT.png", help="draw AP against latency, where AP is known")
    bench.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 if anything could be measured, else 2."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from engines.bench.prepare import PRECISIONS, RUNTIMES
    from engines.bench.run import BenchOptions, bench

    _check(arguments)
    options = BenchOptions(
        models=tuple(dict.fromkeys(arguments.models)),
        size_wh=None if arguments.size is None else _size(arguments.size),
        runtimes=_names("--runtime", arguments.runtime, RUNTIMES),
        precisions=_names("--precision", arguments.precision, PRECISIONS),
        batches=_batches(arguments.batch),
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        threads=arguments.threads,
        images=() if arguments.images is None else _images(arguments.images),
    )
    accuracy = _accuracy(arguments)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    from rich.console import Console

    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("", total=None)

        def progress(steps: Steps) -> None:
            bar.update(task, description=steps.what, completed=steps.done, total=steps.total)

        report = bench(
            options,
            child=[sys.executable, "-m", "vedette.cli.model.bench_child"],
            command=shlex.join(["vedette", *sys.argv[1:]]),
            accuracy=accuracy,
            progress=progress,
        )
    print("\n".join(map(printable, table(report))))
    if arguments.json is not None:
        write_json(arguments.json, report)
    if arguments.plot is not None:
        from engines.bench.frontier import plot

        data = "each model's own gate" if arguments.data is None else arguments.data.name
        title = f"{report.machine['cpu']}, {report.machine['cores']} cores; AP on {data}"
        plot(report.rows, arguments.plot, title=title)
    return 0 if report.rows else 2


def table(report: Report) -> list[str]:
    """The report for people."""
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("model", lambda row: row.model),
        ("runtime", lambda row: row.runtime),
        ("precision", lambda row: row.precision),
        ("batch", lambda row: str(row.batch)),
        ("p50 ms", lambda row: f"{row.p50_ms:.2f}"),
        ("p95", lambda row: f"{row.p95_ms:.2f}"),
        ("p99", lambda row: f"{row.p99_ms:.2f}"),
        ("img/s", lambda row: f"{row.fps:.1f}"),
        ("mem MB", lambda row: f"{row.memory_mb:.0f}"),
        ("file MB", lambda row: f"{row.file_mb:.1f}"),
        ("GFLOPs", lambda row: "" if row.gflops is None else f"{row.gflops:.1f}"),
        ("x fp32", lambda row: _times(row.speedup_fp32)),
        ("x nncf", lambda row: _times(row.speedup_nncf)),
        ("x first", lambda row: _times(row.speedup_first)),
        ("AP", lambda row: "" if row.ap is None else f"{100 * row.ap:.1f}"),
    ]
    cells = [[name for name, _ in columns]] + [[value(row) for _, value in columns] for row in report.rows]
    # A column in which nothing stands (AP, NNCF) is left out.
    used = [index for index in range(len(columns)) if any(line[index] for line in cells[1:])]
    widths = {index: max(len(line[index]) for line in cells) for index in used}
    lines = []
    if report.rows:
        for line in cells:
            shown = [
                line[index].ljust(widths[index]) if index < 3 else line[index].rjust(widths[index]) for index in used
            ]
            lines.append("  ".join(shown).rstrip())
    notes = dict.fromkeys(f"{row.model}, {row.precision}: {row.note}" for row in report.rows if row.note)
    foot = [*notes, *report.missing]
    return [*lines, "", *foot] if lines and foot else [*lines, *foot]


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _check(arguments: argparse.Namespace) -> None:
    """Say now what would be said after minutes of measuring. Raises UsageError."""
    if not 0.01 <= arguments.seconds <= 3600:
        msg = f"--seconds: expected a number from 0.01 to 3600, got {arguments.seconds:g}"
        raise UsageError(msg)
    for option, value, most in (("--rounds", arguments.rounds, 1000), ("--threads", arguments.threads, 256)):
        if value is not None and not 1 <= value <= most:
            msg = f"{option}: expected a whole number from 1 to {most}, got {value}"
            raise UsageError(msg)
    check_writable(arguments.json)
    check_writable(arguments.plot, option="--plot", into=False)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    sides = [int(side) if side.isdecimal() else 0 for side in (width, height or width)]
    if any(side % 32 or not 32 <= side <= 8192 for side in sides):
        msg = f"--size: expected W or WxH, multiples of 32, got {text!r}"
        raise UsageError(msg, hint="--size 640, --size 640x384")
    return sides[0], sides[1]


def _names(option: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Raises UsageError for a name that is none of `known`."""
    names = tuple(dict.fromkeys(_ALIASES.get(name, name) for name in text.lower().split(",") if name))
    for name in names:
        if name not in known:
            msg = f"{option}: expected some of {', '.join(known)}, got {name!r}"
            raise UsageError(msg)
    if not names:
        msg = f"{option}: expected some of {', '.join(known)}, got nothing"
        raise UsageError(msg)
    return names


def _batches(text: str) -> tuple[int, ...]:
    numbers = text.split(",")
    if not all(number.isdecimal() and 1 <= int(number) <= 256 for number in numbers):
        msg = f"--batch: expected whole numbers from 1 to 256, got {text!r}"
        raise UsageError(msg, hint="--batch 1,4")
    return tuple(dict.fromkeys(int(number) for number in numbers))


def _images(path: Path) -> tuple[Path, ...]:
    from engines.datasets import open_dataset

    return tuple(image.path for image in open_dataset(path).images)


def _accuracy(arguments: argparse.Namespace) -> Callable[[Candidate], float | None]:
    from engines.bench.accuracy import ap_of_gate, known_ap

    if arguments.data is None:
        if arguments.plot is not None and all(ap_of_gate(word) is None for word in arguments.models):
            msg = "--plot: it needs an AP, which none of these models has in its spec"
            raise UsageError(msg, hint="give labelled pictures: --data FILE")
        return known_ap
    from engines.bench.accuracy import measured_ap
    from engines.datasets import open_dataset
    from pipeline.clock import SystemClock

    dataset = open_dataset(arguments.data)
    if not dataset.is_labelled:
        msg = f"--data: {arguments.data} has no labels"
        raise UsageError(msg, hint="expected COCO JSON or a YOLO folder with labels")
    threads, now_ns = arguments.threads, SystemClock().mono_ns
    return lambda candidate: measured_ap(candidate, dataset, threads=threads, now_ns=now_ns)
