"""Reads what torch.save wrote without running any of it, for files which `torch.load(weights_only=True)` refuses.

A pickle is a program: it names functions and classes, and calls them. Checkpoints of trainers name some that hold no
weights (numpy scalars, omegaconf lists, a class of somebody's own). Here every name becomes a stand-in of ours: calling
it runs nothing, and what it is given is only kept. Tensors become `StoredTensor`s, which are read from the file
afterwards, and only those that somebody wants. No function or class of another module is ever handed to the pickle.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vedette.errors import ModelError

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

# What zipfile raises for damaged archives, and torch for tensors that do not lie where they should.
_ZIP_FAULTS = (
    zipfile.BadZipFile, EOFError, LookupError, NotImplementedError, OSError, OverflowError, RuntimeError, TypeError,
    ValueError, struct.error, zlib.error,
)  # fmt: skip

# Modules that a checkpoint has no reason to name. Nothing of them would run here either; but a file that names them
# was made to attack whoever loads it, and its weights deserve no trust.
_HOSTILE_MODULES = frozenset({
    "asyncio", "code", "commands", "concurrent", "ctypes", "distutils", "importlib", "marshal", "multiprocessing", "nt",
    "os", "pickle", "pip", "platform", "popen2", "posix", "pty", "pydoc", "requests", "runpy", "setuptools", "shutil",
    "signal", "site", "smtplib", "socket", "subprocess", "sys", "tempfile", "threading", "timeit", "urllib",
    "webbrowser", "zipimport",
})  # fmt: skip
_HOSTILE_BUILTINS = frozenset({
    "__import__", "breakpoint", "compile", "delattr", "eval", "exec", "globals", "input", "locals", "open", "setattr",
    "vars",
})  # fmt: skip


class _HostileError(Exception):
    """The pickle names what only an attack needs."""


class StandIn:
    """What a class or function of the pickle is here: it keeps what it is given, and does nothing."""

    qualified = ""

    def __new__(cls, *args: object, **kwargs: object) -> StandIn:
        made = super().__new__(cls)
        made.args = args
        made.state = None
        return made

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.args: tuple[object, ...]
        self.state: Any

    # The methods that a pickle may call on what it has made. `BUILD` on the class itself comes here, too.
    def __setstate__(self, state: object = None) -> None:
        if isinstance(self, StandIn):
            self.state = state

    def __setitem__(self, key: object, value: object) -> None: ...
    def append(self, item: object) -> None: ...
    def extend(self, items: Iterable[object]) -> None: ...
    def add(self, item: object) -> None: ...
    def __call__(self, *args: object, **kwargs: object) -> StandIn:
        return StandIn()

    def __hash__(self) -> int:
        return id(self)


class _Mapping(dict[Any, Any]):
    """An OrderedDict or defaultdict of the pickle."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(arg for arg in args if isinstance(arg, list | tuple)))

    def __setstate__(self, state: object = None) -> None: ...


class _Rebuild:
    """torch's function that makes a tensor of a storage, in the pickle's hands."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *args: object) -> object:
        return self._make(*args)

    def __setstate__(self, state: object = None) -> None: ...


class _StorageType:
    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __setstate__(self, state: object = None) -> None: ...


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies in the file."""

    file: Path
    member: str
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(stored: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    """The tensors themselves, owned by the caller. Raises ModelError if one does not lie where it should."""
    found: dict[str, Tensor] = {}
    with contextlib.ExitStack() as stack:
        archives: dict[Path, zipfile.ZipFile] = {}
        for name, tensor in stored.items():
            try:
                if tensor.file not in archives:
                    archives[tensor.file] = stack.enter_context(zipfile.ZipFile(tensor.file))
                data = bytearray(archives[tensor.file].read(tensor.member))
                whole = torch.frombuffer(data, dtype=tensor.dtype) if data else torch.empty(0, dtype=tensor.dtype)
                found[name] = whole.as_strided(tensor.shape, tensor.strides, tensor.offset).clone()
            except _ZIP_FAULTS as error:
                msg = f"{tensor.file}: {name}: {list(tensor.shape)} cannot be read from {tensor.member}: {_line(error)}"
                raise ModelError(msg, hint="the file is damaged; copy it again") from error
    return found


class _InertUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, file: Path, root: str) -> None:
        super().__init__(io.BytesIO(data))
        self._file = file
        self._root = root

    def find_class(self, module: str, name: str) -> object:
        top = module.partition(".")[0]
        if top in _HOSTILE_MODULES or (top in {"builtins", "__builtin__"} and name in _HOSTILE_BUILTINS):
            msg = f"{module}.{name}".replace("__builtin__.", "builtins.")  # as protocol 2 calls it
            raise _HostileError(msg)
        if module == "collections" and name in {"OrderedDict", "defaultdict"}:
            return type(name, (_Mapping,), {})  # a class of its own for each: nothing to alter for others
        if module == "torch._utils" and name in {"_rebuild_tensor_v2", "_rebuild_tensor"}:
            return _Rebuild(self._tensor)
        if module == "torch._utils" and name in {"_rebuild_parameter", "_rebuild_parameter_with_state"}:
            return _Rebuild(lambda data, *_: data)
        if module == "_codecs" and name == "encode":  # how protocol 2, torch's, writes bytes
            return _Rebuild(lambda text, *_: str(text).encode("latin1"))
        if module in {"torch", "torch.storage"} and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        return type("StandIn", (StandIn,), {"qualified": f"{module}.{name}"})

    def persistent_load(self, pid: object) -> object:
        match pid:
            case ("storage", _StorageType() as kind, str(key), *_):
                return _Storage(key, kind.dtype)
        msg = "a reference to something other than a storage"
        raise pickle.UnpicklingError(msg)

    def _tensor(self, storage: object, offset: object, shape: object, strides: object, *_: object) -> object:
        match storage, offset, shape, strides:
            case _Storage(), int(), tuple(), tuple():
                member = f"{self._root}data/{storage.key}"
                return StoredTensor(self._file, member, storage.dtype, offset, shape, strides)
        return StandIn()


def read_inert(path: Path) -> object:
    """What the pickle of a torch file says, made of containers, numbers, strings, StoredTensors and StandIns.

    Raises ModelError for anything that is no such file, and for one that was made to run code; none of it runs.
    """
    data, root = _pickle_of(path)
    try:
        return _InertUnpickler(data, path, root).load()
    except _HostileError as error:
        msg = f"{path}: would run {shown(str(error))} on the machine of whoever loads it; nothing of it was run"
        raise ModelError(msg, hint="it is an attack, not a model: do not open it with other tools") from error
    except Exception as error:  # strangers wrote the file: anything may come out of it
        msg = f"{path}: is not a checkpoint that can be read: {_line(error)}"
        raise ModelError(msg, hint="a file cut short or of another kind looks like this; copy it again") from error


def check_archive(path: Path) -> None:
    """Raise ModelError unless the file looks like one of torch.save's; reads its first bytes and its directory."""
    _pickle_of(path)


def _pickle_of(path: Path) -> tuple[bytes, str]:
    """The pickle in a torch file, and the folder in the archive in which it lies. Raises ModelError."""
    start = _start(path)
    if start.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                return _member(archive, path)
        except _ZIP_FAULTS as error:
            msg = f"{path}: is a checkpoint cut short or damaged: {_line(error)}"
            raise ModelError(msg, hint="copy it again") from error
    if start[:1] == b"\x80":
        return path.read_bytes(), ""
    got = "an empty file" if not start else f"a file that starts with {start[:8]!r}"
    msg = f"{path}: expected a checkpoint as torch.save writes it, got {got}"
    raise ModelError(msg, hint="give a .pth of YOLO-NAS; an ONNX file needs no export")


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise ModelError(msg) from error


def _member(archive: zipfile.ZipFile, path: Path) -> tuple[bytes, str]:
    names = archive.namelist()
    found = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(found) != 1:
        inside = ", ".join(names[:3]) + (", …" if len(names) > 3 else "") or "nothing"
        msg = f"{path}: is a zip archive, but not one of torch: expected data.pkl in it, got {shown(inside)}"
        raise ModelError(msg, hint="give a checkpoint as torch.save writes it")
    root = found[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in names:
        msg = f"{path}: is a TorchScript module, expected a checkpoint of weights"
        raise ModelError(msg, hint="give the .pth that it was made of")
    packed = next((info for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:  # a small file could become a huge one
        name = shown(packed.filename)
        msg = f"{path}: expected an archive that torch wrote, nothing in it compressed, got {name} compressed"
        raise ModelError(msg, hint="load and save it with torch again")
    return archive.read(found[0]), root


def plain(value: object) -> object:
    """A value without stand-ins: lists of omegaconf and numbers of numpy as Python's own; None for what is unknown."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case dict():
            return {key: plain(item) for key, item in value.items() if isinstance(key, str)}
        case list() | tuple():
            return [plain(item) for item in value]
        case Tensor():
            return value.tolist()
        case StandIn():
            return _unwrapped(value)
    return None


def _unwrapped(value: StandIn) -> object:
    if isinstance(value.state, dict):  # omegaconf: a container has its content, a node its value
        state = value.state
        return plain(state.get("_content", state.get("_val")))
    match value.qualified.rpartition(".")[2], value.args, value.state:
        case "scalar", (StandIn(args=(str(dtype), *_)), bytes(data)), _:
            return _numbers(dtype, data, single=True)
        case "_reconstruct", _, (_, _, StandIn(args=(str(dtype), *_)), _, bytes(data)):
            return _numbers(dtype, data, single=False)
    return None


def _numbers(dtype: str, data: bytes, *, single: bool) -> object:
    if dtype not in {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4"} or len(data) % int(dtype[1]):
        return None
    values: list[Any] = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).tolist()
    return values[0] if single and values else values


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return shown(lines[0].rstrip(".")) if lines else type(error).__name__


def shown(words: str) -> str:
    """Words out of a file, for one line of a message: nothing in them may steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in words)[:200]
