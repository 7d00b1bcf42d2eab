"""`vedette model export CHECKPOINT`: an ONNX file of a YOLO-NAS checkpoint."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.printable import printable
from vedette.errors import UsageError
from vedette.json_text import json_text

if TYPE_CHECKING:
    from engines.yolo_nas.export import Difference
    from engines.yolo_nas.origin import Origin

_EPILOG = """\
CHECKPOINT is a .pth of YOLO-NAS N, S, M or L as super-gradients or Vedette's trainer write it; nothing in it is run. Or
yolo-nas-n, -s, -m, -l: that network with random weights, for speed alone.

The file has inputs and outputs that `model: {path: FILE}` in a configuration takes, a free batch, and its spec inside.
It is compared with the network in torch before the command ends; `vedette model quantize` makes INT8 of it.

examples:
  vedette model export yolo_nas_s.pth --size 640x384
  vedette model export mine.pth --size 640x640 --classes person,car --out mine.onnx
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = commands.add_parser(
        "export",
        help="make an ONNX file of a checkpoint",
        description="Make an ONNX file of a YOLO-NAS checkpoint.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_argument("checkpoint", metavar="CHECKPOINT", help="a .pth, or yolo-nas-n|s|m|l for random weights")
    export.add_argument("--size", metavar="W[xH]", help="of the input, multiples of 32 (as the checkpoint says)")
    export.add_argument("--dynamic-size", action="store_true", help="leave height and width free in the file")
    export.add_argument("--classes", metavar="A,B,…", help="names, in the order of training (as the checkpoint says)")
    export.add_argument("--half", action="store_true", help="in FP16, for runtimes that take the types of the file")
    export.add_argument(
        "--half-weights", action="store_true", help="store weights in FP16, compute as before: half the size"
    )
    export.add_argument("--out", type=Path, metavar="FILE", help="(beside the checkpoint, with the size in its name)")
    export.add_argument("--json", action="store_true", help="report as JSON on standard output")
    export.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 once the file is there; raises ModelError, UsageError."""
    from rich.console import Console

    from engines.half import to_float16
    from engines.half_weights import with_half_weights
    from engines.onnx_file import save_onnx
    from engines.runtimes.model_file import check_name
    from engines.yolo_nas.export import as_onnx, difference, export_onnx
    from engines.yolo_nas.origin import open_origin

    if arguments.half and arguments.half_weights:
        msg = "--half and --half-weights: expected one of them"
        raise UsageError(msg, hint="--half computes in FP16 and stores so, too")
    size_wh = None if arguments.size is None else network_size(arguments.size)
    classes = None if arguments.classes is None else tuple(name.strip() for name in arguments.classes.split(","))
    # A spinner, and only where somebody watches: each step takes a second or two.
    with Console(stderr=True).status("loading …") as status:
        origin = open_origin(arguments.checkpoint, size_wh=size_wh, classes=classes)
        out = arguments.out or _default_out(arguments, origin)
        check_name(out)  # it is read again for comparison
        status.update(f"writing {out.name} …")
        if arguments.half:
            with tempfile.TemporaryDirectory(prefix="vedette-") as scratch:
                whole = Path(scratch) / out.with_suffix(".onnx").name
                export_onnx(origin.network, origin.spec, whole, dynamic_size=arguments.dynamic_size)
                to_float16(whole, out)
        elif arguments.half_weights:
            whole_model = as_onnx(origin.network, origin.spec, dynamic_size=arguments.dynamic_size)
            save_onnx(with_half_weights(whole_model), out, origin.spec)
        else:
            export_onnx(origin.network, origin.spec, out, dynamic_size=arguments.dynamic_size)
        status.update("comparing it with torch …")
        apart = difference(origin.network, out, origin.spec.input.size)
    for note in origin.notes:
        print(f"note: {printable(note)}", file=sys.stderr)  # words of the checkpoint may stand in it
    print(_json(arguments, origin, out, apart) if arguments.json else _text(arguments, origin, out, apart))
    return 0


def network_size(text: str) -> tuple[int, int]:
    """640 or 640x384."""
    match = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4}))?", text)
    if match is None:
        msg = f"--size: expected W or WxH, multiples of 32, got {text!r}"
        raise UsageError(msg)
    width = int(match[1])
    return width, int(match[2] or width)


def _default_out(arguments: argparse.Namespace, origin: Origin) -> Path:
    from engines.yolo_nas.origin import RANDOM

    width, height = origin.spec.input.size
    size = "any" if arguments.dynamic_size else f"{width}x{height}"
    name = f"{origin.spec.name}_{size}{'_fp16' if arguments.half else ''}.onnx"
    return Path(name) if arguments.checkpoint in RANDOM else Path(arguments.checkpoint).with_name(name)


def _figures(arguments: argparse.Namespace, origin: Origin, out: Path, apart: Difference) -> dict[str, object]:
    from engines.spec import sha256_of
    from engines.yolo_nas.blocks import Form
    from engines.yolo_nas.figures import gflops, parameters
    from engines.yolo_nas.fuse import fuse

    network, spec = origin.network, origin.spec
    return {
        "path": str(out),
        "bytes": out.stat().st_size,
        "sha256": sha256_of(out),
        "name": spec.name,
        "variant": network.variant.name,
        "classes": spec.classes,
        "size": spec.input.size,
        "dynamic_size": arguments.dynamic_size,
        "precision": "fp16" if arguments.half else "fp32",
        "parameters": parameters(fuse(network, Form.FOLDED)),
        "gflops": round(gflops(network.variant, network.classes, spec.input.size), 3),
        "difference": {"boxes_px": apart.boxes_px, "scores": apart.scores},
        "notes": origin.notes,
    }


def _json(arguments: argparse.Namespace, origin: Origin, out: Path, apart: Difference) -> str:
    return json_text(_figures(arguments, origin, out, apart))


def _text(arguments: argparse.Namespace, origin: Origin, out: Path, apart: Difference) -> str:
    figures = _figures(arguments, origin, out, apart)
    width, height = origin.spec.input.size
    size = f"{width}x{height}" + (", or any other in multiples of 32" if arguments.dynamic_size else "")
    noun = "class" if len(origin.spec.classes) == 1 else "classes"
    return (
        f"{out}: {figures['bytes']:,} bytes, {figures['precision']}\n"
        f"  YOLO-NAS {origin.network.variant.name.upper()}, {len(origin.spec.classes)} {noun}, {size}, "
        f"{figures['parameters']:,} parameters, {figures['gflops']:.2f} GFLOPs\n"
        f"  onnxruntime against torch: boxes {apart.boxes_px:.1e} px, scores {apart.scores:.1e}"
    )
