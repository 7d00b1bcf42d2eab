"""The file system under the spool: one directory, one process at a time.

Nothing here interprets what is in the files. Every error is an OSError; only opening raises SpoolError.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from vedette.errors import SpoolError

_LOCK = "lock"
# Who was where is nobody's business but its owner's. A directory that is there already keeps its mode.
_FILE_MODE, _DIRECTORY_MODE = 0o600, 0o700


class Directory:
    """A locked directory of append-only files. Not thread-safe.

    The lock is the kernel's (flock): it ends with the process, however that ends. The file `lock` holds the pid for
    people. At most two files are held open, the one last written and the one last read: that one for reading only, so
    that what was promised can be had from a disk that has become read-only, too.
    """

    def __init__(self, path: Path) -> None:
        """Create the directory if it is missing and lock it.

        Raises SpoolError if that can't be done; if another process has it, the error names the process.
        """
        self._path = path
        self._written: tuple[str, int] | None = None
        self._read: tuple[str, int] | None = None
        try:
            path.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
            self._lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        except OSError as error:
            msg = f"spool {path}: cannot be opened: {error.strerror}"
            raise SpoolError(msg, hint="it must be a directory that this user may write to") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip()
            os.close(self._lock)
            who = "another sink of this process" if holder == str(os.getpid()) else f"process {holder or 'unknown'}"
            msg = f"spool {path}: in use by {who}"
            raise SpoolError(msg, hint="give every process and every sink a spool of its own") from error
        # On a full disk the pid can't be written; the lock holds all the same.
        with contextlib.suppress(OSError):
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def __str__(self) -> str:
        return str(self._path)

    def names(self) -> list[str]:
        return [entry.name for entry in os.scandir(self._path) if entry.is_file() and entry.name != _LOCK]

    def size(self, name: str) -> int:
        return (self._path / name).stat().st_size

    def create(self, name: str) -> None:
        """Make a new, empty file that is there after a power cut, too. Raises FileExistsError if there is one."""
        fd = os.open(self._path / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        self._close_written()
        self._written = (name, fd)
        self._sync_directory()

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""
        fd, parts = self._open_to_read(name), []
        while size > 0 and (part := os.pread(fd, size, offset)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return b"".join(parts)

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`; an error may leave any part of it written."""
        fd, view = self._open_to_write(name), memoryview(data)
        while view:
            written = os.pwrite(fd, view, offset)
            offset += written
            view = view[written:]

    def truncate(self, name: str, size: int) -> None:
        os.ftruncate(self._open_to_write(name), size)

    def sync(self, name: str) -> None:
        """Return when what was written to the file is on the disk."""
        os.fsync(self._open_to_write(name))

    def remove(self, name: str) -> None:
        self._forget(name)
        # Somebody may have taken it away, or we did and the folder's fsync failed: it is asked for again then.
        (self._path / name).unlink(missing_ok=True)
        self._sync_directory()

    def replace(self, name: str, data: bytes, *, durable: bool) -> None:
        """Put `data` in place of the whole file, all or nothing; after a power cut only if `durable`."""
        new = self._path / f"{name}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _FILE_MODE)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        self._forget(name)
        new.rename(self._path / name)
        if durable:
            self._sync_directory()

    def close(self) -> None:
        """Close the files and give the lock back. Idempotent."""
        self._close_written()
        self._close_read()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _sync_directory(self) -> None:
        fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _open_to_write(self, name: str) -> int:
        if self._written is None or self._written[0] != name:
            fd = os.open(self._path / name, os.O_RDWR | os.O_CLOEXEC)
            self._close_written()
            self._written = (name, fd)
        return self._written[1]

    def _open_to_read(self, name: str) -> int:
        if self._written is not None and self._written[0] == name:
            return self._written[1]
        if self._read is None or self._read[0] != name:
            fd = os.open(self._path / name, os.O_RDONLY | os.O_CLOEXEC)
            self._close_read()
            self._read = (name, fd)
        return self._read[1]

    def _forget(self, name: str) -> None:
        if self._written is not None and self._written[0] == name:
            self._close_written()
        if self._read is not None and self._read[0] == name:
            self._close_read()

    def _close_written(self) -> None:
        written, self._written = self._written, None
        if written is not None:
            os.close(written[1])

    def _close_read(self) -> None:
        read, self._read = self._read, None
        if read is not None:
            os.close(read[1])
