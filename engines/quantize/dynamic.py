"""onnxruntime's dynamic quantization, for comparison: int8 weights, ranges of activations found anew for each picture.

Needs no pictures. On a detector it is slower than float: every convolution first looks for the range of its input, and
onnxruntime's integer convolution is not the fast one of Q/DQ files (docs/results). Runs in onnxruntime alone.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import msgspec
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from engines.quantize.files import writable, write_whole
from engines.quantize.graph import load_graph
from engines.runtimes import read_model_file
from engines.spec import find_spec


def quantize_dynamically(model: Path, *, out_dir: Path, name: str | None = None) -> Path:
    """Write NAME-int8-dynamic.onnx into `out_dir`. Raises as `quantize` does."""
    spec = find_spec(read_model_file(model)).spec
    graph = load_graph(model)
    writable(out_dir)
    path = out_dir / f"{name or model.stem}-int8-dynamic.onnx"
    with tempfile.TemporaryDirectory(prefix="vedette-") as folder:
        made = Path(folder) / "dynamic.onnx"
        level = logging.root.level
        logging.root.setLevel(logging.ERROR)  # it advises, on the root logger, to pre-process what is folded already
        try:
            quantize_dynamic(graph.model, made, op_types_to_quantize=["Conv"], weight_type=QuantType.QUInt8)
        finally:
            logging.root.setLevel(level)
        quantized = onnx.load(made)
    int8 = msgspec.structs.replace(spec, name=f"{spec.name}-int8-dynamic", sha256="", gate=None, unverified=True)
    onnx.helper.set_model_props(quantized, {"vedette": msgspec.json.encode(int8).decode()})
    write_whole({path: quantized.SerializeToString()})
    return path
