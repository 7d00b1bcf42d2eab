"""Where bytes of others come in, one function each: `DOORS[name](data)` returns, or raises what it found.

A door is fed by make test (Hypothesis and the files in `corpus/`) and by `make fuzz` (atheris). Whatever the bytes are:
a value, or one of our own errors of one printable line a problem. Anything else that is raised is a finding.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from engines.spec import ModelSpec, find_spec, read_spec
from pipeline.spool import Directory, Spool
from tests.pipeline.test_config_properties import check as config
from tests.support.model_files import model_file
from vedette.client.entries import read_event, read_frame
from vedette.errors import MessageError, SpoolError, VedetteError
from vedette.messages import UnknownEvent, decode_message, encode_message

CORPUS = Path(__file__).parent / "corpus"


def corpus(door: str) -> list[Path]:
    """The files that were worth keeping for a door."""
    return sorted(path for path in (CORPUS / door).iterdir() if path.is_file())


def check_error(error: VedetteError) -> None:
    """One printable line a problem, and one for the hint; bounded, whatever was in the input."""
    for line in error.lines():
        assert line.isprintable(), line
        assert len(line) <= 2000, line[:200]


# ── model specs ──────────────────────────────────────────────────────────────────────────────────────────────────────


def spec(data: bytes) -> None:
    """`model.yaml` beside a model, and the same text in the model's metadata."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.yaml"
        path.write_bytes(data)
        with contextlib.suppress(_OursError):
            with _ours():
                found = read_spec(path)
            _check_spec(found)
    with contextlib.suppress(_OursError):
        with _ours():
            found = find_spec(model_file("/nowhere/model.onnx", metadata={"vedette": data.decode("latin-1")})).spec
        _check_spec(found)


def _check_spec(found: ModelSpec) -> None:
    """A spec is shown and written into files: what was read can be written, and is the same when it is read again."""
    again = msgspec.convert(msgspec.to_builtins(found), ModelSpec)
    assert repr(again) == repr(found)
    msgspec.json.encode(found)


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def message(data: bytes) -> None:
    """The JSON of an entry, as bytes and as text, and the entry around it."""
    for encoded in (data, data.decode("utf-8", "replace")):
        with contextlib.suppress(_OursError):
            with _ours(MessageError):
                found = decode_message(encoded)
            if not isinstance(found, UnknownEvent):
                assert decode_message(encode_message(found)) == found
    version, _, raw = data.partition(b"\n")
    for fields in ([b"v", b"1", b"m", data], [b"v", version, b"m", raw], data.split(b"\n")):
        with contextlib.suppress(_OursError), _ours(MessageError):
            read_frame("vedette:frames:gate", "gate", ("1-0", fields))
        with contextlib.suppress(_OursError), _ours(MessageError):
            read_event("vedette:events", ("1-0", fields))


# ── the spool's files ────────────────────────────────────────────────────────────────────────────────────────────────

_FILE_MARK = b"\n==> "


def pack(files: dict[str, bytes]) -> bytes:
    """A directory as one text, as `head` prints several files, for a fuzzer that knows of one input only."""
    return b"".join(_FILE_MARK + name.encode() + b"\n" + content for name, content in files.items())


def unpack(data: bytes) -> dict[str, bytes]:
    files = {}
    for part in data.split(_FILE_MARK)[1:]:
        name, _, content = part.partition(b"\n")
        text = name.decode("utf-8", "surrogateescape")
        if text not in ("", ".", "..", "lock") and not set(text) & {"/", "\0"} and len(name) < 200:
            files[text] = content
    return files


def spool(data: bytes) -> None:
    """A spool is opened on whatever files there are, read, written, confirmed, and opened again.

    No number is given twice, and what was promised is there the next time; unless the files themselves, which are not
    Vedette's then, have a number twice or a producer who comes back after another.
    """
    files = unpack(data)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        ids = (f"new{number}" for number in itertools.count())
        seen: dict[tuple[str, int], bytes] = {}
        for round_ in range(2):
            with contextlib.suppress(_OursError), _ours(SpoolError), _open(Path(folder), ids) as opened:
                found = _records(opened)
                names = [(record.producer, record.n) for record in found]
                if names != sorted(set(names), key=names.index) or len(_changes(files)) != len(set(_changes(files))):
                    return
                for record in found:
                    assert seen.setdefault((record.producer, record.n), record.payload) == record.payload
                payload = b'{"round":%d}' % round_
                name = (opened.producer, opened.next_n)
                assert name not in seen
                if opened.append(payload):
                    assert opened.commit() == 1
                    seen[name] = payload
                    records = _records(opened)
                    assert [(record.producer, record.n, record.payload) for record in records] == [(*name, payload)]
                    if round_:
                        opened.confirm(records[-1], 1)
                opened.rewind("another", 2)
                again = [(record.producer, record.n) for record in _records(opened)]
                assert len(set(again)) == len(again)
                opened.release(10**12)


def _changes(files: dict[str, bytes]) -> list[str]:
    """The producers in the order of their segments, each once for as long as it goes on."""
    segments = sorted(name.split("-")[:2] for name in files if name.endswith(".v1") and name.count("-") == 2)
    return [producer for producer, _ in itertools.groupby(segment[1] for segment in segments)]


@contextlib.contextmanager
def _open(folder: Path, ids: Iterator[str]) -> Iterator[Spool]:
    directory = Directory(folder)
    try:
        opened = Spool(directory, max_bytes=1 << 20, retain_ns=1000, now_ns=0, new_id=lambda: next(ids))
        yield opened
        opened.close()
    finally:
        directory.close()


def _records(opened: Spool) -> list:  # type: ignore[type-arg]
    found = []
    while opened.unread:
        records, lost = opened.read(64)
        assert records or lost
        found += records
    return found


# ── what is ours ─────────────────────────────────────────────────────────────────────────────────────────────────────


class _OursError(Exception):
    """An error that the door may answer with was raised, and is as it should be."""


@contextlib.contextmanager
def _ours(kind: type[VedetteError] = VedetteError) -> Iterator[None]:
    try:
        yield
    except kind as error:
        check_error(error)
        raise _OursError from error


DOORS: dict[str, Callable[[bytes], None]] = {"config": config, "spec": spec, "message": message, "spool": spool}
