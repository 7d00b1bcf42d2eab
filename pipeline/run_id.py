"""The name of a run: one life of the process; for a file, the same for the same work.

A file's run is the hash of the file, the model and the configuration that concerns it, so that a replay gives the
same messages, byte for byte, alone or beside other streams.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

_WHOLE_BYTES = 64 << 20
_SAMPLES = 64
_SAMPLE_BYTES = 1 << 20


def process_run() -> str:
    """A fresh name for this life of the process: 12 hexadecimal digits."""
    return secrets.token_hex(6)


def file_run(source: Path | str, *, model_sha256: str, fingerprint: str) -> str:
    """The name of a lossless stream's run, from its file (a Path) or from what describes it (a synthetic camera's URL).

    A file that cannot be read, or is none (a pipe would never open), still has one: its stream fails and says why.
    Up to 64 MiB are hashed whole; of a larger file its size and 64 blocks of 1 MiB, evenly spread, so that an archive
    of many gigabytes starts at once.
    """
    digest = hashlib.blake2b(digest_size=6)
    for part in (model_sha256, fingerprint):
        digest.update(part.encode() + b"\0")
    if isinstance(source, str):
        digest.update(source.encode())
        return digest.hexdigest()
    try:
        size = source.stat().st_size
        if not source.is_file():
            return digest.hexdigest()
        with source.open("rb") as file:
            digest.update(str(size).encode() + b"\0")
            if size <= _WHOLE_BYTES:
                while block := file.read(_SAMPLE_BYTES):
                    digest.update(block)
            else:
                for sample in range(_SAMPLES):
                    file.seek((size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
                    digest.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        digest.update(type(error).__name__.encode())
    return digest.hexdigest()
