"""The convolutions of a YOLO-NAS as ONNX nodes: a folded network, traced, and written down node by node.

Written here rather than by torch's exporters, because what quantizes and runs the file wants it plain. The one of
torch 2.13 (`dynamo=True`) needs onnxscript, which is not in our set; the older one (TorchScript) is deprecated, makes
shapes constants, and so fixes the batch. Here a node has the name of the module that it was, a weight that of its
parameter, so that a layer is found, or excluded from quantization by a pattern, under the name that it has in torch;
and there are Conv, ConvTranspose, Relu, MaxPool, Add, Mul and Concat, nothing else. The topology comes from torch.fx,
which runs the network's own `forward`, so that it is written once.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, fx, nn

from engines.yolo_nas.blocks import Form
from engines.yolo_nas.heads import HeadMaps
from engines.yolo_nas.network import YoloNas


@dataclass(slots=True)
class GraphWriter:
    """Nodes and weights in the making. Every node has one output, which has the name of the node."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append a node; returns the name of its output."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value: npt.NDArray[Any], name: str) -> str:
        """Append a weight, once; returns its name."""
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(value, name)
        return name


class _Tracer(fx.Tracer):
    # What is traced of the network instead of `forward`: all but the decoding, which `onnx_tail` writes.
    traced_func_name = "maps"


def write_body(network: YoloNas, images: str, writer: GraphWriter) -> list[tuple[str, str]]:
    """Write the network up to its predictions; returns the names of (cls_pred, reg_pred) for each stride.

    `network` must be in its folded form: nothing else has only what is written here.
    """
    if network.form is not Form.FOLDED:
        msg = f"expected a network in form {Form.FOLDED.value!r}, got {network.form.value!r}"
        raise ValueError(msg)
    graph = _Tracer().trace(network)
    modules = dict(network.named_modules())
    names: dict[fx.Node, str] = {}

    def name_of(argument: object) -> str:
        if not isinstance(argument, fx.Node):
            msg = f"expected a tensor of the network, got {argument!r}"
            raise TypeError(msg)
        return names[argument]

    predictions: list[tuple[str, str]] = []
    for node in graph.nodes:
        match node.op, node.target:
            case "placeholder", _:
                names[node] = images
            case "get_attr", str(target):
                names[node] = writer.constant(_array(network.get_parameter(target)), target)
            case "call_module", str(path):
                names[node] = _write_module(modules[path], path, name_of(node.args[0]), writer)
            case "call_function", operator.add:
                names[node] = writer.node("Add", [name_of(arg) for arg in node.args], f"{_place(node)}.add")
            case "call_function", operator.mul:
                names[node] = writer.node("Mul", [name_of(arg) for arg in node.args], f"{_place(node)}.mul")
            case "call_function", torch.cat:
                maps = [name_of(arg) for arg in node.args[0]]
                names[node] = writer.node("Concat", maps, f"{_place(node)}.concat", axis=1)
            case "call_function", target if target is HeadMaps:
                predictions.append((name_of(node.args[0]), name_of(node.args[1])))
            case "output", _:
                pass
            case _:
                msg = f"expected nothing but convolutions and what joins them, got {node.format_node()}"
                raise TypeError(msg)
    return predictions


def _place(node: fx.Node) -> str:
    """The path of the module in whose `forward` the operation stands."""
    return str(next(reversed(node.meta["nn_module_stack"])))


def _write_module(module: nn.Module, path: str, given: str, writer: GraphWriter) -> str:
    match module:
        case nn.Conv2d() | nn.ConvTranspose2d():
            inputs = [given, writer.constant(_array(module.weight), f"{path}.weight")]
            if module.bias is not None:
                inputs.append(writer.constant(_array(module.bias), f"{path}.bias"))
            kind = "ConvTranspose" if isinstance(module, nn.ConvTranspose2d) else "Conv"
            return writer.node(
                kind,
                inputs,
                path,
                kernel_shape=list(module.kernel_size),
                strides=list(module.stride),
                pads=[int(side) for side in module.padding] * 2,
                dilations=[1, 1],
                group=1,
            )
        case nn.ReLU():
            return writer.node("Relu", [given], path)
        case nn.MaxPool2d():
            return writer.node(
                "MaxPool",
                [given],
                path,
                kernel_shape=[_int(module.kernel_size)] * 2,
                strides=[_int(module.stride)] * 2,
                pads=[_int(module.padding)] * 4,
            )
    msg = f"{path}: expected a convolution, a ReLU or a MaxPool, got {type(module).__name__}"
    raise TypeError(msg)


def _int(side: object) -> int:
    if not isinstance(side, int):
        msg = f"expected the same on both sides, got {side}"
        raise TypeError(msg)
    return side


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.detach().float().cpu().contiguous().numpy()
