"""`vedette model build SOURCE --data DATA`: from a checkpoint to engines that were held against the float network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.json_file import check_writable, write_json
from vedette.cli.model.export import network_size
from vedette.cli.model.quantize_options import add_options, quantize_options
from vedette.cli.printable import printable
from vedette.errors import UsageError

if TYPE_CHECKING:
    from engines.build import Begin, BuildReport, Other

EXIT_FAILED_GATE = 1

_EPILOG = """\
SOURCE is a YOLO-NAS checkpoint (.pth), which is exported to OUT/NAME.onnx first, or a float ONNX file.

DATA (a folder of images, COCO JSON or a data.yaml) is what INT8 is calibrated with. The gate then compares each new
file with the float network on GATE-DATA, or on what calibration has left of DATA: with labels it may lose 0.5 points
of AP, without 97 % of the boxes must be found again; on at least 100 images. What fails is not kept, and the exit
status is 1; --no-gate keeps it, marked as unverified wherever it is named.

Written: NAME-int8-unsigned.onnx for OpenVINO and onnxruntime, NAME-int8-signed.onnx for TensorRT, each with a .yaml
that holds its spec and the gate's report. `model: {path: FILE}` in a configuration runs them.

examples:
  vedette model build yolo_nas_s.pth --size 640x384 --precision int8 --data train.json --gate-data val.json
  vedette model build vedette-n-float --data pictures/ --out engines
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "build",
        help="the whole way from a checkpoint to a verified INT8 engine",
        description="Make a smaller, faster engine of a network, and hold it against the float network.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a .pth, a float .onnx, or a model that ships (vedette-n-float)")
    add("--precision", choices=("int8", "fp16"), default="int8", help="of the engine (%(default)s)")
    add("--data", type=Path, metavar="DATA", help="pictures to calibrate with (for INT8)")
    add("--split", default="train", metavar="NAME", help="which part of a data.yaml to calibrate with (%(default)s)")
    add("--gate-data", type=Path, metavar="DATA", help="what the gate compares on (what is left of --data)")
    add("--gate-split", default="val", metavar="NAME", help="which part of a data.yaml (%(default)s)")
    add("--map", default="", metavar="A=B,…", help="take class A for class B, in the model and in the data")
    add("--no-gate", action="store_true", help="compare nothing, and mark what is written as unverified")
    add("--size", metavar="W[xH]", help="of a checkpoint's input, multiples of 32 (as it says)")
    add("--classes", metavar="A,B,…", help="names of a checkpoint's classes (as it says)")
    add_options(parser)
    add("--out", type=Path, default=Path(), metavar="DIR", help="where the files go (here)")
    add("--name", metavar="NAME", help="what they are called (as the source, with its size)")
    add("--json", type=Path, metavar="OUT", help="write the report to this file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0, or 1 if a file failed the gate; raises VedetteError, and then keeps no engine."""
    _check(arguments)
    options = quantize_options(arguments)
    from engines.build import BuildRequest, build
    from engines.datasets import open_dataset, parse_map
    from pipeline.clock import SystemClock

    data = arguments.data or arguments.gate_data
    calibration = open_dataset(data, split=arguments.split)
    held_out = open_dataset(arguments.gate_data, split=arguments.gate_split) if arguments.gate_data else calibration
    model, name = _float_model(arguments)
    request = BuildRequest(
        model=model,
        name=name,
        calibration=calibration,
        held_out=held_out,
        out_dir=arguments.out,
        cache_dir=arguments.out / "calibration" if arguments.precision == "int8" else None,
        options=options,
        gated=not arguments.no_gate,
        class_names=parse_map(arguments.map) if arguments.map else {},
        precision=arguments.precision,
        gpu_runtime=_gpu_runtime(model),
    )
    with _bars() as begin:
        report = build(request, now_ns=SystemClock().mono_ns, begin=begin)
    if arguments.json is not None:
        write_json(arguments.json, report)
    print("\n".join(map(printable, _lines(report))))
    if report.passed:
        return 0
    for file in report.files:
        if file.path is None and file.gate is not None:
            print(f"not kept: {file.form}: {file.gate.line()}", file=sys.stderr)
    print("  hint: more or other --data, another --method, --exclude what is sensitive, or --no-gate", file=sys.stderr)
    return EXIT_FAILED_GATE


def _check(arguments: argparse.Namespace) -> None:
    check_writable(arguments.json)
    if arguments.data is None and arguments.precision == "int8":
        msg = "--data: expected pictures to calibrate with"
        raise UsageError(msg, hint="a folder of images, COCO JSON or a data.yaml")
    if arguments.data is None and arguments.gate_data is None:
        msg = "--gate-data: expected pictures to compare on"
        raise UsageError(msg, hint="a folder of images, COCO JSON or a data.yaml; at least 100 of them")
    if arguments.name is not None and (Path(arguments.name).name != arguments.name or arguments.name.startswith(".")):
        msg = f"--name: expected a name without a folder, got {arguments.name!r}"
        raise UsageError(msg)


def _float_model(arguments: argparse.Namespace) -> tuple[Path, str]:
    """The float ONNX file, exported first if the source is a checkpoint, and what the engines are to be called."""
    from engines.runtimes.choice import CHECKPOINTS
    from engines.weights import find_model

    source: str = arguments.source
    if Path(source).suffix not in CHECKPOINTS:
        for option in ("size", "classes"):
            if getattr(arguments, option) is not None:
                msg = f"--{option}: is for checkpoints; {source} has it already"
                raise UsageError(msg)
        model = find_model(source)
        return model, arguments.name or model.stem
    from engines.yolo_nas.export import export_onnx
    from engines.yolo_nas.origin import open_origin

    size_wh = None if arguments.size is None else network_size(arguments.size)
    classes = None if arguments.classes is None else tuple(name.strip() for name in arguments.classes.split(","))
    origin = open_origin(source, size_wh=size_wh, classes=classes, name=arguments.name)
    width, height = origin.spec.input.size
    name = arguments.name or f"{origin.spec.name}_{width}x{height}"
    arguments.out.mkdir(parents=True, exist_ok=True)
    return export_onnx(origin.network, origin.spec, arguments.out / f"{name}.onnx"), name


def _gpu_runtime(model: Path) -> Other:
    """What runs files for GPUs here: TensorRT, if it would be taken for the float file."""
    from engines.options import ModelOptions
    from engines.runtimes.choice import choose
    from engines.runtimes.onnx_numbers import FLOAT

    backend, _ = choose(ModelOptions(path=str(model)), FLOAT)
    return "tensorrt" if backend == "tensorrt" else "onnxruntime"


@contextmanager
def _bars() -> Iterator[Begin]:
    """A bar for each part of the work, on standard error, and only if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stderr.isatty(), transient=True, console=Console(stderr=True)) as bars:

        def begin(words: str, total: int) -> Callable[[], None]:
            task = bars.add_task(words, total=total)
            return lambda: bars.advance(task)

        yield begin


def _lines(report: BuildReport) -> list[str]:
    lines = [f"{report.model} ({report.model_bytes / 1e6:.1f} MB)"]
    if report.quantized is not None:
        made = report.quantized
        lines.append(
            f"INT8     {made.graph.convolutions} convolutions, {made.images} pictures, ranges by {made.options.method}"
        )
    for file in report.files:
        size = f"{file.bytes / 1e6:.1f} MB"
        if file.gate is not None:
            lines.append(f"{file.form:<8} {file.gate.line()}")
        if file.path is not None:
            lines.append(f"wrote    {file.path} ({size}){', unverified' if file.gate is None else ''}")
    return lines
