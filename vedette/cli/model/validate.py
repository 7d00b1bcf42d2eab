"""`vedette model validate MODEL --data …`: AP by class and by size, and how far two engines differ."""

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
    from engines.validate.validation import Validation

EXIT_PAST_TOLERANCE = 1
_AP_POINTS, _BOXES_PERCENT = 0.5, 3.0

_EPILOG = """\
DATA is COCO JSON (with --images if its pictures are not beside it), a data.yaml or a folder in YOLO's form, or, to
compare two models without labels, a folder of images. A COCO image may name in `labels` the classes that people
labelled in it; it counts for those only.

AP is in points of 100: the mean over IoU 0.50 to 0.95; small, medium and large are areas up to 32x32, 96x96, above.
With --against, AP may be at most --tolerance points less than the other model's; without labels, at most that many per
cent of the boxes of either may not be found again by the other (same class, IoU 0.75). Else the exit status is 1.

examples:
  vedette model validate vedette-n --data val.json
  vedette model validate seed_int8.onnx --data val.json --against seed.onnx --tolerance 0.5
  vedette model validate vedette-n-float --data val.json --precision bf16 --against vedette-n-float
  vedette model validate yolox_nano.onnx --data val.json --map car=vehicle,bus=vehicle,truck=vehicle,bicycle=bike
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "validate",
        help="measure a model's accuracy on a data set",
        description="Measure a model's AP on a data set, by class and by size, or hold two models against each other.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a file, or one that ships (vedette-n)")
    add("--data", type=Path, required=True, metavar="DATA", help="what to measure on")
    add("--images", type=Path, metavar="FOLDER", help="where the pictures of a COCO JSON file are")
    add("--split", default="val", metavar="NAME", help="which part of a data.yaml (%(default)s)")
    add("--map", default="", metavar="A=B,…", help="take class A for class B, in the model and in the data")
    add("--limit", type=int, metavar="N", help="so many of the images, spread over the whole")
    add("--by-source", action="store_true", help="show it also by where the images are from, if the data says it")
    add("--backend", default="auto", help="the runtime (%(default)s)")
    add("--precision", default="auto", help="in which the network runs (%(default)s)")
    add("--threads", type=int, metavar="N", help="of the runtime")
    add("--score", type=float, metavar="S", help="the least score that counts for AP (0.01)")
    add("--nms-iou", type=float, metavar="IOU", help="boxes of one class that overlap more are one (the model's own)")
    add("--against", metavar="MODEL", help="another model, the better one as it should be: the float original")
    add("--against-backend", metavar="BACKEND", help="its runtime (as --backend)")
    add("--against-precision", metavar="PRECISION", help="its precision (as --precision)")
    add(
        "--tolerance",
        type=float,
        metavar="POINTS",
        help="how much worse than the other it may be: points of AP (0.5), without labels per cent of boxes (3)",
    )
    add("--json", type=Path, metavar="OUT", help="write the report to this file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0, or 1 if the model is worse than the other by more than the tolerance."""
    _check(arguments)
    from engines.datasets import open_dataset, parse_map
    from engines.validate.predictions import PredictOptions
    from engines.validate.validation import validate
    from pipeline.clock import SystemClock
    from vedette.cli.model.validate_table import table

    model = model_options(
        arguments.model, backend=arguments.backend, precision=arguments.precision, threads=arguments.threads
    )
    against = None
    if arguments.against is not None:
        backend = arguments.against_backend or arguments.backend
        precision = arguments.against_precision or arguments.precision
        against = model_options(arguments.against, backend=backend, precision=precision, threads=arguments.threads)
    names = parse_map(arguments.map) if arguments.map else {}
    dataset = open_dataset(arguments.data, images=arguments.images, split=arguments.split)
    if arguments.limit is not None:
        dataset = dataset.spread(arguments.limit)
    least = {} if arguments.score is None else {"score": arguments.score}
    with progress_bar("validating", len(dataset) * (1 if against is None else 2)) as step:
        report = validate(
            model,
            dataset,
            now_ns=SystemClock().mono_ns,
            against=against,
            names=names,
            predicting=PredictOptions(nms_iou=arguments.nms_iou, **least),
            progress=step,
        )
    print("\n".join(map(printable, table(report, by_source=arguments.by_source))))
    if arguments.json is not None:
        write_json(arguments.json, report)
    for problem in report.unreadable:
        print(f"not used: {printable(problem)}", file=sys.stderr)
    worse = past_tolerance(report, arguments.tolerance)
    if worse is None:
        return 0
    print(worse, file=sys.stderr)
    return EXIT_PAST_TOLERANCE


def past_tolerance(report: Validation, tolerance: float | None) -> str | None:
    """One line if the model is worse than the other by more than `tolerance`, else None."""
    if report.against is None:
        return None
    names = f"{report.model.path} against {report.against.path}"
    if report.ap_lost_points is not None:
        limit = _AP_POINTS if tolerance is None else tolerance
        if report.ap_lost_points <= limit + 1e-9:
            return None
        return f"Past the tolerance: {names}: {report.ap_lost_points:.2f} points of AP lost, at most {limit:g} may be"
    limit = _BOXES_PERCENT if tolerance is None else tolerance
    parts = report.agreement.found_again if report.agreement is not None else (None, None)
    lost = [100.0 if part is None else 100 * (1 - part) for part in parts]
    if max(lost) <= limit + 1e-9:
        return None
    return f"Past the tolerance: {names}: {max(lost):.1f} % of boxes are not found again, at most {limit:g} % may be"


def _check(arguments: argparse.Namespace) -> None:
    check_writable(arguments.json)
    for name in ("score", "nms_iou"):
        value = getattr(arguments, name)
        if value is not None and not 0.0 <= value <= 1.0:
            msg = f"--{name.replace('_', '-')}: expected a number from 0 to 1, got {value:g}"
            raise UsageError(msg)
    if arguments.limit is not None and arguments.limit < 1:
        msg = f"--limit: expected a number of images from 1 on, got {arguments.limit}"
        raise UsageError(msg)
    if arguments.tolerance is not None and not arguments.tolerance >= 0.0:
        msg = f"--tolerance: expected a number >= 0, got {arguments.tolerance:g}"
        raise UsageError(msg)
    if arguments.against is None:
        for name in ("tolerance", "against_backend", "against_precision"):
            if getattr(arguments, name) is not None:
                msg = f"--{name.replace('_', '-')}: needs --against MODEL"
                raise UsageError(msg)
