"""What onnxruntime raises: its exceptions have no common base but Exception."""

from __future__ import annotations

import re


def refusals() -> tuple[type[Exception], ...]:
    """The exceptions by which onnxruntime refuses a file or a run. Imports onnxruntime."""
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    names = (
        "EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "ModelLoaded",
        "NoModel", "NoSuchFile", "NotImplemented", "RuntimeException",
    )  # fmt: skip
    raised: tuple[type[Exception], ...] = tuple(getattr(states, name) for name in names if hasattr(states, name))
    return (*raised, RuntimeError, ValueError)


def said(error: Exception | str) -> str:
    """An error of onnxruntime in its own words, one line, without its codes and the places in its source."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", str(error))
    text = re.sub(r"\S*/onnxruntime/\S+:\d+ .*? was false\. ", "", text)
    return " ".join(text.split())[:300] or "it does not say why"
