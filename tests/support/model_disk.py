"""A file system in memory that does to the spool what real ones do: tears, forgets, fills up, flips bits."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field


class Killed(BaseException):
    """The process died here; what it had written so far is there."""


@dataclass
class _File:
    synced: bytes = b""
    data: bytearray = field(default_factory=bytearray)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@dataclass
class ModelDisk:
    """Satisfies `pipeline.spool.Disk`.

    `capacity`: bytes for all files. `kill_after`: die when so many more bytes have been written. `fail_sync`,
    `fail_truncate`, `fail_create`, `read_only`: how many of the next such calls fail.
    """

    capacity: int = 1 << 30
    kill_after: int | None = None
    fail_sync: int = 0
    fail_truncate: int = 0
    fail_create: int = 0
    read_only: bool = False
    closed: bool = False
    files: dict[str, _File] = field(default_factory=dict)

    def names(self) -> list[str]:
        return sorted(self.files, reverse=True)

    def size(self, name: str) -> int:
        return len(self._file(name).data)

    def create(self, name: str) -> None:
        self._writable()
        if self.fail_create:
            self.fail_create -= 1
            raise _error(errno.ENOSPC)
        if name in self.files:
            raise _error(errno.EEXIST)
        self.files[name] = _File()

    def read(self, name: str, offset: int, size: int) -> bytes:
        return bytes(self._file(name).data[offset : offset + size])

    def write(self, name: str, offset: int, data: bytes) -> None:
        self._writable()
        file = self._file(name)
        free = self.capacity - sum(len(other.data) for other in self.files.values())
        fits = data[: max(0, len(file.data) + free - offset)]
        if self.kill_after is not None:
            if len(fits) > self.kill_after:
                self._put(file, offset, fits[: self.kill_after])
                self.kill_after = None
                raise Killed
            self.kill_after -= len(fits)
        self._put(file, offset, fits)
        if len(fits) < len(data):
            raise _error(errno.ENOSPC)

    def truncate(self, name: str, size: int) -> None:
        self._writable()
        if self.fail_truncate:
            self.fail_truncate -= 1
            raise _error(errno.EIO)
        file = self._file(name)
        del file.data[size:]
        file.data.extend(bytes(size - len(file.data)))

    def sync(self, name: str) -> None:
        if self.fail_sync:
            self.fail_sync -= 1
            raise _error(errno.EIO)
        file = self._file(name)
        file.synced = bytes(file.data)

    def remove(self, name: str) -> None:
        self._writable()
        self._file(name)
        del self.files[name]

    def replace(self, name: str, data: bytes, *, durable: bool) -> None:
        self._writable()
        old = self.files.get(name, _File())
        self.files[name] = _File(synced=data if durable else old.synced, data=bytearray(data))

    def close(self) -> None:
        self.closed = True

    def reopened(self, *, power_cut: Callable[[str, bytes, bytes], bytes] | None = None) -> ModelDisk:
        """The disk as the next process finds it. After a power cut `power_cut(name, synced, data)` says what is in a
        file; otherwise everything written is there.
        """
        files = {}
        for name, file in self.files.items():
            data = bytes(file.data) if power_cut is None else power_cut(name, file.synced, bytes(file.data))
            files[name] = _File(synced=data, data=bytearray(data))
        return ModelDisk(capacity=self.capacity, files=files, read_only=self.read_only)

    def flip(self, name: str, bit: int) -> None:
        file = self.files[name]
        bit %= len(file.data) * 8
        file.data[bit // 8] ^= 1 << bit % 8
        synced = bytearray(file.synced)
        if bit // 8 < len(synced):
            synced[bit // 8] ^= 1 << bit % 8
        file.synced = bytes(synced)

    def _file(self, name: str) -> _File:
        if name not in self.files:
            raise _error(errno.ENOENT)
        return self.files[name]

    def _writable(self) -> None:
        if self.read_only:
            raise _error(errno.EROFS)

    @staticmethod
    def _put(file: _File, offset: int, data: bytes) -> None:
        file.data.extend(bytes(max(0, offset - len(file.data))))
        file.data[offset : offset + len(data)] = data
