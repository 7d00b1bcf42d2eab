"""Engine files: a TensorRT plan and, before it, what it was made of and for which machine.

A plan runs on the TensorRT version and the GPU that it was built for and says neither; so each file begins with a line
of magic and a line of JSON (`Manifest`), which is compared before TensorRT sees the plan. Plans are programs: TensorRT
trusts them, so take engine files only from where you would take a program.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from engines.runtimes.gpus import Gpu
from engines.runtimes.tensorrt_build import Batches, write_whole
from engines.spec import ModelFile, ModelSpec, Tensor
from vedette.errors import ModelError

SUFFIXES = (".engine", ".plan")
_MAGIC = b"VEDETTE ENGINE 1\n"
_MAX_MANIFEST_BYTES = 1 << 20


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is. `gpu` is empty where any GPU of the compute capability `sm` runs it, as all of RTX's."""

    model: str
    model_sha256: str
    flavour: str
    version: str
    gpu: str
    sm: str
    batches: tuple[int, int, int]
    precision: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    spec: ModelSpec
    plan_bytes: int
    plan_sha256: str

    @property
    def built_for(self) -> str:
        return f"{self.flavour} {self.version}, {self.sm}{f' ({self.gpu})' if self.gpu else ''}"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What decides whether an engine can be used again; the fields are the manifest's."""

    model_sha256: str
    flavour: str
    version: str
    gpu: str
    sm: str
    batches: tuple[int, int, int]
    precision: str

    def differences(self, found: Manifest) -> list[str]:
        """What differs, in words: "version 10.3, now 10.7"."""
        return [
            f"{name.removesuffix('_sha256')} {_short(getattr(found, name))}, now {_short(getattr(self, name))}"
            for name in self.__struct_fields__
            if getattr(found, name) != getattr(self, name) and not (name == "gpu" and not found.gpu)
        ]


def write_engine(path: Path, manifest: Manifest, plan: bytes) -> None:
    """Write an engine file, whole or not at all. Raises EngineError."""
    write_whole(path, _MAGIC, msgspec.json.encode(manifest), b"\n", plan)


def manifest_of(path: Path) -> Manifest:
    """Read what an engine file says of itself; the plan itself is not read. Raises ModelError."""
    return _opened(path)[0]


def read_engine(path: Path) -> tuple[Manifest, bytes]:
    """Read an engine file and hold its plan against its manifest. Raises ModelError if it is damaged."""
    manifest, plan = _opened(path, whole=True)
    if len(plan) != manifest.plan_bytes or hashlib.sha256(plan).hexdigest() != manifest.plan_sha256:
        msg = f"{path}: is damaged: expected a plan of {manifest.plan_bytes} bytes with the hash in its first lines"
        msg += f", got {len(plan)} bytes" if len(plan) != manifest.plan_bytes else ", got other bytes"
        raise ModelError(msg, hint="remove it and build it again")
    return manifest, plan


def model_file_of(path: Path, sha256: str) -> ModelFile:
    """An engine file as a model file, for the spec and the heads. Raises ModelError."""
    manifest = manifest_of(path)
    spec = msgspec.structs.replace(manifest.spec, sha256="")
    return ModelFile(
        path=str(path),
        sha256=sha256,
        bytes=path.stat().st_size,
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        metadata={"vedette": msgspec.json.encode(spec).decode()},
    )


def manifest_for(
    wanted: Wanted,
    file: ModelFile,
    spec: ModelSpec,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    plan: bytes,
) -> Manifest:
    """The manifest of a plan that was just built."""
    return Manifest(
        model=Path(file.path).name,
        inputs=inputs,
        outputs=outputs,
        spec=spec,
        plan_bytes=len(plan),
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        **msgspec.structs.asdict(wanted),
    )


def wanted_of(
    file: ModelFile, flavour: str, version: str, gpu: Gpu | None, sm: str, batches: Batches, precision: str
) -> Wanted:
    return Wanted(
        model_sha256=file.sha256,
        flavour=flavour,
        version=version,
        gpu=gpu.name if gpu else "",
        sm=sm,
        batches=(batches.least, batches.best, batches.most),
        precision=precision,
    )


def _opened(path: Path, *, whole: bool = False) -> tuple[Manifest, bytes]:
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                msg = f"{path}: is not an engine file of Vedette's; a bare plan does not say what it was built for"
                raise ModelError(msg, hint="give the ONNX file: Vedette builds and keeps the engine itself")
            line = file.readline(_MAX_MANIFEST_BYTES)
            plan = file.read() if whole else b""
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise ModelError(msg) from error
    try:
        return msgspec.json.decode(line, type=Manifest), plan
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        msg = f"{path}: is damaged: its first lines do not say what it is ({error})"
        raise ModelError(msg, hint="remove it and build it again") from error


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text or "none"
