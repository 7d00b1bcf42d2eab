"""YOLO-NAS as an ONNX file: what every runtime, and the quantizer, starts from.

Input `images` (batch, 3, height, width) float32; outputs `boxes` (batch, anchors, 4) x1, y1, x2, y2 in input pixels and
`scores` (batch, anchors, classes), as `engines.heads.yolo_nas` reads them. The batch is free; the size is fixed unless
asked otherwise. `onnx_body` writes the convolutions, `onnx_decode` what makes boxes of them; the spec is in the
metadata, so that one file is the whole model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from engines.onnx_file import save_onnx
from engines.spec import ModelSpec
from engines.types import F32, SizeWH
from engines.yolo_nas.blocks import Form
from engines.yolo_nas.fuse import fuse
from engines.yolo_nas.network import YoloNas
from engines.yolo_nas.onnx_body import GraphWriter, write_body
from engines.yolo_nas.onnx_decode import write_decode
from engines.yolo_nas.variants import STRIDES
from vedette import __version__
from vedette.errors import ModelError

OPSET = 17
_IR = 8
"""The file format that came with opset 17: runtimes that know the one know the other."""


def export_onnx(network: YoloNas, spec: ModelSpec, out: Path, *, dynamic_size: bool = False) -> Path:
    """Write `network`, in any form, to `out` (.onnx), with `spec` in the metadata; returns `out`.

    `dynamic_size`: any height and width that are multiples of 32; then spec.input.size is what runtimes take.
    Raises ModelError for a spec of another network, for a size that is no multiple of 32, and where it cannot write.
    """
    _check(network, spec)
    return save_onnx(as_onnx(network, spec, dynamic_size=dynamic_size), out, spec)


def as_onnx(network: YoloNas, spec: ModelSpec, *, dynamic_size: bool = False) -> onnx.ModelProto:
    """The network as ONNX, in memory and without its spec. See `export_onnx`."""
    writer = GraphWriter()
    predictions = write_body(fuse(network, Form.FOLDED), "images", writer)
    size_wh = None if dynamic_size else spec.input.size
    write_decode(predictions, network.classes, size_wh, writer)
    width, height = spec.input.size
    sides: list[int | str] = ["height", "width"] if dynamic_size else [height, width]
    anchors: int | str = "anchors" if dynamic_size else anchor_count(spec.input.size)
    graph = helper.make_graph(
        writer.nodes,
        f"yolo_nas_{network.variant.name}",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, *sides])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", anchors, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", anchors, network.classes]),
        ],
        list(writer.weights.values()),
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR,
        producer_name="vedette",
        producer_version=__version__,
    )
    onnx.checker.check_model(model, full_check=True)
    # Shapes of everything between, which quantizers and people like to know; strictly, so that none is wrong.
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def anchor_count(size_wh: SizeWH) -> int:
    width, height = size_wh
    return sum((width // stride) * (height // stride) for stride in STRIDES)


def _check(network: YoloNas, spec: ModelSpec) -> None:
    problems = []
    if spec.head != "yolo_nas":
        problems.append(f"spec {spec.name!r}: head: expected yolo_nas, got {spec.head}")
    if len(spec.classes) != network.classes:
        got = f"expected {network.classes} names, as the network has, got {len(spec.classes)}"
        problems.append(f"spec {spec.name!r}: classes: {got}")
    if any(side % STRIDES[-1] for side in spec.input.size):
        width, height = spec.input.size
        problems.append(f"spec {spec.name!r}: input.size: expected multiples of 32, got {width}x{height}")
    if problems:
        raise ModelError(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The largest differences of two runs of a network: boxes in input pixels, scores."""

    boxes_px: float
    scores: float


def difference(network: YoloNas, model: Path, size_wh: SizeWH) -> Difference:
    """How far onnxruntime, on the file, is from torch, on the network, for one picture of coloured squares."""
    import onnxruntime

    width, height = size_wh
    squares: F32 = np.random.default_rng(0).random((1, 3, height // 16, width // 16), np.float32)
    images = squares.repeat(16, axis=2).repeat(16, axis=3)
    settings = onnxruntime.SessionOptions()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
    got = session.run(["boxes", "scores"], {"images": images})
    with torch.no_grad():
        wanted = network.eval()(torch.from_numpy(images))
    boxes_px, scores = (float(np.abs(a - b.numpy()).max()) for a, b in zip(got, wanted, strict=True))
    return Difference(boxes_px=boxes_px, scores=scores)
