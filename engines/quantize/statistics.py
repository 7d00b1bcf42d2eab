"""Shows a float network pictures and notes how the values of its tensors are spread.

One pass, one picture at a time, in onnxruntime: on a CPU a batch gains nothing, and so the memory that it takes is that
of one picture's activations, however many pictures there are. Pictures come through `read_still` and `PictureWriter`,
as in running. Nothing that is noted depends on how ranges are made of it later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from engines.picture import PictureWriter
from engines.quantize.graph import Graph
from engines.quantize.histogram import Histogram
from engines.quantize.windows import Moments
from engines.runtimes.cpus import usable_cpus
from engines.runtimes.onnxruntime_errors import refusals, said
from engines.spec import InputSpec
from engines.stills import read_still
from vedette.errors import ModelError

Progress = Callable[[int, int], None]
"""Called for each picture: how many of how many are done."""

_TYPES: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32),
    onnx.TensorProto.FLOAT16: np.dtype(np.float16),
    onnx.TensorProto.UINT8: np.dtype(np.uint8),
}


MOMENTS_IMAGES = 128
"""So many of the pictures, evenly spread, are sampled for moments: 16,000 windows (a guess; 40,000 changed nothing)."""


def collect(
    graph: Graph,
    tensors: Iterable[str],
    images: Sequence[Path],
    spec: InputSpec,
    *,
    moments: Moments | None = None,
    progress: Progress = lambda _done, _all: None,
) -> dict[str, Histogram]:
    """The histogram of each of `tensors` over all images; `moments` are added to on the way.

    Raises StillError for an image that cannot be read, ModelError for a tensor that is not finite (with its name and
    the image) and for a network that does not run.
    """
    (source,) = graph.inputs
    asked = set(tensors)
    # In the order in which they are made: of values that are not finite, those that come first are at fault.
    noted = [name for name in (source, *(out for node in graph.nodes for out in node.output)) if name in asked]
    sampled = () if moments is None else moments.tensors
    wanted = [name for name in dict.fromkeys([*noted, *sampled]) if name != source]
    session = _session(graph, wanted)
    every = max(1.0, len(images) / MOMENTS_IMAGES)
    chosen = {int(index * every) for index in range(min(len(images), MOMENTS_IMAGES))}
    width, height = spec.size
    dtype = _TYPES[graph.model.graph.input[0].type.tensor_type.elem_type]
    array = np.zeros((1, 3, height, width), dtype)
    writer = PictureWriter(spec)
    found: dict[str, Histogram] = {}
    for done, image in enumerate(images, 1):
        writer.write(read_still(image), array, 0)
        try:
            values = session.run(wanted, {source: array})
        except refusals() as error:
            msg = f"the float network cannot be run on {image}: {said(error)}"
            raise ModelError(msg) from error
        by_name = dict(zip([source, *wanted], [array, *values], strict=True))
        for name in noted:
            seen = _histogram(name, by_name[name], image)
            found[name] = seen if name not in found else found[name].plus(seen)
        if moments is not None and done - 1 in chosen:
            moments.add(by_name)
        progress(done, len(images))
    return found


def _histogram(name: str, values: npt.NDArray[Any], image: Path) -> Histogram:
    try:
        return Histogram.of(values)
    except ValueError as error:
        msg = f"tensor {name!r}: expected finite numbers, got {error} for {image}"
        hint = "the float network itself breaks on this picture; look at its weights and its spec's scale, mean and std"
        raise ModelError(msg, hint=hint) from error


def _session(graph: Graph, tensors: Sequence[str]) -> onnxruntime.InferenceSession:
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in graph.outputs)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = usable_cpus()
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    except refusals() as error:
        msg = f"onnxruntime does not take the float network: {said(error)}"
        raise ModelError(msg) from error
