"""`vedette COMMAND …`: parses the command line, runs one command, turns errors into lines and exit statuses."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Protocol

from vedette import __version__
from vedette.errors import VedetteError

# Each module has `register(subparsers)`, which adds its parser and sets `run` to a function of the parsed arguments
# that returns the exit status. The modules import nothing heavy until they run.
COMMANDS = ("run", "check", "tail", "annotate", "synth", "bench", "model", "demo")


class Command(Protocol):
    def register(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None: ...


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command's own parser in it."""
    parser = argparse.ArgumentParser(
        prog="vedette", description="Tracked detections out of cameras and video files, published to Redis."
    )
    parser.add_argument("--version", action="version", version=f"vedette {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command: Command = importlib.import_module(f"vedette.cli.{name}")
        command.register(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status (0; 2 usage or configuration; 3 a stream failed; 70; 71)."""
    arguments = build_parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except VedetteError as error:
        for line in error.lines():
            print(line, file=sys.stderr)
        return error.exit_status
    return status


def entry() -> None:
    """What the `vedette` script calls."""
    sys.exit(main())
