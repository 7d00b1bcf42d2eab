"""Reports as JSON files: whole, or not there at all."""

from __future__ import annotations

from pathlib import Path

from vedette.errors import UsageError
from vedette.json_text import json_text
from vedette.whole_file import check_place, write_whole


def check_writable(path: Path | None, *, option: str = "--json", into: bool = True) -> None:
    """Say before the work, not after it, that a report will have no place. Raises UsageError.

    `into`: what is written may go into a device or a pipe, too.
    """
    if path is None:
        return
    try:
        check_place(path, into=into)
    except OSError as error:
        raise _refused(path, error, option=option) from error


def write_json(path: Path, report: object) -> None:
    """Write what msgspec can encode. Raises UsageError if the file cannot be written."""
    write_report(path, json_text(report).encode() + b"\n")


def write_report(path: Path, content: bytes) -> None:
    """Write what is encoded already. Raises UsageError if the file cannot be written."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError, *, option: str = "--json") -> UsageError:
    return UsageError(f"{option}: {path} cannot be written: {error.strerror}")
