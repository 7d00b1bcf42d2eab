"""Files that appear whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from vedette.errors import UsageError
from vedette.whole_file import whole_file


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
    try:
        with ExitStack() as waiting:
            for path, content in contents.items():
                waiting.enter_context(whole_file(path)).write_bytes(content)
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path}: cannot be written: {error.strerror}", hint="give another folder, or make room in it")
