"""What a calibration has seen, kept: histograms by tensor, beside what they are of.

They depend on the model, the pictures and how these become input, and on nothing that is chosen later (method,
exclusions, signs), so that another choice costs no second look at the pictures. A cache is named after the pictures;
one that is of another model or another version of this code, or that is damaged, is never used: `read` says why.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from engines.quantize.files import write_whole
from engines.quantize.histogram import HALF, Histogram
from engines.spec import InputSpec
from vedette.errors import DataError

VERSION = 1
"""Raised whenever the same pictures and model would give other histograms."""


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What histograms are of: hashes of the model file and of the pictures with the input's spec."""

    model: str
    pictures: str
    version: int = VERSION


class _Tensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    width: float
    low: float
    high: float
    zeros: int


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: Key
    tensors: tuple[_Tensor, ...]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cached:
    """What was found: histograms, or None and what is wrong with the file ("" if there is none)."""

    histograms: Mapping[str, Histogram] | None
    problem: str


def hashes_of(images: Sequence[Path]) -> tuple[str, ...]:
    """The sha256 of each image file. Raises DataError for one that cannot be read."""
    hashes = []
    for image in images:
        try:
            hashes.append(hashlib.sha256(image.read_bytes()).hexdigest())
        except OSError as error:
            msg = f"{image}: cannot be read: {error.strerror}"
            raise DataError(msg, hint="check the path") from error
    return tuple(hashes)


def key_of(model_sha256: str, hashes: Sequence[str], spec: InputSpec) -> Key:
    """The key of a model and pictures, in any order, which `spec` makes inputs of."""
    together = hashlib.sha256(msgspec.json.encode(spec))
    for one in sorted(hashes):
        together.update(bytes.fromhex(one))
    return Key(model=model_sha256, pictures=together.hexdigest())


def cache_path(folder: Path, name: str, key: Key) -> Path:
    """Where the histograms of a model called `name` for these pictures are kept."""
    return folder / f"{name}-{key.pictures[:12]}.calibration"


def write(path: Path, key: Key, histograms: Mapping[str, Histogram]) -> None:
    """Keep histograms, whole or not at all. Raises UsageError."""
    counts = np.stack([histogram.counts for histogram in histograms.values()])
    tensors = tuple(
        _Tensor(name=name, width=one.width, low=one.low, high=one.high, zeros=one.zeros)
        for name, one in histograms.items()
    )
    header = _Header(key=key, tensors=tensors, sha256=hashlib.sha256(counts.tobytes()).hexdigest())
    file = io.BytesIO()
    np.savez_compressed(file, header=np.frombuffer(msgspec.json.encode(header), np.uint8), counts=counts)
    write_whole({path: file.getvalue()})


def read(path: Path, key: Key) -> Cached:
    """The histograms in a cache, if they are of `key` and whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            header = msgspec.json.decode(file["header"].tobytes(), type=_Header)
            counts = file["counts"]
    except FileNotFoundError:
        return Cached(histograms=None, problem="")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, msgspec.MsgspecError) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Cached(histograms=None, problem=f"{path}: the calibration cache is damaged ({words}); made anew")
    if header.key != key:
        differs = [name for name in Key.__struct_fields__ if getattr(header.key, name) != getattr(key, name)]
        said = {"model": "another model file", "pictures": "other pictures", "version": "another version of Vedette"}
        what = " and ".join(said[name] for name in differs)
        return Cached(histograms=None, problem=f"{path}: the calibration cache is of {what}; made anew")
    good = counts.shape == (len(header.tensors), 2 * HALF) and counts.dtype == np.int64
    if not good or hashlib.sha256(counts.tobytes()).hexdigest() != header.sha256:
        return Cached(
            histograms=None, problem=f"{path}: the calibration cache is damaged (its checksum is wrong); made anew"
        )
    histograms = {
        tensor.name: Histogram(width=tensor.width, counts=row, low=tensor.low, high=tensor.high, zeros=tensor.zeros)
        for tensor, row in zip(header.tensors, counts, strict=True)
    }
    return Cached(histograms=histograms, problem="")
