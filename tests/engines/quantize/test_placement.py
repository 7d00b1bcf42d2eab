"""Where the Q/DQ nodes stand: each position, on a network that has one of everything."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.quantize.graph import Graph, graph_of, load_graph
from engines.quantize.placement import Scaled, place
from engines.quantize.signs import never_negative
from tests.engines.quantize.small_network import ALPHA, small_model, write_small
from vedette.errors import ModelError


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return load_graph(write_small(tmp_path_factory.mktemp("model")))


def test_pairs_stand_where_they_should_and_nowhere_else(graph: Graph) -> None:
    assert {group.tensors for group in place(graph).groups} == {
        ("images",),
        ("stem",),  # once, for the convolution and, with alpha in its scale, for the sum
        ("first.cv1",),
        ("first.cv2",),  # the other input of the sum
        ("first.add", "side", "join"),  # one scale into the concat, and a pair behind it
        ("second.mul",),  # a negative alpha stays a multiplication
        ("second.cv1",),
        ("second.add",),
        ("squeeze", "pool", "spp.join"),  # through the pool and the concat
        ("spp",),
        ("down",),
        ("reduce", "up"),  # no pair behind the concat: its zero point is not 0
        ("after_up",),  # for both predictions; none after these
    }


def test_a_positive_alpha_becomes_a_scale(graph: Graph) -> None:
    assert place(graph).scaled == {"first.mul": Scaled(tensor="stem", factor=ALPHA)}


def test_what_can_be_negative_is_known(graph: Graph) -> None:
    can_be = {group.tensors for group in place(graph).groups if not group.never_negative}
    assert can_be == {("images",), ("second.mul",), ("second.add",), ("reduce", "up")}


def test_groups_are_measured_where_their_values_come_from(graph: Graph) -> None:
    sources = {group.sources for group in place(graph).groups if group.sources != group.tensors}
    assert sources == {("first.add", "side"), ("squeeze",)}


def test_predictions_are_int8_convolutions_that_give_floats(graph: Graph) -> None:
    placement = place(graph)
    assert set(placement.predictions) == {"cls_pred", "reg_pred"}
    assert len(placement.convolutions) == 13
    assert not placement.left_float


def test_excluded_nodes_stay_float(graph: Graph) -> None:
    placement = place(graph, exclude=["*_pred", "spp.join"])
    assert placement.left_float == {
        "cls_pred": "excluded by '*_pred'",
        "reg_pred": "excluded by '*_pred'",
    }
    tensors = {group.tensors for group in placement.groups}
    assert ("spp.join",) in tensors  # what its reader needs, rounded behind it
    assert not any("after_up" in group for group in tensors)


def test_the_up_branch_can_be_left_float(graph: Graph) -> None:
    placement = place(graph, up_branch_float=True)
    assert set(placement.left_float) == {"up", "after_up.conv"}
    assert not {"up", "down", "reduce"} & set(placement.tensors)


def test_a_pattern_that_fits_nothing_is_an_error_that_names_a_near_one(graph: Graph) -> None:
    with pytest.raises(ModelError, match=r"exclude: no node has a name like 'cls_prod'") as raised:
        place(graph, exclude=["cls_prod"])
    assert raised.value.hint == "a node is named 'cls_pred'"


def test_nothing_left_to_quantize_is_an_error(graph: Graph) -> None:
    with pytest.raises(ModelError, match="expected a convolution to quantize, got none: all 13 are left float"):
        place(graph, exclude=["*"])


def test_a_batch_normalisation_and_casts_are_folded(tmp_path: Path) -> None:
    model = small_model()
    nodes = list(model.graph.node)
    index = next(place for place, node in enumerate(nodes) if node.name == "stem.conv")
    for name in ("scale", "bias", "mean", "var"):
        values = numpy_helper.to_array(next(one for one in model.graph.initializer if one.name == "stem.conv.bias"))
        half = numpy_helper.from_array((abs(values) + 0.5).astype("float16"), f"{name}.half")
        model.graph.initializer.append(half)
        nodes.insert(0, helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT))
    bn = helper.make_node("BatchNormalization", ["stem.conv", "scale", "bias", "mean", "var"], ["normed"])
    nodes.insert(index + 5, bn)
    next(node for node in nodes if node.name == "stem.relu").input[0] = "normed"
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    folded = load_graph(write_small(tmp_path, model))
    assert not {"BatchNormalization", "Cast"} & {node.op_type for node in folded.nodes}
    assert len(place(folded).tensors) == len(place(graph_of(small_model())).tensors)


def test_nodes_without_a_name_get_one_each(tmp_path: Path) -> None:
    model = small_model()
    for node in model.graph.node:
        node.name = ""
    names = [node.name for node in load_graph(write_small(tmp_path, model)).nodes]
    assert all(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("kind", "inputs", "expected"),
    [
        ("Relu", ["x"], True),
        ("Sigmoid", ["x"], True),
        ("Add", ["p", "p"], True),
        ("Add", ["p", "x"], False),
        ("Mul", ["p", "two"], True),
        ("Mul", ["p", "minus"], False),
        ("Sub", ["p", "p"], False),
        ("Concat", ["p", "p"], True),
        ("Concat", ["p", "x"], False),
        ("Clip", ["x", "two"], True),
        ("Clip", ["x", "minus"], False),
        ("LeakyRelu", ["x"], False),
    ],
)
def test_signs_follow_from_operators(kind: str, inputs: list[str], expected: bool) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["p"], name="p"), helper.make_node(kind, inputs, ["y"], name="y")]
    values = [
        numpy_helper.from_array(onnx.numpy_helper.np.float32(number), name)
        for name, number in (("two", 2.0), ("minus", -2.0))
    ]
    some = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    model = helper.make_model(helper.make_graph(nodes, "signs", some[:1], some[1:], values))
    assert ("y" in never_negative(graph_of(model))) is expected
