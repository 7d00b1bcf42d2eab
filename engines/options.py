"""The `model` section of a configuration."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from engines.weights import ModelName

Unit = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]

Backend = Literal["openvino", "onnxruntime", "torch", "tensorrt"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]


class GpuOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a network runs on a machine with NVIDIA GPUs; without one, all that matters is whether one is asked for.

    `devices`: GPUs by their number in the driver's order, the first one by default; named ones must be there. On each
    of them `engines` copies of the network, each with `contexts` runs at once; `memory_mb` (of 2**20 bytes) is what
    this process may take of each. `decode: gpu` deals the streams to the GPUs and leaves decoded pictures there, for
    models of the head `yolo_nas`: kernels prepare them and leave the best of what is found; `cpu` decodes and prepares
    on the host.
    """

    devices: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0, le=63)], ...], msgspec.Meta(min_length=1)] | None = None
    engines: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1
    contexts: Annotated[int, msgspec.Meta(ge=1, le=8)] = 2
    memory_mb: Annotated[int, msgspec.Meta(ge=256, le=999_999)] | None = None
    decode: Literal["cpu", "gpu"] = "cpu"

    @property
    def wanted(self) -> bool:
        """Whether the configuration asks for a GPU, so that to run on the CPU would be something else."""
        return self.devices is not None or self.decode == "gpu"


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
    gpu: GpuOptions = GpuOptions()
