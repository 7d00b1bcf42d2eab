"""Opens and decodes what it is told to, in a process of its own: if a decoder crashes, this is what it takes along.

Reads a path and a mode a line (JSON) from standard input; for each answers one line: what became of it. Ends with its
input. Every picture goes the whole way to the network's input, since that is where wrong sizes would be written past.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import resource
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from engines.picture import PictureWriter
from engines.spec import InputSpec
from engines.stills import read_still
from engines.types import Picture
from stages.options import StreamOptions
from stages.source import Decoded, open_connection
from tests.support.clock import FakeClock
from vedette.errors import PictureError, SourceError
from vedette.secrets import SecretUrl

# Not to be met by a small clip, however damaged: its pictures have 96 x 64 pixels, or what a damaged head says.
_ADDRESS_SPACE_BYTES = 8 << 30
_MOST_PICTURES = 300


def main() -> None:
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    writer = PictureWriter(InputSpec(size=(96, 64)))
    buffer = np.empty((1, 3, 64, 96), np.float32)

    def write(picture: Picture) -> None:
        writer.write(picture, buffer, 0)

    for line in sys.stdin:
        command = json.loads(line)
        if command["mode"] == "crash":  # as a decoder would
            os.abort()
        answer = _still(command["path"], write) if command["mode"] == "still" else _stream(command, write)
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer


def _stream(command: dict[str, Any], write: Any) -> dict[str, Any]:
    options = StreamOptions(id="fuzz", url=SecretUrl(command["path"]), mode=command["mode"])
    counts = {"pictures": 0, "troubles": 0, "refused": 0}
    try:
        connection = open_connection(options, FakeClock(), threading.Event())
        with contextlib.closing(connection):
            for item in connection.pictures():
                if not isinstance(item, Decoded):
                    counts["troubles"] += 1
                    continue
                counts["pictures"] += 1
                try:
                    write(item.picture)
                except PictureError as error:
                    _check(str(error))
                    counts["refused"] += 1
                item.picture.release()
                if counts["pictures"] >= _MOST_PICTURES:
                    break
    except SourceError as error:
        for text in error.lines():
            _check(text)
        return {**counts, "error": str(error)}
    return counts


def _still(path: str, write: Any) -> dict[str, Any]:
    try:
        write(read_still(Path(path)))
    except PictureError as error:
        _check(str(error))
        return {"pictures": 0, "error": str(error)}
    return {"pictures": 1}


def _check(text: str) -> None:
    assert text.isprintable(), text
    assert len(text) < 1000, text


if __name__ == "__main__":
    main()
