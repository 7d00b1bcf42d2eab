"""Parameters and operations of convolutions, held against what can be counted by hand and what is published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.bench.cost import network_cost
from engines.weights import find_model


def test_of_the_model_that_ships() -> None:
    """YOLO-NAS N: 8.0135168 GFLOPs at 640x640 (../shared/parity)."""
    cost = network_cost(find_model("vedette-n-seed"), (416, 256))

    assert cost.flops / 1e9 == pytest.approx(8.0135168 * 416 * 256 / 640 / 640)


@pytest.mark.parametrize("batch", [1, "n"])
def test_of_convolutions_counted_by_hand(tmp_path: Path, batch: int | str) -> None:
    rng = np.random.default_rng(0)
    weights = {
        "grouped": rng.normal(size=(8, 1, 3, 3)).astype(np.float32),  # 8 places, stride 2, of 4 groups
        "bias": np.zeros(8, np.float32),
        "up": rng.normal(size=(8, 4, 2, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Concat", ["images", "images"], ["six"], axis=1),
        helper.make_node("Slice", ["six", "zero", "four", "axis"], ["x"]),
        helper.make_node("Conv", ["x", "grouped", "bias"], ["y"], group=4, strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["y", "up"], ["z"], strides=[2, 2]),
    ]
    constants = weights | {"zero": np.array([0]), "four": np.array([4]), "axis": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, 32, 64])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    path = tmp_path / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)

    cost = network_cost(path, (64, 32))

    assert cost.parameters == 8 * 9 + 8 + 8 * 4 * 4
    assert cost.flops == 2 * (8 * 16 * 32 * 9 + 8 * 16 * 32 * 4 * 4)
