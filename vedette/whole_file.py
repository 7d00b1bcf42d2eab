"""A file that appears whole or not at all, and whatever else a person may name as the place of one.

A link stays and what it leads to is replaced. A device, a pipe or a socket is never replaced: text is written into it
(`--json /dev/stdout`), and what has to be a file is refused. Every function raises OSError; its caller knows what the
option is called. This module imports nothing of Vedette and may be imported from every room.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


def check_place(path: Path, *, into: bool = True) -> None:
    """Say before the work what `write_whole` (`into`) or `whole_file` would say after it; makes the folder alone."""
    there = _status(path)
    if _is_plain(path, there, into=into):
        folder = _target(path).parent
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    elif not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def write_whole(path: Path, content: bytes) -> None:
    """Write the file, or into what is there and is none."""
    there = _status(path)
    stream = None if there is None else _own_stream(there)
    if stream is not None:  # what was printed stays, and what will be printed comes after it
        with open(stream, "wb", buffering=0, closefd=False) as out:
            _write_all(out.fileno(), content)
    elif _is_plain(path, there, into=True):
        with whole_file(path) as part:
            part.write_bytes(content)
    else:
        with path.open("wb", buffering=0) as out:
            _write_all(out.fileno(), content)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """The path of a part, of the same name, for a writer that wants a path; it takes its place when all went well."""
    _is_plain(path, _status(path), into=False)
    target = _target(path)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=target.parent) as folder:
        part = Path(folder) / path.name
        yield part
        part.replace(target)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _is_plain(path: Path, there: os.stat_result | None, *, into: bool) -> bool:
    """Whether a file is or will be there that can be replaced; what `into` allows to write into is not."""
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    plain = there is None or stat.S_ISREG(there.st_mode)
    if not plain and not into:
        raise FileExistsError(errno.EEXIST, "it has to be a file, and a device, pipe or socket is there", str(path))
    return plain


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _own_stream(there: os.stat_result) -> int | None:
    """The descriptor of standard output or error, if that is what is there: replaced, it would lose what is printed."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        with contextlib.suppress(OSError):  # closed
            if os.path.samestat(os.fstat(number), there):
                stream.flush()
                return number
    return None


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
