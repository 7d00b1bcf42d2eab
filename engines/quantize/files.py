"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vedette.errors import UsageError


def writable(folder: Path) -> None:
    """Make the folder if need be, and see that a file can be made in it. Raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _refused(folder, error) from error


def write_whole(contents: Mapping[Path, bytes]) -> None:
    """Write all of them or none: each beside its place first, then renamed. Raises UsageError."""
    waiting: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            waiting[path] = beside = path.with_name(f".{path.name}.{os.getpid()}")
            beside.write_bytes(content)
        for path, beside in waiting.items():
            beside.replace(path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        for beside in waiting.values():
            beside.unlink(missing_ok=True)


def _refused(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path}: cannot be written: {error.strerror}", hint="give another folder, or make room in it")
