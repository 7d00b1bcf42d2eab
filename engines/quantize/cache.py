"""What a calibration has seen, kept: histograms by tensor and rounded weights, beside what they are of.

They depend on the model, the pictures, how these become input and how weights are rounded, and on nothing that is
chosen later (method, exclusions, signs), so that another choice costs no second look at the pictures. A cache is named
after the pictures; one that is of another model or another version of this code, or that is damaged, is never used:
`read` says why.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from engines.quantize.files import write_whole
from engines.quantize.histogram import HALF, Histogram
from engines.quantize.rounding import Rounded
from engines.quantize.weights import Int8Weights
from engines.spec import InputSpec
from vedette.errors import DataError

VERSION = 1
"""Raised whenever the same pictures and model would give other histograms."""


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was seen: hashes of the model file and of the pictures with the input's spec; how weights are rounded."""

    model: str
    pictures: str
    rounding: str
    version: int = VERSION


class _Tensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    width: float
    low: float
    high: float
    zeros: int


class _Convolution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    axis: int | None
    shifted: bool


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`sha256` is of the arrays."""

    key: Key
    tensors: tuple[_Tensor, ...]
    convolutions: tuple[_Convolution, ...]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What a calibration has found: histograms by tensor, rounded weights by convolution."""

    histograms: Mapping[str, Histogram]
    rounded: Mapping[str, Rounded]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cached:
    """What was found, or None and what is wrong with the file ("" if there is none)."""

    found: Found | None
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


def key_of(model_sha256: str, hashes: Sequence[str], spec: InputSpec, rounding: str) -> Key:
    """The key of a model and pictures, in any order, which `spec` makes inputs of."""
    together = hashlib.sha256(msgspec.json.encode(spec))
    for one in sorted(hashes):
        together.update(bytes.fromhex(one))
    return Key(model=model_sha256, pictures=together.hexdigest(), rounding=rounding)


def cache_path(folder: Path, name: str, key: Key) -> Path:
    """Where what was found of a model called `name` in these pictures is kept."""
    return folder / f"{name}-{key.pictures[:12]}-{key.rounding}.calibration"


def write(path: Path, key: Key, found: Found) -> None:
    """Keep it, whole or not at all. Raises UsageError."""
    arrays: dict[str, npt.NDArray[Any]] = {"counts": np.stack([one.counts for one in found.histograms.values()])}
    convolutions = []
    for place, (name, rounded) in enumerate(found.rounded.items()):
        arrays |= {f"values{place}": rounded.weights.values, f"scales{place}": rounded.weights.scales}
        if rounded.shift is not None:
            arrays[f"shift{place}"] = rounded.shift
        convolutions.append(_Convolution(name=name, axis=rounded.weights.axis, shifted=rounded.shift is not None))
    tensors = tuple(
        _Tensor(name=name, width=one.width, low=one.low, high=one.high, zeros=one.zeros)
        for name, one in found.histograms.items()
    )
    header = _Header(key=key, tensors=tensors, convolutions=tuple(convolutions), sha256=_digest(arrays))
    arrays["header"] = np.frombuffer(msgspec.json.encode(header), np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    write_whole({path: file.getvalue()})


def read(path: Path, key: Key) -> Cached:
    """What is in a cache, if it is of `key` and whole."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = msgspec.json.decode(arrays.pop("header").tobytes(), type=_Header)
        if header.key != key:
            return Cached(
                found=None, problem=f"{path}: the calibration cache is of {_other(header.key, key)}; made anew"
            )
        if _digest(arrays) != header.sha256:
            return Cached(found=None, problem=f"{path}: the calibration cache is damaged (its checksum); made anew")
        return Cached(found=_unpacked(header, arrays), problem="")
    except FileNotFoundError:
        return Cached(found=None, problem="")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, msgspec.MsgspecError) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Cached(found=None, problem=f"{path}: the calibration cache is damaged ({words}); made anew")


def _other(got: Key, wanted: Key) -> str:
    said = {
        "model": "another model file",
        "pictures": "other pictures",
        "rounding": "another rounding",
        "version": "another version of Vedette",
    }
    return " and ".join(words for name, words in said.items() if getattr(got, name) != getattr(wanted, name))


def _digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    together = hashlib.sha256()
    for name in sorted(arrays):
        together.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        together.update(arrays[name].tobytes())
    return together.hexdigest()


def _unpacked(header: _Header, arrays: Mapping[str, npt.NDArray[Any]]) -> Found:
    """Raises KeyError or ValueError if the header and the arrays do not fit."""
    histograms = {
        tensor.name: Histogram(
            width=tensor.width,
            counts=row.reshape(2 * HALF),
            low=tensor.low,
            high=tensor.high,
            zeros=tensor.zeros,
        )
        for tensor, row in zip(header.tensors, arrays["counts"], strict=True)
    }
    rounded = {
        one.name: Rounded(
            weights=Int8Weights(values=arrays[f"values{place}"], scales=arrays[f"scales{place}"], axis=one.axis),
            shift=arrays[f"shift{place}"] if one.shifted else None,
        )
        for place, one in enumerate(header.convolutions)
    }
    return Found(histograms=histograms, rounded=rounded)
