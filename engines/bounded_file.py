"""A file's content at once, if it is a file and not too large: a device or a pipe would have no end, or no beginning.

In:  a path out of a command line or a data set of others, and how much its content may be.
Out: the bytes; or OSError, whose `strerror` says it in words as the system's own do.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_bounded(path: Path, *, at_most_bytes: int) -> bytes:
    """The content of the regular file at `path`. Raises OSError."""
    # Without O_NONBLOCK a pipe that nobody writes to could not even be opened.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        mode = os.fstat(file.fileno())
        if not stat.S_ISREG(mode.st_mode):
            raise OSError(errno.EINVAL, "expected a file, got a device or a pipe", str(path))
        if mode.st_size > at_most_bytes:
            raise OSError(errno.EFBIG, f"expected at most {at_most_bytes >> 20} MiB, got more", str(path))
        return file.read(mode.st_size)
