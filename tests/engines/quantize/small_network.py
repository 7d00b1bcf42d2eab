"""A network of a dozen convolutions with everything in it that a placement has to know: made on the spot, seeded.

In form a YOLO-NAS: `boxes` and `scores`. Nodes are named after what they are, tensors after the node that makes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 64
SPEC = "name: small\nhead: yolo_nas\nclasses: [person, car]\ninput: {size: [64, 64]}\n"

ALPHA, NEGATIVE_ALPHA = 0.75, -0.5


class _Maker:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def add(self, kind: str, name: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        output = output or name
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def conv(
        self, name: str, x: str, channels: tuple[int, int], side: int, stride: int = 1, gain: float = 1.4, **how: Any
    ) -> str:
        taken, given = channels
        groups = how.get("group", 1)
        fan = taken * side * side / groups
        weights = self.rng.normal(0, gain / np.sqrt(fan), (given, taken // groups, side, side)).astype(np.float32)
        bias = self.rng.normal(0, 0.1, given).astype(np.float32)
        inputs = [x, self.constant(f"{name}.weight", weights), self.constant(f"{name}.bias", bias)]
        return self.add(
            "Conv", name, inputs, kernel_shape=[side] * 2, strides=[stride] * 2, pads=[side // 2] * 4, **how
        )

    def block(self, name: str, x: str, channels: tuple[int, int], side: int, stride: int = 1) -> str:
        """A convolution and its ReLU; returns the tensor after it, called NAME."""
        return self.add("Relu", f"{name}.relu", [self.conv(f"{name}.conv", x, channels, side, stride)], output=name)


def small_model() -> onnx.ModelProto:
    """stem -> residual -> residual with a negative alpha -> concat; pool and concat; up and concat; heads."""
    make = _Maker()
    stem = make.block("stem", "images", (3, 8), 3, 2)
    # Two residuals; the second's sum can be negative.
    first = make.block("first.cv2", make.block("first.cv1", stem, (8, 8), 3), (8, 8), 3)
    shortcut = make.add("Mul", "first.mul", [make.constant("first.alpha", np.array([ALPHA], np.float32)), stem])
    one = make.add("Add", "first.add", [shortcut, first])
    second = make.block("second.cv1", one, (8, 8), 3)
    shortcut = make.add("Mul", "second.mul", [one, make.constant("second.alpha", np.float32([NEGATIVE_ALPHA]))])
    two = make.add("Add", "second.add", [shortcut, second])
    reduced = make.block("reduce", two, (8, 8), 1)
    # Everything in this concat is positive: zero point 0, and a pair behind it.
    side = make.block("side", one, (8, 8), 1)
    joined = make.add("Concat", "join", [one, side], axis=1)
    squeezed = make.block("squeeze", joined, (16, 8), 1)
    pooled = make.add("MaxPool", "pool", [squeezed], kernel_shape=[5, 5], strides=[1, 1], pads=[2, 2, 2, 2])
    spp = make.block("spp", make.add("Concat", "spp.join", [squeezed, pooled], axis=1), (16, 8), 1)
    # Down and up again; what comes up can be negative.
    down = make.block("down", spp, (8, 16), 3, 2)
    weights = make.constant("up.weight", make.rng.normal(0, 0.3, (16, 8, 2, 2)).astype(np.float32))
    bias = make.constant("up.bias", make.rng.normal(0, 0.1, 8).astype(np.float32))
    up = make.add("ConvTranspose", "up", [down, weights, bias], kernel_shape=[2, 2], strides=[2, 2])
    last = make.block("after_up", make.add("Concat", "up.join", [up, reduced], axis=1), (16, 8), 1)
    for name, channels, gain in (("cls_pred", 2, 2.0), ("reg_pred", 4, 2.0)):
        logits = make.conv(name, last, (8, channels), 1, gain=gain)
        shape = make.constant(f"{name}.shape", np.array([0, channels, -1]))
        make.add("Reshape", f"{name}.rows", [logits, shape])
        make.add("Transpose", f"{name}.turned", [f"{name}.rows"], perm=[0, 2, 1])
    make.add("Sigmoid", "sigmoid", ["cls_pred.turned"], output="scores")
    make.add("Mul", "to_pixels", ["reg_pred.turned", make.constant("stride", np.float32(8))], output="boxes")
    graph = helper.make_graph(
        make.nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", 1024, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 1024, 2]),
        ],
        make.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_small(folder: Path, model: onnx.ModelProto | None = None, name: str = "small") -> Path:
    """The network (or a changed one) with its spec beside it."""
    path = folder / f"{name}.onnx"
    path.write_bytes((model or small_model()).SerializeToString())
    path.with_suffix(".yaml").write_text(SPEC)
    return path


def write_pictures(folder: Path, count: int = 32, size_wh: tuple[int, int] = (80, 60), seed: int = 1) -> list[Path]:
    """So many JPEGs of coloured clouds."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        clouds = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        path = folder / f"{number:03}.jpg"
        cv2.imwrite(str(path), cv2.resize(clouds, size_wh, interpolation=cv2.INTER_CUBIC))
        paths.append(path)
    return paths
