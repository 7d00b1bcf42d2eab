"""What a model file says of itself: inputs, outputs, metadata, hash.

An ONNX file is read with onnxruntime, nothing optimised; an engine file says it in its first lines; a checkpoint of
YOLO-NAS takes any size and batch.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from engines.runtimes.choice import CHECKPOINTS
from engines.runtimes.engine_file import SUFFIXES, model_file_of
from engines.spec import ModelFile, ModelSpec, Tensor, sha256_of
from vedette.errors import MissingExtraError, ModelError

_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8", "tensor(int64)": "int64"}


def read_model_file(path: Path) -> ModelFile:
    """Read a model file's own description. Raises ModelError, MissingExtraError."""
    try:
        there, why = path.is_file(), "no such model file"
    except OSError as error:  # a folder without right, a name that is too long
        there, why = False, f"cannot be read: {error.strerror}"
    if not there:
        msg = f"{path}: {why}"
        raise ModelError(msg, hint="check the path; in a configuration, model.path is relative to the file")
    check_name(path)
    if path.suffix in SUFFIXES:
        return model_file_of(path, sha256_of(path))
    if path.suffix in CHECKPOINTS:
        return _checkpoint(path)
    if path.suffix != ".onnx":
        msg = f"{path}: expected an ONNX file (.onnx), got {path.suffix or 'no ending'}"
        raise ModelError(msg, hint="export the model to ONNX")
    return _onnx(path)


def check_name(path: Path) -> None:
    """Raise ModelError for a name that is not UTF-8, which neither onnxruntime nor a specification can hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        msg = f"{str(path).encode(errors='replace').decode()}: expected a name in UTF-8 (? is what is not)"
        raise ModelError(msg, hint="rename it") from error


def _onnx(path: Path) -> ModelFile:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        msg = "models are read with onnxruntime, which is not installed"
        raise MissingExtraError(msg, hint="pip install 'vedette[cpu]'") from error
    from engines.runtimes.onnxruntime_errors import refusals, said

    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 4
    digest = sha256_of(path)
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except refusals() as error:
        why = said(error).removeprefix(f"Load model from {path} failed:")
        msg = f"{path}: is not an ONNX model that can be loaded: {why}"
        raise ModelError(
            msg, hint="a file cut short or of another kind looks like this; export or copy it again"
        ) from error
    return ModelFile(
        path=str(path),
        sha256=digest,
        bytes=path.stat().st_size,
        inputs=tuple(_tensor(node) for node in session.get_inputs()),
        outputs=tuple(_tensor(node) for node in session.get_outputs()),
        metadata=dict(session.get_modelmeta().custom_metadata_map),
    )


def _checkpoint(path: Path) -> ModelFile:
    try:
        from engines.yolo_nas.checkpoint import load_checkpoint
    except ModuleNotFoundError as error:
        msg = f"{path}: a checkpoint is read with {error.name}, which is not installed"
        raise MissingExtraError(msg, hint="pip install 'vedette[train]', or export it to ONNX where that is") from error
    found = load_checkpoint(path)
    metadata = {}
    if found.class_names and found.input:
        spec = ModelSpec(name=path.stem, head="yolo_nas", classes=found.class_names, input=found.input)
        score, nms_iou = found.score, found.nms_iou
        spec = msgspec.structs.replace(
            spec,
            score=spec.score if score is None else score,
            nms_iou=spec.nms_iou if nms_iou is None else nms_iou,
        )
        metadata["vedette"] = msgspec.json.encode(spec).decode()
    classes = found.network.classes
    return ModelFile(
        path=str(path),
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
        inputs=(Tensor(name="images", shape=(-1, 3, -1, -1), dtype="float32"),),
        outputs=(
            Tensor(name="boxes", shape=(-1, -1, 4), dtype="float32"),
            Tensor(name="scores", shape=(-1, -1, classes), dtype="float32"),
        ),
        metadata=metadata,
    )


def _tensor(node: object) -> Tensor:
    name, shape, kind = node.name, node.shape, node.type  # type: ignore[attr-defined]  # onnxruntime has no types
    sides = tuple(side if isinstance(side, int) and side >= 0 else -1 for side in shape)
    return Tensor(name=name, shape=sides, dtype=_TYPES.get(kind, kind))
