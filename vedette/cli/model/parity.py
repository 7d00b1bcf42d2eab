"""`vedette model parity MODEL IMAGE…`: does every stage of the running path do what its definition says?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.json_file import check_writable, write_json
from vedette.cli.model.model_options import model_options
from vedette.cli.printable import printable
from vedette.cli.progress import progress_bar
from vedette.errors import UsageError

if TYPE_CHECKING:
    from engines.validate.differences import Difference
    from engines.validate.parity import ParityReport

EXIT_DIFFERENT = 1

_EPILOG = """\
The running path (the engine that would be taken, its own pre-processing, heads and suppression) is held against a plain
one, written a second time in float64 and Python, with the network in onnxruntime and nothing optimised. Every stage
gets the same input in both, so that a wrong stage shows by itself; end to end, each goes its own way.

Of a float network the outputs must be equal but for rounding. Of one with fewer bits (INT8, BF16, FP16) their
difference is measured by its norm. An INT8 file is held against itself, computed in float, or against its float
original with --reference. --reference-spec holds the spec of the model against one that is known to be right.

Exit status 1 if a stage is wrong.

examples:
  vedette model parity vedette-n street.jpg
  vedette model parity seed_int8.onnx pictures/ --reference seed.onnx
  vedette model parity mine.onnx street.jpg --reference-spec published.yaml
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "parity",
        help="hold every stage of the running path against its plain definition",
        description="Show the largest difference after each stage between the running path and a plain one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a file, or one that ships (vedette-n)")
    add("images", metavar="IMAGE", type=Path, nargs="+", help="a picture, or a folder of them")
    add("--reference", type=Path, metavar="FLOAT.onnx", help="the file of the plain network (the model's own)")
    add("--reference-spec", type=Path, metavar="SPEC.yaml", help="the spec of the plain path (the model's own)")
    add("--backend", default="auto", help="the runtime (%(default)s)")
    add("--precision", default="auto", help="in which the network runs (%(default)s)")
    add("--json", type=Path, metavar="OUT", help="write the report to this file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 if every stage does what it should, else 1."""
    check_writable(arguments.json)
    from engines.spec import read_spec
    from engines.validate.parity import check_parity
    from pipeline.clock import SystemClock

    options = model_options(arguments.model, backend=arguments.backend, precision=arguments.precision)
    spec = None if arguments.reference_spec is None else read_spec(arguments.reference_spec)
    images = _files(arguments.images)
    with progress_bar("comparing", len(images)) as step:
        report = check_parity(
            options,
            images,
            now_ns=SystemClock().mono_ns,
            reference=arguments.reference,
            reference_spec=spec,
            progress=step,
        )
    print("\n".join(map(printable, table(report))))
    if arguments.json is not None:
        write_json(arguments.json, report)
    if report.first_wrong is None:
        return 0
    print(f"The first stage that differs: {report.first_wrong}", file=sys.stderr)
    return EXIT_DIFFERENT


def _files(given: list[Path]) -> list[Path]:
    from engines.datasets.folder import image_files

    files = [file for path in given for file in (image_files(path) if path.is_dir() else [path])]
    if not files:
        msg = f"IMAGE: no image in {', '.join(map(str, given))}"
        raise UsageError(msg)
    return files


def table(report: ParityReport) -> list[str]:
    """The report in lines."""
    rows = [("stage", "difference", "largest", "mean", "at most", ""), *map(_row, report.differences)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        f"{report.path} ({report.runtime})",
        f"against {report.reference} in plain onnxruntime, on {report.images} images",
        "",
    ]
    shown = ""
    for stage, what, largest, mean, limit, verdict in rows:
        first = "" if stage == shown else stage
        shown = stage
        cells = f"{largest:>{widths[2]}}  {mean:>{widths[3]}}  {limit:>{widths[4]}}"
        lines.append(f"{first:<{widths[0]}}  {what:<{widths[1]}}  {cells}  {verdict}".rstrip())
    worst = {row.stage: row.image for row in reversed(report.differences) if not row.good}
    lines += ["", *(f"{stage}: most different in {image}" for stage, image in reversed(worst.items()))] if worst else []
    return lines


def _row(one: Difference) -> tuple[str, str, str, str, str, str]:
    what = f"{one.what} ({one.unit})" if one.unit else one.what
    limit = "" if one.limit is None else f"{one.limit:.3g}"
    verdict = "" if one.limit is None else "ok" if one.good else "WRONG"
    return (one.stage, what, f"{one.largest:.3g}", f"{one.mean:.3g}", limit, verdict)
