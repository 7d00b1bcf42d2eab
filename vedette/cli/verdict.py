"""How the commands end that hold Vedette to its promises: the report in a file, in words, and as an exit status."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vedette.cli.json_file import write_report

EXIT_BROKEN = 1


def conclude(report: bytes, path: Path | None, lines: Iterable[str], *, held: bool) -> int:
    """Write the report, say it in words; returns the exit status."""
    for line in lines:
        print(line)
    if path is not None:
        write_report(path, report)
    return 0 if held else EXIT_BROKEN
