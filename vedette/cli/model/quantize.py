"""`vedette model quantize MODEL.onnx --data DATA`: a float network and pictures in, two INT8 files out."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.model.quantize_options import add_options, quantize_options
from vedette.cli.printable import printable
from vedette.cli.progress import progress_bar
from vedette.errors import UsageError
from vedette.json_text import json_text

if TYPE_CHECKING:
    from engines.quantize import Quantized

_EPILOG = """\
DATA is a folder of images, COCO JSON, or a data.yaml; labels are not looked at. The pictures should look like what the
cameras will see, and must not be those that the model is judged by afterwards.

Two files are written: MODEL-int8-unsigned.onnx for OpenVINO and onnxruntime, MODEL-int8-signed.onnx for TensorRT. They
are marked as unverified: `vedette model validate NEW --data VAL --against MODEL` compares, and `vedette model build`
does all of it and accepts what is good enough only.

examples:
  vedette model quantize yolo_nas_s.onnx --data train.json --out int8
  vedette model quantize vedette-n-float --data pictures/ --images 500 --method percentile --percentile 99.9999
  vedette model quantize vedette-n-float --data pictures/ --exclude '*heads*' --exclude '*stem*'
"""
_SHOWN = 6


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "quantize",
        help="make INT8 files of a float ONNX file",
        description="Make INT8 files of a float ONNX file, by calibration with pictures.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a float ONNX file, or a model that ships (vedette-n-float)")
    add("--data", type=Path, metavar="DATA", help="pictures to calibrate with")
    add("--split", default="train", metavar="NAME", help="which part of a data.yaml (%(default)s)")
    add_options(parser)
    add("--dynamic", action="store_true", help="onnxruntime's dynamic quantization instead: no pictures, and slow")
    add("--out", type=Path, default=Path(), metavar="DIR", help="where the files go (here)")
    add("--name", metavar="NAME", help="what they are called (as the model)")
    add("--cache", type=Path, metavar="DIR", help="where calibrations are kept for the next time (OUT/calibration)")
    add("--json", action="store_true", help="print the report as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0; raises ModelError, DataError, StillError, UsageError, and then has written no model."""
    _check(arguments)
    from engines.weights import find_model

    model = find_model(arguments.model)
    if arguments.dynamic:
        return _dynamic(arguments, model)
    from engines.datasets import open_dataset
    from engines.quantize import quantize

    options = quantize_options(arguments)
    images = [image.path for image in open_dataset(arguments.data, split=arguments.split).images]
    with progress_bar("calibrating", min(len(images), options.images)) as step:
        made = quantize(
            model,
            images,
            options,
            out_dir=arguments.out,
            name=arguments.name,
            cache_dir=arguments.cache or arguments.out / "calibration",
            progress=lambda _done, _all: step(),
        )
    print(_json(made) if arguments.json else "\n".join(map(printable, _lines(made))))
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.data is None and not arguments.dynamic:
        msg = "--data: expected pictures to calibrate with"
        raise UsageError(msg, hint="a folder of images, COCO JSON or a data.yaml; --dynamic alone needs none")
    if arguments.name is not None and (Path(arguments.name).name != arguments.name or arguments.name.startswith(".")):
        msg = f"--name: expected a name without a folder, got {arguments.name!r}"
        raise UsageError(msg)


def _dynamic(arguments: argparse.Namespace, model: Path) -> int:
    from engines.quantize.dynamic import quantize_dynamically

    path = quantize_dynamically(model, out_dir=arguments.out, name=arguments.name)
    print(json_text({"dynamic": str(path)}) if arguments.json else _written(path, "onnxruntime, for comparison"))
    return 0


def _json(made: Quantized) -> str:
    return json_text({"unsigned": str(made.unsigned), "signed": str(made.signed), "report": made.report})


def _lines(made: Quantized) -> list[str]:
    report, graph = made.report, made.report.graph
    looked = "looked at before, out of the cache" if report.cached else "looked at"
    lines = [
        f"{report.model}: {report.images} pictures {looked}; ranges by {report.options.method}",
        f"INT8   {graph.convolutions} convolutions, {graph.tensors} tensors with {graph.scales} scales, "
        f"{graph.scaled} multiplications as scales",
    ]
    if report.remark:
        lines.insert(0, report.remark)
    if graph.zero_points:
        points = sorted(graph.zero_points.values())
        lines.append(f"       {len(points)} scales with a zero point ({points[0]} to {points[-1]}): can be negative")
    lines.append(
        f"float  behind the {len(graph.predictions)} prediction convolutions, which give floats: "
        f"{_listed(graph.float_nodes)}"
    )
    for reason, count in Counter(graph.left_float.values()).items():
        names = [name for name, why in graph.left_float.items() if why == reason]
        more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        lines.append(f"       {count} convolutions, since {reason}: {', '.join(names[:_SHOWN])}{more}")
    lines.append(_written(made.unsigned, "OpenVINO, onnxruntime"))
    lines.append(_written(made.signed, "TensorRT"))
    lines.append("unverified: `vedette model validate` compares them with the float network")
    return lines


def _listed(counts: dict[str, int]) -> str:
    return (
        ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items(), key=lambda item: -item[1])) or "nothing"
    )


def _written(path: Path, use: str) -> str:
    return f"wrote  {path} ({path.stat().st_size / 1e6:.1f} MB): {use}"
