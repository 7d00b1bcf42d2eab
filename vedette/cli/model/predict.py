"""`vedette model predict IMAGE…`: what a model finds in pictures, as a table, as JSON, drawn."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.cli.printable import printable
from vedette.errors import PictureError, UsageError
from vedette.json_text import json_text
from vedette.secrets import scrub

if TYPE_CHECKING:
    from vedette.model import Model, Prediction

_WRITTEN = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

_EPILOG = """\
example:  vedette model predict street.jpg gate.png --model vedette-n --save found

The same in Python:

  from vedette import Model
  print(Model("vedette-n").predict("street.jpg").boxes)
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    predict = commands.add_parser(
        "predict",
        help="say what a model finds in pictures",
        description="Say what a model finds in pictures; boxes are in pixels of the picture.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="a picture")
    predict.add_argument("--model", default="vedette-n", metavar="M", help="a file, or one that ships (%(default)s)")
    predict.add_argument("--backend", default="auto", help="the runtime (%(default)s)")
    predict.add_argument("--precision", default="auto", help="in which the network runs (%(default)s)")
    predict.add_argument("--score", type=float, help="find nothing below this score (the model's own)")
    predict.add_argument("--nms-iou", type=float, help="boxes of one class that overlap more are one (the model's own)")
    predict.add_argument("--classes", nargs="+", metavar="CLASS", help="find these only")
    predict.add_argument("--save", type=Path, metavar="DIR", help="write the pictures with boxes drawn in there")
    predict.add_argument("--json", action="store_true", help="print JSON on standard output instead of tables")
    predict.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 if every picture could be read and saved, else 2."""
    from vedette.model import Model

    if arguments.save is not None:
        try:
            arguments.save.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"--save: expected a folder or a place for one, {arguments.save} cannot be made: {error.strerror}"
            raise UsageError(msg) from error
    given = {name: getattr(arguments, name) for name in ("backend", "precision", "score", "nms_iou", "classes")}
    try:
        model = Model(arguments.model, **given)
    except UsageError as error:
        name, _, what = error.message.partition(":")
        raise (UsageError(f"--{name.replace('_', '-')}:{what}", hint=error.hint) if name in given else error) from error
    with model:
        return _predict(model, arguments)


def _predict(model: Model, arguments: argparse.Namespace) -> int:
    results: list[dict[str, Any]] = []
    taken: set[Path] = set()
    status = 0
    for image in arguments.images:
        try:
            found = model.predict(image)
        except PictureError as error:
            print("\n".join(printable(scrub(line)) for line in error.lines()), file=sys.stderr)
            results.append({"path": scrub(str(image)), "error": scrub(error.message)})
            status = 2
            continue
        saved = None if arguments.save is None else found.save(_place(arguments.save, image, taken))
        results.append(_described(image, found, saved))
        if not arguments.json:
            print("\n".join(map(printable, _table(image, found, saved))))
    if arguments.json:
        print(json_text({"model": model.spec.name, "images": results}))
    return status


def _place(folder: Path, image: Path, taken: set[Path]) -> Path:
    """Where the drawn picture goes: its own name, or one like it if another picture has that."""
    suffix = image.suffix if image.suffix.lower() in _WRITTEN else ".png"
    place, number = folder / f"{image.stem}{suffix}", 2
    while place in taken:
        place, number = folder / f"{image.stem}-{number}{suffix}", number + 1
    if place.exists() and place.samefile(image):
        msg = f"--save: {place} is the picture itself"
        raise UsageError(msg, hint="choose another folder")
    taken.add(place)
    return place


def _described(image: Path, found: Prediction, saved: Path | None) -> dict[str, Any]:
    boxes = [
        {
            "class": box.class_name,
            "score": round(box.score, 4),
            "xyxy_px": [round(value, 2) for value in box.xyxy_px],
        }
        for box in found.boxes
    ]
    described: dict[str, Any] = {"path": str(image), "size_wh": list(found.size_wh), "boxes": boxes}
    return described if saved is None else described | {"saved": str(saved)}


def _table(image: Path, found: Prediction, saved: Path | None) -> list[str]:
    width, height = found.size_wh
    count = len(found)
    head = f"{image}  {width}x{height}  {count or 'no'} object{'s' * (count != 1)}"
    lines = [head if saved is None else f"{head}  -> {saved}"]
    for box in found.boxes:
        sides = "".join(f"{value:9.1f}" for value in box.xyxy_px)
        lines.append(f"  {box.class_name:<16}{box.score:6.2f} {sides}")
    return lines
