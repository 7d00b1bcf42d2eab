"""A small disk of the spool's own, which can be full and can be read-only, without anybody's leave.

A tmpfs in a mount namespace that a child process holds (unshare, util-linux; the user namespace around it makes root
unnecessary). `vedette run` enters it (nsenter) before it starts. Nobody else sees what is mounted there, and it is gone
with the last process in it: there is nothing to unmount, however this command ends. The holder ends with its standard
input, hence with us.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
import subprocess
from pathlib import Path

from vedette.errors import VedetteError

_SIZE_MIB = 4
_PATIENCE_S = 20.0
_TOOLS = ("unshare", "nsenter", "mount", "umount")
# Made read-only where nobody looks yet: the kernel refuses it once a file is open for writing there.
_HOLD = """
mount -t tmpfs -o "size=$2m,mode=700" vedette-faults "$1" && mkdir "$1/spool" "$1/protected" &&
mount --bind "$1/spool" "$1/protected" && mount -o remount,bind,ro "$1/protected" && echo ready && exec cat
"""


class DiskError(VedetteError):
    """The disk could not be made, filled or protected."""


@functools.cache
def why_no_disk() -> str | None:
    """Why no such disk can be made here, in words; None if it can. Tries it, with nothing left behind."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)} (Debian's util-linux and mount)"
    code = """
    mount -t tmpfs vedette-faults /tmp && mkdir /tmp/a && mount --bind /tmp/a /tmp/a &&
    mount -o remount,bind,ro /tmp/a && umount -l /tmp/a
    """
    done = subprocess.run(
        [*_unshare(), "sh", "-c", code], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
    )
    if done.returncode == 0:
        return None
    said = done.stderr.strip().splitlines()
    return f"mounts in a namespace of one's own are not permitted here: {said[-1] if said else 'no reason given'}"


class SpoolDisk:
    """`with SpoolDisk(folder) as disk:` mounts it at `folder`, an empty directory; the spool belongs in `disk.spool`.

    Called by one thread at a time. Raises DiskError if a step fails, which `why_no_disk` would have told before.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.spool = folder / "spool"
        self._holder: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> SpoolDisk:
        words = [*_unshare(), "sh", "-c", _HOLD, "sh", str(self._folder), str(_SIZE_MIB)]
        holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._holder = holder
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            said = self._end().decode(errors="replace").strip()
            msg = f"no disk could be mounted at {self._folder}: {said}"
            raise DiskError(msg)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def enter(self) -> list[str]:
        """The words before a command that is to see the disk; the process keeps its id, user and working directory."""
        whose = f"--target={self._running().pid}"
        return ["nsenter", whose, "--user", "--mount", "--preserve-credentials", "--wd", "--"]

    def fill(self) -> None:
        """Take every free block: from now on who writes gets ENOSPC."""
        ballast = os.open(self._from_outside(self._folder / "ballast"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            block = bytes(1 << 16)
            while len(block) > 0:
                try:
                    os.write(ballast, block)
                except OSError as error:  # at last for a single byte
                    if error.errno != errno.ENOSPC:
                        msg = f"the spool's disk cannot be filled: {error.strerror}"
                        raise DiskError(msg) from error
                    block = block[: len(block) // 2]
        finally:
            os.close(ballast)

    def drain(self) -> None:
        """Give the blocks back."""
        self._from_outside(self._folder / "ballast").unlink(missing_ok=True)

    def protect(self) -> None:
        """The spool's folder becomes read-only: no new file, none removed, none opened for writing (EROFS).

        A file that is open already can be written on.
        """
        self._do("mount", "--bind", str(self._folder / "protected"), str(self.spool))

    def unprotect(self) -> None:
        """Take it back; also if a file was opened meanwhile (lazily: it stays as it was opened)."""
        self._do("umount", "-l", str(self.spool))

    def copy_out(self) -> None:
        """Copy the spool's files to where the same path leads for everybody else."""
        shutil.copytree(self._from_outside(self.spool), self.spool)

    def _do(self, *words: str) -> None:
        done = subprocess.run([*self.enter, *words], capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
        if done.returncode != 0:
            msg = f"the spool's disk: {done.stderr.strip() or words}"
            raise DiskError(msg)

    def _from_outside(self, path: Path) -> Path:
        return Path(f"/proc/{self._running().pid}/root{path}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._holder is None:
            msg = "the spool's disk is not mounted"
            raise DiskError(msg)
        return self._holder

    def _end(self) -> bytes:
        holder, self._holder = self._holder, None
        if holder is None:
            return b""
        _, said = holder.communicate(timeout=_PATIENCE_S)
        return said


def _unshare() -> list[str]:
    return ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", "--"]
