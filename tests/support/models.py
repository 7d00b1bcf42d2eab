"""A detector that is never wrong: finds the red, the green and the blue thing in a picture. Made on the spot.

What it sees is exact arithmetic on the input, so a test can paint rectangles and knows which boxes must come out, at
any size, without weights. In form it is a YOLO-NAS (`boxes`, `scores`), letterboxed, RGB / 255.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = ("red", "green", "blue")
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}

LIT = 0.6
"""Darker parts are not seen; above the padding's 114 / 255."""

Box = tuple[int, int, int, int]


INPUTS = {
    "float32": (TensorProto.FLOAT, 1.0, ""),
    "float16": (TensorProto.FLOAT16, 1.0, ""),
    "uint8": (TensorProto.UINT8, 1 / 255, ", scale: 1"),
}
"""Type, what takes it to 0..1 in the network, and what the spec must say of it."""


def colour_model(
    path: Path, size_wh: tuple[int, int] = (160, 96), *, free_size: bool = False, dtype: str = "float32"
) -> Path:
    """Write the detector and its spec beside it. Returns `path`.

    For each class one anchor: a uniform rectangle of n lit pixels across has the variance (n * n - 1) / 12, so centre
    and variance give its exact box. Its score is near 1 if anything of that colour is in the picture, else 0; in a
    picture with several things of one colour, the box is somewhere around them. `free_size` leaves height and width
    open in the file; `dtype` is the input's.
    """
    kind, unit, said = INPUTS[dtype]
    width, height = size_wh
    sides: list[int | str] = [1, 3, "h", "w"] if free_size else [1, 3, height, width]
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["values", "unit"], ["units"]),
        helper.make_node("Sub", ["units", "threshold"], ["above"]),
        helper.make_node("Relu", ["above"], ["lit"]),
        *_extent("x", across=2),
        *_extent("y", across=3),
        helper.make_node("Concat", ["x_first", "y_first", "x_last", "y_last"], ["boxes"], axis=2),
        helper.make_node("ReduceSum", ["lit", "rows_columns"], ["light"], keepdims=0),
        helper.make_node("Add", ["light", "one"], ["light_1"]),
        helper.make_node("Div", ["light", "light_1"], ["score"]),
        helper.make_node("Unsqueeze", ["score", "last"], ["scores_1"]),
        helper.make_node("Mul", ["scores_1", "eye"], ["scores"]),
    ]
    constants: dict[str, npt.NDArray[Any]] = {
        "unit": np.float32(unit),
        "threshold": np.float32(LIT),
        "rows_columns": np.array([2, 3]),
        "across_2": np.array([2]),
        "across_3": np.array([3]),
        "last": np.array([2]),
        "axis_2": np.array(2),
        "one": np.float32(1),
        "half": np.float32(0.5),
        "twelve": np.float32(12),
        "little": np.float32(1e-6),
        "zero": np.float32(0),
        "eye": np.eye(3, dtype=np.float32)[None],
    }
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", kind, sides)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, side])
            for name, side in (("boxes", 4), ("scores", 3))
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    path.with_suffix(".yaml").write_text(
        f"name: colours\nhead: yolo_nas\nclasses: [{', '.join(CLASSES)}]\ninput: {{size: [{width}, {height}]{said}}}\n"
    )
    return path


def _extent(axis: str, *, across: int) -> list[onnx.NodeProto]:
    """Nodes that give where the lit pixels begin and end on one axis, (1, 3, 1) each, summed over the other axis."""

    def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        names = [name if name in _SHARED else f"{axis}_{name}" for name in inputs.split()]
        return helper.make_node(kind, names, [f"{axis}_{output}"], name=f"{axis}_{output}", **attributes)

    return [
        node("ReduceSum", f"lit across_{across}", "profile", keepdims=0),
        # The centres of the pixels: 0.5, 1.5, ... however many there are.
        node("Mul", "profile zero", "nothing"),
        node("Add", "nothing one", "ones"),
        node("CumSum", "ones axis_2", "counts"),
        node("Sub", "counts half", "centres"),
        node("ReduceSum", "profile last", "sum", keepdims=1),
        node("Add", "sum little", "mass"),
        node("Mul", "profile centres", "moments"),
        node("ReduceSum", "moments last", "moment", keepdims=1),
        node("Div", "moment mass", "mean"),
        node("Sub", "centres mean", "off"),
        node("Mul", "off off", "squares"),
        node("Mul", "squares profile", "spreads"),
        node("ReduceSum", "spreads last", "spread", keepdims=1),
        node("Div", "spread mass", "variance"),
        node("Mul", "variance twelve", "scaled"),
        node("Add", "scaled one", "size_2"),
        node("Sqrt", "size_2", "size"),
        node("Mul", "size half", "reach"),
        node("Sub", "mean reach", "first"),
        node("Add", "mean reach", "last"),
    ]


_SHARED = frozenset({"lit", "across_2", "across_3", "last", "axis_2", "one", "half", "twelve", "little", "zero"})


def painted(size_wh: tuple[int, int], things: Mapping[str, Box]) -> npt.NDArray[np.uint8]:
    """An RGB picture (H, W, 3): black, with a rectangle x1, y1, x2, y2 of each colour."""
    width, height = size_wh
    rgb = np.zeros((height, width, 3), np.uint8)
    for colour, (left, top, right, bottom) in things.items():
        rgb[top:bottom, left:right] = COLOURS[colour]
    return rgb
