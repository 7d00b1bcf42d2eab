"""ONNX teachers that tests make: as small as they can be, with what makes real files hard."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from engines.spec import InputSpec, ModelSpec

CLASSES = ("person", "car", "bus", "cat")
WIDTH = 8


def shuffling_teacher(path: Path, *, size_wh: tuple[int, int] = (96, 64), features: bool = False) -> Path:
    """Raw YOLOX outputs behind a channel shuffle, with its batch of 1 and its maps' sizes written into the graph."""
    rng = np.random.default_rng(8)
    width, height = size_wh
    nodes, constants, maps, rows = [], [], [], []

    def constant(name: str, values: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(values, name))
        return name

    def conv(name: str, x: str, inputs: int, outputs: int, kernel: int, stride: int) -> str:
        weight = rng.normal(scale=1.5 / (kernel * inputs**0.5), size=(outputs, inputs, kernel, kernel))
        names = [x, constant(f"{name}.w", weight.astype(np.float32)), constant(f"{name}.b", np.zeros(outputs, "f4"))]
        pads = [kernel // 2] * 4
        nodes.append(helper.make_node("Conv", names, [name], name=name, strides=[stride] * 2, pads=pads))
        return name

    x = conv("stem", "picture", 3, WIDTH, 5, 4)
    for stride in (8, 16, 32):
        name = f"level{stride}"
        x = conv(f"{name}_down", x, WIDTH, WIDTH, 3, 2)
        here = [height // stride, width // stride]
        shapes = ([1, 2, WIDTH // 2, *here], [1, WIDTH, *here], [1, 5 + len(CLASSES), -1])
        split, whole, flat = (constant(f"{name}_s{index}", np.array(s, np.int64)) for index, s in enumerate(shapes))
        nodes.append(helper.make_node("Reshape", [x, split], [f"{name}_split"], name=f"{name}_r1"))
        nodes.append(helper.make_node("Transpose", [f"{name}_split"], [f"{name}_turned"], perm=[0, 2, 1, 3, 4]))
        nodes.append(helper.make_node("Reshape", [f"{name}_turned", whole], [f"{name}_map"], name=f"{name}_r2"))
        nodes.append(helper.make_node("LeakyRelu", [f"{name}_map"], [f"{name}_live"], alpha=0.1))
        x = f"{name}_live"
        maps.append(x)
        raw = conv(f"{name}_raw", x, WIDTH, 5 + len(CLASSES), 1, 1)
        nodes.append(helper.make_node("Reshape", [raw, flat], [f"{name}_flat"], name=f"{name}_r3"))
        rows.append(f"{name}_flat")
    nodes.append(helper.make_node("Concat", rows, ["rows"], axis=2))
    nodes.append(helper.make_node("Transpose", ["rows"], ["columns"], perm=[0, 2, 1]))
    nodes.append(
        helper.make_node(
            "Split", ["columns", constant("parts", np.array([4, 1 + len(CLASSES)]))], ["at", "logits"], axis=2
        )
    )
    nodes.append(helper.make_node("Sigmoid", ["logits"], ["sure"]))
    nodes.append(helper.make_node("Concat", ["at", "sure"], ["output"], axis=2))
    shown = ["output", *(maps if features else [])]
    graph = helper.make_graph(
        nodes,
        "shuffling",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_empty_tensor_value_info(name) for name in shown],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    fill = InputSpec(size=size_wh, colour="bgr", scale=1.0, mean=(100.0, 110.0, 120.0), std=(57.0, 58.0, 59.0))
    spec = ModelSpec(name="shuffling", head="yolox", classes=CLASSES, input=fill)
    helper.set_model_props(model, {"vedette": msgspec.json.encode(spec).decode()})
    path.write_bytes(model.SerializeToString())
    return path
