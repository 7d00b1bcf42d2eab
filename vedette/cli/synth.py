"""`vedette synth OUT`: a rendered street as a video, as pictures, and as COCO JSON with the exact truth."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from vedette.errors import ConfigError, UsageError

_EPILOG = """\
OUT becomes a folder with video.mp4, images/*.jpg and annotations.json (COCO: bbox [x, y, width, height]; categories
person, vehicle, bike; beside COCO's fields track_id, visibility, truncation). It appears when all of it is there.

examples:
  vedette synth out/street
  vedette synth out/night --night --seconds 60 --people 12 --seed 7 --every 10
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "synth",
        help="render a street with exact boxes, as video and as a data set",
        description="Render a scene of the synthetic camera into the folder OUT.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder to write; it must not exist, or be empty")
    parser.add_argument("--seconds", default="10", metavar="N", help="length of the scene (default 10)")
    parser.add_argument("--fps", default="25", metavar="N", help="frames a second (default 25)")
    parser.add_argument("--size", default="640x360", metavar="WxH", help="of the picture (default 640x360)")
    parser.add_argument("--seed", default="1", metavar="N", help="the same seed gives the same pixels (default 1)")
    parser.add_argument("--people", default="8", metavar="N", help="people on foot at any time (default 8)")
    parser.add_argument("--vehicles", default="3", metavar="N", help="moving vehicles (default 3)")
    parser.add_argument("--bikes", default="1", metavar="N", help="cyclists (default 1)")
    parser.add_argument("--parked", default="1", metavar="N", help="parked vehicles (default 1)")
    parser.add_argument("--noise", default="1", metavar="X", help="the sensor's noise; 0 is none (default 1)")
    parser.add_argument("--night", action="store_true", help="by night, with lamps")
    parser.add_argument(
        "--every", type=int, default=5, metavar="K", help="write each K-th frame as a picture (default 5)"
    )
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the scene; returns the exit status."""
    from stages.source.synthetic.options import parse_synthetic

    if arguments.every < 1:
        msg = f"--every: expected a whole number from 1 on, got {arguments.every}"
        raise UsageError(msg)
    keys = ("people", "vehicles", "bikes", "parked", "seed", "size", "fps", "seconds", "noise")
    query = "&".join(f"{key}={_plain(key, getattr(arguments, key))}" for key in keys)
    url = f"synthetic://street?{query}&time={'night' if arguments.night else 'day'}"
    try:
        options = parse_synthetic(url)
    except ConfigError as error:
        lines = [problem.replace("synthetic://street: ", "--", 1) for problem in error.problems]
        raise UsageError("; ".join(lines)) from error

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from stages.source.synthetic.dataset import write_dataset

    columns = (TextColumn("rendering"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stderr.isatty(), transient=True, console=Console(stderr=True)) as bar:
        task = bar.add_task("rendering", total=options.frames)
        written = write_dataset(arguments.out, options, every=arguments.every, progress=lambda: bar.advance(task))
    if arguments.json:
        print(json.dumps({"out": str(arguments.out), "url": url, **written.counts()}))
    else:
        print(
            f"{arguments.out}: video.mp4 of {written.frames} frames, {written.images} pictures, "
            f"{written.annotations} boxes of {written.tracks} objects"
        )
    return 0


def _plain(key: str, text: str) -> str:
    """A value for the query: nothing in it may be taken for another parameter."""
    if any(sign in text for sign in "&;#=%+"):
        msg = f"--{key}: expected a plain value, got {text!r}"
        raise UsageError(msg)
    return text
