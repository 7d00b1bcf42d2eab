"""Reports as JSON files: whole, or not there at all."""

from __future__ import annotations

import tempfile
from pathlib import Path

from vedette.errors import UsageError


def check_writable(path: Path | None) -> None:
    """Say before the work, not after it, that a report will have no place. Raises UsageError."""
    if path is not None and not path.parent.is_dir():
        msg = f"--json: {path} cannot be written: {path.parent} is no folder"
        raise UsageError(msg)


def write_json(path: Path, report: object) -> None:
    """Write what msgspec can encode. Raises UsageError if the file cannot be written."""
    import msgspec

    content = msgspec.json.format(msgspec.json.encode(report), indent=2)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            part = Path(folder) / path.name
            part.write_bytes(content + b"\n")
            part.replace(path)
    except OSError as error:
        msg = f"--json: {path} cannot be written: {error.strerror}"
        raise UsageError(msg) from error
