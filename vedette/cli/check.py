"""`vedette check CONFIG`: is the configuration right, and does everything that it names work?"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.cli.printable import printable
from vedette.errors import ConfigError
from vedette.json_text import json_text

if TYPE_CHECKING:
    from pipeline.checkup import Finding

_EPILOG = """\
It opens the model, every stream until its first picture, and every Redis; it sees whether folders can be written and
the port is free; it publishes nothing and leaves nothing behind.
Exit status: 0 all is well (warnings may be); 2 the configuration or the model is wrong; 3 something that it names
cannot be had at the moment.

example:  GATE_PASSWORD=… vedette check cameras.yaml
"""

_MARKS = {"ok": "ok", "warning": "warning", "wrong": "WRONG"}
_STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red"}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "check",
        help="validate a configuration and try everything in it",
        description="Validate CONFIG, then try everything in it: model, streams, sinks, port.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file (see configs/)")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import msgspec

    from pipeline.checkup import check_up, exit_status
    from pipeline.clock import SystemClock
    from pipeline.config_file import load_config
    from pipeline.logs import configure_logging

    clock = SystemClock()
    configure_logging(level="warning", clock=clock)
    try:
        config = load_config(arguments.config, os.environ)
    except ConfigError as error:
        if arguments.json:
            print(json_text({"config": str(arguments.config), "ok": False, "problems": error.problems, "checks": []}))
        raise
    findings = check_up(config, clock)
    status = exit_status(findings)
    if arguments.json:
        checks = msgspec.to_builtins(findings)
        print(json_text({"config": str(arguments.config), "ok": status == 0, "problems": [], "checks": checks}))
    else:
        _print_table(findings)
        wrong = sum(finding.state == "wrong" for finding in findings)
        print(f"{arguments.config}: " + ("all is well" if not wrong else f"{wrong} of {len(findings)} are wrong"))
    return status


def _print_table(findings: list[Finding]) -> None:
    """A table with rich, if it is there and this is a terminal; else a line each, for logs and pipes."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ModuleNotFoundError:
        _print_lines(findings)
        return
    if not sys.stdout.isatty():
        _print_lines(findings)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("", "part", "name", "what was found, and what to do"):
        table.add_column(heading, overflow="fold")  # nothing is left out in a narrow terminal
    for finding in findings:
        text = Text(printable(finding.detail))
        if finding.hint:
            text.append(f"\n{printable(finding.hint)}", style="italic")
        mark = Text(_MARKS[finding.state], style=_STYLES[finding.state])
        table.add_row(mark, Text(finding.part), Text(printable(finding.name)), text)
    Console().print(table)


def _print_lines(findings: list[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(printable(f"{_MARKS[finding.state]:<8}{finding.part:<7} {finding.name:<{width}}  {finding.detail}"))
        if finding.hint:
            print(f"{'':<8}hint: {printable(finding.hint)}")
