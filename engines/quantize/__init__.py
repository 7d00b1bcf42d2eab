"""INT8 by calibration: a float ONNX file and pictures in, two files with Q/DQ nodes out.

`quantize` reads top to bottom in `job`. The parts: `graph` (the folded float network), `placement` (where the nodes
stand), `statistics` and `histogram` (what the tensors hold), `ranges` (what 8 bits cover), `weights`, `writer` (the
files), `cache`; beside them `executed` (what engines make of a file) and `dynamic` (onnxruntime's own way, to compare).
"""

from __future__ import annotations

from engines.quantize.job import Quantized, Report, quantize
from engines.quantize.options import LEAST_IMAGES, QuantizeOptions

__all__ = ["LEAST_IMAGES", "QuantizeOptions", "Quantized", "Report", "quantize"]
