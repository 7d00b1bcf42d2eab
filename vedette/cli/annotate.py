"""`vedette annotate IN OUT.mp4`: boxes, ids and trails drawn into a video, so that anyone can look."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from vedette.errors import UsageError
from vedette.secrets import SecretUrl

_EPILOG = """\
What is drawn is what `vedette run` would publish: confirmed tracks strong, tentative ones thin, coasted ones dashed.

examples:
  vedette annotate clips/street.mp4 out/street.mp4
  vedette annotate "synthetic://street?people=8&seconds=20" out/street.mp4 --score 0.3
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "annotate",
        help="draw what is seen into a video",
        description="Run the pipeline over IN and write OUT.mp4 with boxes, ids and trails in it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="IN", help="a video file, or synthetic://… with seconds=")
    parser.add_argument("out", metavar="OUT.mp4", type=Path, help="the video to write (.mp4, .mkv, .mov)")
    parser.add_argument("--config", type=Path, help="take the sections `model` and `track` from this configuration")
    parser.add_argument("--model", help="a model file, or the name of one that ships (default: vedette-n)")
    parser.add_argument("--score", type=float, help="report nothing below this score (default: the model's own)")
    parser.set_defaults(run=run)


def _same(one: Path, other: Path) -> bool:
    """Whether both are one file, by whatever names."""
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))


def run(arguments: argparse.Namespace) -> int:
    source = SecretUrl(arguments.source)
    if source.scheme not in {"", "file", "synthetic"}:
        msg = f"IN: expected a file or synthetic://…, got {source}: a camera cannot be read twice"
        raise UsageError(msg, hint="record it first: ffmpeg -i URL -c copy -t 60 clip.mkv")
    if arguments.out.suffix.lower() not in {".mp4", ".mkv", ".mov"}:
        msg = f"OUT: expected a name that ends in .mp4, .mkv or .mov, got {arguments.out}"
        raise UsageError(msg)
    if arguments.score is not None and not 0.0 <= arguments.score <= 1.0:
        msg = f"--score: expected a number from 0 to 1, got {arguments.score:g}"
        raise UsageError(msg)
    if source.scheme != "synthetic" and _same(Path(arguments.source.removeprefix("file://")), arguments.out):
        msg = f"OUT: {arguments.out} is IN; it would be overwritten"
        raise UsageError(msg)

    import msgspec
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from engines.options import ModelOptions
    from engines.weights import find_model
    from pipeline.annotate import annotate
    from pipeline.clock import SystemClock
    from pipeline.config_file import load_config
    from pipeline.demo import DEFAULT_MODEL
    from pipeline.logs import configure_logging
    from stages.options import TrackOptions

    configure_logging(level="error", format="human", clock=SystemClock())
    model, track = ModelOptions(path=str(DEFAULT_MODEL)), TrackOptions()
    if arguments.config is not None:
        config = load_config(arguments.config, os.environ)
        model, track = config.model, config.track
    if arguments.model is not None:
        model = msgspec.structs.replace(model, path=str(find_model(arguments.model)))
    if arguments.score is not None:
        model = msgspec.structs.replace(model, score=arguments.score)
    columns = (TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stderr.isatty(), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, expected: int | None) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=expected)
            bar.update(tasks[what], completed=done)

        frames, tracks = annotate(source, arguments.out, model=model, track=track, progress=progress)
    print(f"{arguments.out}: {frames} frames, {tracks} tracks")
    return 0
