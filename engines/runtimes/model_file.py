"""What an ONNX file says of itself: inputs, outputs, metadata, hash. Read with onnxruntime, nothing optimised."""

from __future__ import annotations

from pathlib import Path

from engines.spec import ModelFile, Tensor, sha256_of
from vedette.errors import MissingExtraError, ModelError

_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8", "tensor(int64)": "int64"}


def read_model_file(path: Path) -> ModelFile:
    """Read a model file's own description. Raises ModelError, MissingExtraError."""
    if not path.is_file():
        msg = f"{path}: no such model file"
        raise ModelError(msg, hint="check model.path; a relative path is relative to the configuration file")
    if path.suffix != ".onnx":
        msg = f"{path}: expected an ONNX file (.onnx), got {path.suffix or 'no ending'}"
        raise ModelError(msg, hint="export the model to ONNX")
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


def _tensor(node: object) -> Tensor:
    name, shape, kind = node.name, node.shape, node.type  # type: ignore[attr-defined]  # onnxruntime has no types
    sides = tuple(side if isinstance(side, int) and side >= 0 else -1 for side in shape)
    return Tensor(name=name, shape=sides, dtype=_TYPES.get(kind, kind))
