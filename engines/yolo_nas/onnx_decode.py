"""The end of a YOLO-NAS as ONNX nodes: from the maps of its heads to boxes in input pixels and scores.

All nodes are named `decode.…`; they stay float when the rest is quantized. The batch is free (a reshape keeps it by 0).
Of a fixed size the anchors are constants; where the size is free they are computed of the maps' shapes.

Layouts measured in OpenVINO (N, 640x384 and 640x640 with 80 classes): classes with the channels last, as the runtime
has them anyway, spare it a transposition of all scores; the softmax over the bins is four times as fast with the
anchors last, where it is vectorised, and a matrix product is the fastest way to the expectations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engines.types import SizeWH
from engines.yolo_nas.heads import anchor_grid
from engines.yolo_nas.onnx_body import GraphWriter
from engines.yolo_nas.variants import BINS, STRIDES

_SIGNS = np.array([-1.0, -1.0, 1.0, 1.0], np.float32)
"""Left and top are subtracted from the anchor, right and bottom are added."""


def write_decode(
    predictions: Sequence[tuple[str, str]], classes: int, size_wh: SizeWH | None, writer: GraphWriter
) -> None:
    """Write what makes `boxes` and `scores` of (cls_pred, reg_pred) of each stride; `size_wh` None: any size."""
    _write_scores([level[0] for level in predictions], classes, writer)
    maps = [level[1] for level in predictions]
    sides = _write_sides(maps, writer)
    if size_wh is None:
        points, factors = _anchors_of(maps, writer)
    else:
        points, factors = (writer.constant(value, name) for value, name in _anchors(size_wh))
    writer.node("Add", [points, writer.node("Mul", [sides, factors], "decode.offsets")], "boxes")


def _write_scores(maps: Sequence[str], classes: int, writer: GraphWriter) -> None:
    shape = writer.constant(np.array([0, -1, classes], np.int64), "decode.shape_of_scores")
    rows = []
    for stride, name in zip(STRIDES, maps, strict=True):
        last = writer.node("Transpose", [name], f"decode.classes_last_{stride}", perm=[0, 2, 3, 1])
        rows.append(writer.node("Reshape", [last, shape], f"decode.logits_{stride}"))
    writer.node("Sigmoid", [writer.node("Concat", rows, "decode.logits", axis=1)], "scores")


def _write_sides(maps: Sequence[str], writer: GraphWriter) -> str:
    """Distances (n, A, 4) to left, top, right and bottom, in strides."""
    split = writer.constant(np.array([0, 4, BINS, -1], np.int64), "decode.shape_of_bins")
    rows = [
        writer.node("Reshape", [name, split], f"decode.bins_{stride}")
        for stride, name in zip(STRIDES, maps, strict=True)
    ]
    shares = writer.node("Softmax", [writer.node("Concat", rows, "decode.bins", axis=3)], "decode.shares", axis=2)
    bins = writer.constant(np.arange(BINS, dtype=np.float32).reshape(1, 1, 1, BINS), "decode.distances")
    expected = writer.node("MatMul", [bins, shares], "decode.expectations")
    flat = writer.constant(np.array([0, 4, -1], np.int64), "decode.shape_of_sides")
    sides = writer.node("Reshape", [expected, flat], "decode.sides_first")
    return writer.node("Transpose", [sides], "decode.sides", perm=[0, 2, 1])


def _anchors(size_wh: SizeWH) -> list[tuple[npt.NDArray[np.float32], str]]:
    """Points (1, A, 4) x, y, x, y and factors (1, A, 4) of the distances, in input pixels."""
    width, height = size_wh
    points, strides = (tensor.numpy() for tensor in anchor_grid([(height // s, width // s) for s in STRIDES]))
    return [
        (np.concatenate([points, points], axis=1)[np.newaxis], "decode.anchor_points"),
        ((strides * _SIGNS)[np.newaxis], "decode.factors"),
    ]


def _anchors_of(maps: Sequence[str], writer: GraphWriter) -> tuple[str, str]:
    """The same, computed of the shapes of the maps."""
    points, factors = [], []
    for stride, name in zip(STRIDES, maps, strict=True):
        grid = _grid_of(name, stride, writer)
        points.append(grid)
        factor = writer.constant((stride * _SIGNS).reshape(1, 1, 4), f"decode.factor_{stride}")
        shape = writer.node("Shape", [grid], f"decode.shape_of_points_{stride}")
        factors.append(writer.node("Expand", [factor, shape], f"decode.factors_{stride}"))
    return (
        writer.node("Concat", points, "decode.anchor_points", axis=1),
        writer.node("Concat", factors, "decode.factors", axis=1),
    )


def _grid_of(name: str, stride: int, writer: GraphWriter) -> str:
    """Points (1, h*w, 4) of a map (n, C, h, w)."""
    shape = writer.node("Shape", [name], f"decode.shape_{stride}")
    sides = writer.constant(np.array([2, 3], np.int64), "decode.height_and_width")
    cells = writer.node("Gather", [shape, sides], f"decode.cells_{stride}", axis=0)
    along = []
    for axis, place in (("x", 3), ("y", 2)):
        index = writer.constant(np.array(place, np.int64), f"decode.index_of_{axis}")
        count = writer.node("Gather", [shape, index], f"decode.count_{axis}_{stride}", axis=0)
        zero = writer.constant(np.array(0, np.int64), "decode.zero")
        one = writer.constant(np.array(1, np.int64), "decode.one")
        steps = writer.node("Range", [zero, count, one], f"decode.steps_{axis}_{stride}")
        steps = writer.node("Cast", [steps], f"decode.cells_{axis}_{stride}", to=1)  # FLOAT
        half = writer.constant(np.array(0.5, np.float32), "decode.half")
        pixels = writer.constant(np.array(stride, np.float32), f"decode.stride_{stride}")
        middle = writer.node("Add", [steps, half], f"decode.middle_{axis}_{stride}")
        row = writer.node("Mul", [middle, pixels], f"decode.row_{axis}_{stride}")
        if axis == "y":
            down = writer.constant(np.array([1], np.int64), "decode.axis_of_columns")
            row = writer.node("Unsqueeze", [row, down], f"decode.column_{stride}")
        full = writer.node("Expand", [row, cells], f"decode.grid_{axis}_{stride}")
        flat = writer.constant(np.array([1, -1, 1], np.int64), "decode.shape_of_points")
        along.append(writer.node("Reshape", [full, flat], f"decode.flat_{axis}_{stride}"))
    return writer.node("Concat", [*along, *along], f"decode.points_{stride}", axis=2)
