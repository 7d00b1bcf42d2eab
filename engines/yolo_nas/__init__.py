"""YOLO-NAS in torch: the network, its checkpoints, its fused forms, and its export to ONNX (`export`).

Needs torch, and is therefore imported only by those who make or train models, and by the torch runtime.
"""

from __future__ import annotations

from engines.yolo_nas.blocks import Form
from engines.yolo_nas.checkpoint import Checkpoint, load_checkpoint
from engines.yolo_nas.fuse import fuse
from engines.yolo_nas.network import RawOutputs, YoloNas, build
from engines.yolo_nas.variants import VARIANTS, Variant, VariantName

__all__ = [
    "VARIANTS",
    "Checkpoint",
    "Form",
    "RawOutputs",
    "Variant",
    "VariantName",
    "YoloNas",
    "build",
    "fuse",
    "load_checkpoint",
]
