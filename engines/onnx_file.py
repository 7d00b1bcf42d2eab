"""Writes an ONNX file with its spec inside, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import msgspec
import onnx

from engines.spec import ModelSpec, spec_path
from vedette.errors import ModelError
from vedette.whole_file import whole_file

_SPEC_KEY = "vedette"


def save_onnx(model: onnx.ModelProto, out: Path, spec: ModelSpec | None = None) -> Path:
    """Write the model to `out`, with the spec in its metadata (None: what stands there stays); returns `out`.

    Raises ModelError if it cannot be written there, or a YAML lies beside that would be taken for this model's spec.
    """
    if out.suffix != ".onnx":
        msg = f"{out}: expected a name that ends in .onnx"
        raise ModelError(msg, hint="give --out another name")
    beside = spec_path(out)
    if beside.exists():
        msg = f"{beside}: lies beside and would be read as the spec of the new {out.name}"
        raise ModelError(msg, hint="remove it, or give --out another name")
    if spec is not None:
        # The hash and the gate are of another file, if they are there at all; this one does not exist as yet.
        own = msgspec.structs.replace(spec, sha256="", gate=None, unverified=False)
        kept = {entry.key: entry.value for entry in model.metadata_props}
        onnx.helper.set_model_props(model, kept | {_SPEC_KEY: msgspec.json.encode(own).decode()})
    try:
        with whole_file(out) as part:
            part.write_bytes(model.SerializeToString())
    except OSError as error:
        msg = f"{out}: cannot be written: {error.strerror}"
        raise ModelError(msg, hint="give --out another place, or make room") from error
    return out
