"""The two INT8 files that one calibration writes, and how to tell a person which one to take."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_ENDS = {"unsigned": "-int8-unsigned.onnx", "signed": "-int8-signed.onnx"}
_FOR = {"unsigned": "for CPUs", "signed": "for TensorRT"}


def other_form(path: Path, wanted: Literal["unsigned", "signed"]) -> str:
    """The file of the wanted form beside this one, if it is there; else how to get one."""
    end = _ENDS["signed" if wanted == "unsigned" else "unsigned"]
    other = path.with_name(path.name.removesuffix(end) + _ENDS[wanted])
    if path.name.endswith(end) and other.exists():
        return str(other)
    return f"the {wanted} file, {_FOR[wanted]}: `vedette model quantize` writes both"
