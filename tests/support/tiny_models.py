"""Models of a few nodes, made on the spot: what comes out says what went in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH, HEIGHT = 64, 32

# `scale: 1.0`: the network sees levels, whether the buffer holds bytes (OpenVINO) or floats.
SPEC = """\
name: tiny
head: end2end
classes: [person, car]
input: {size: [64, 32], scale: 1.0}
"""

ROWS = np.array([[0, 0, 10, 10, 0.5, 0], [5, 5, 20, 30, 0.25, 1]], np.float32)
"""What `mean_model` gives for a black picture."""


def mean_model(path: Path, *, batch: int | str = 1, spec: str | None = SPEC) -> Path:
    """One output (1, 2, 6): ROWS + the mean of the input; for `batch` a number or the name of a free side."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "three"], ["mean3"]),
        helper.make_node("Add", ["mean3", "rows"], ["output"]),
    ]
    constants: dict[str, npt.NDArray[Any]] = {"three": np.array([-1, 1, 1], np.int64), "rows": ROWS[None]}
    return _write(path, nodes, constants, {"output": [batch, 2, 6]}, batch, spec)


def picky_model(path: Path) -> Path:
    """One output of free shape: ROWS, as (1, n, 3 * n) where n is the mean of the input; running it with n=3 fails."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Cast", ["mean"], ["n"], to=TensorProto.INT64),
        helper.make_node("Mul", ["n", "three"], ["m"]),
        helper.make_node("Concat", ["one", "n", "m"], ["shape"], axis=0),
        helper.make_node("Reshape", ["rows", "shape"], ["output"]),
    ]
    constants: dict[str, npt.NDArray[Any]] = {
        "one": np.array([1], np.int64),
        "three": np.array([3], np.int64),
        "rows": ROWS[None],
    }
    return _write(path, nodes, constants, {"output": [1, "n", "m"]}, 1, SPEC)


def slow_model(path: Path) -> Path:
    """As `mean_model`, after enough convolutions that it still runs when its caller does the next thing."""
    rng = np.random.default_rng(0)
    kernels = {f"k{i}": (rng.normal(size=(32, 3 if i == 0 else 32, 9, 9)) / 100).astype(np.float32) for i in range(8)}
    nodes = [
        helper.make_node(
            "Conv", ["images" if i == 0 else f"x{i - 1}", f"k{i}"], [f"x{i}"], kernel_shape=[9, 9], pads=[4, 4, 4, 4]
        )
        for i in range(len(kernels))
    ]
    nodes += [
        helper.make_node("ReduceMean", ["x7"], ["noise"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["noise", "zero"], ["nothing"]),
        helper.make_node("Add", ["mean", "nothing"], ["sum"]),
        helper.make_node("Reshape", ["sum", "three"], ["mean3"]),
        helper.make_node("Add", ["mean3", "rows"], ["output"]),
    ]
    constants = kernels | {"zero": np.zeros(1, np.float32), "three": np.array([-1, 1, 1], np.int64), "rows": ROWS[None]}
    return _write(path, nodes, constants, {"output": [1, 2, 6]}, 1, SPEC)


def _write(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, npt.NDArray[Any]],
    outputs: dict[str, list[int | str]],
    batch: int | str,
    spec: str | None,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    if spec is not None:
        path.with_suffix(".yaml").write_text(spec)
    return path
