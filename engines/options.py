"""The `model` section of a configuration."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from engines.weights import ModelName

Unit = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]

Backend = Literal["openvino", "onnxruntime", "torch", "tensorrt"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]


class ModelOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which network runs, on what, and what it may report.

    `path`, or the `name` of one that ships: a configuration has one of them, and when it is read a name becomes a path.

    INT8 is a property of the file (Q/DQ nodes): `precision: int8` only insists on such a file. `score` and `nms_iou`
    default to the model's own; `classes` (names of the model's) to all of them.
    """

    path: str = ""
    name: ModelName | None = None
    backend: Literal["auto", "openvino", "onnxruntime", "torch", "tensorrt"] = "auto"
    precision: Precision = "auto"
    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] | None = None
    score: Unit | None = None
    nms_iou: Unit | None = None
    max_objects: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 300
    classes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
