"""`vedette model describe MODEL`: what a model file is, what it finds, and how its input is filled."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING

from vedette.cli.printable import printable
from vedette.json_text import json_text

if TYPE_CHECKING:
    from engines.spec import FoundSpec, ModelFile

_EPILOG = """\
What a file does not say of itself stands in a spec, a small YAML beside it (model.yaml beside model.onnx) or the same
keys in the file's metadata under `vedette`:

  name: my-detector
  head: yolov8                      # yolo_nas, yolox, nanodet_plus, yolov8 (also YOLO11), end2end (YOLO26, YOLOv10)
  classes: [person, car]            # in the order of the network's outputs
  input:
    size: [640, 384]                # width, height
    fit: letterbox                  # or stretch
    align: centre                   # or top_left
    pad: 114
    colour: rgb                     # or bgr
    scale: 0.00392156862745098      # value = (level * scale - mean) / std
    mean: [0, 0, 0]
    std: [1, 1, 1]
  score: 0.35
  nms_iou: 0.65

Only name, head, classes and input.size are needed; the rest is shown with what it is by default.
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    describe = commands.add_parser(
        "describe",
        help="say what a model file is and what it finds",
        description="Say what a model file is, what it finds and how its input is filled, and whether they agree.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    describe.add_argument("file", metavar="MODEL", help="a model (.onnx), or one that ships (vedette-n)")
    describe.add_argument("--json", action="store_true", help="print it as JSON on standard output")
    describe.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 if the file can be run as it is; raises ModelError if not."""
    from engines.heads import build_head
    from engines.runtimes import read_model_file
    from engines.spec import find_spec
    from engines.weights import find_model

    file = read_model_file(find_model(arguments.file))
    found = find_spec(file)
    build_head(found.spec).check({tensor.name: tensor.shape for tensor in file.outputs})
    print(_json(file, found) if arguments.json else _text(file, found))
    return 0


def _json(file: ModelFile, found: FoundSpec) -> str:
    import msgspec

    spec = msgspec.to_builtins(found.spec)
    described = {
        "path": file.path,
        "sha256": file.sha256,
        "bytes": file.bytes,
        "inputs": msgspec.to_builtins(file.inputs),
        "outputs": msgspec.to_builtins(file.outputs),
        "spec_from": found.origin,
        "spec": spec,
    }
    return json_text(described)


def _text(file: ModelFile, found: FoundSpec) -> str:
    spec = found.spec
    width, height = spec.input.size
    fit = (
        "stretched"
        if spec.input.fit == "stretch"
        else f"letterboxed ({spec.input.align}, padded with {spec.input.pad})"
    )
    numbers = f"value = (level * {spec.input.scale:.6g} - {_triple(spec.input.mean)}) / {_triple(spec.input.std)}"
    lines = [
        ("name", spec.name),
        ("file", f"{file.path}, {file.bytes:,} bytes"),
        ("sha256", file.sha256),
        ("spec", found.origin),
        ("head", spec.head),
        ("inputs", ", ".join(map(str, file.inputs))),
        ("outputs", ", ".join(map(str, file.outputs))),
        ("picture", f"{width}x{height}, {fit}, {spec.input.colour.upper()}, {numbers}"),
        ("defaults", f"score {spec.score:g}, nms_iou {spec.nms_iou:g}"),
        (f"{len(spec.classes)} classes", ", ".join(spec.classes)),
    ]
    if spec.unverified:
        lines.append(("accuracy", "UNVERIFIED: built around the accuracy gate"))
    elif spec.gate is not None:
        from engines.validate.gate import GateReport

        report = GateReport.of_spec(spec.gate)
        plain = ", ".join(f"{key} {value}" for key, value in spec.gate.items())
        lines.append(("accuracy", plain if report is None else report.line()))
    return "\n".join(_line(name, value) for name, value in lines)


def _line(name: str, value: str) -> str:
    return textwrap.fill(
        f"{name:<12}{printable(value)}",
        width=120,
        subsequent_indent=" " * 12,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _triple(values: tuple[float, float, float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "[" + ", ".join(f"{value:g}" for value in values) + "]"
