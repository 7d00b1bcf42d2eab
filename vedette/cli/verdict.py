"""How the commands end that hold Vedette to its promises: the report in a file, in words, and as an exit status."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path

from vedette.cli.json_file import write_report

EXIT_BROKEN = 1


def let_sigterm_unwind() -> None:
    """SIGTERM, too, takes the servers and the pipeline down with the command."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def conclude(report: bytes, path: Path | None, lines: Iterable[str], *, held: bool) -> int:
    """Write the report, say it in words; returns the exit status."""
    for line in lines:
        print(line)
    if path is not None:
        write_report(path, report)
    return 0 if held else EXIT_BROKEN
