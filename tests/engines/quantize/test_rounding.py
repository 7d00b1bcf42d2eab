"""Weights as int8: to the nearest step, and with their errors made good."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import helper, numpy_helper

from engines.quantize.graph import Graph, graph_of
from engines.quantize.rounding import compensated, output_error, round_all
from engines.quantize.weights import to_int8
from engines.quantize.windows import Moments, windows_of

WEIGHTS = hnp.arrays(np.float32, (4, 3, 2, 2), elements=st.floats(-8, 8, width=32, allow_subnormal=False))


@given(WEIGHTS, st.sampled_from([0, 1, None]))
def test_a_weight_is_off_by_half_a_step_at_most(weights: np.ndarray, axis: int | None) -> None:
    rounded = to_int8(weights, axis)
    others = None if axis is None else tuple(other for other in range(4) if other != axis)
    steps = np.expand_dims(rounded.scales, others) if others else rounded.scales
    assert (np.abs(rounded.floats() - weights) <= steps * 0.5001).all()
    assert rounded.values.min() >= -127
    assert rounded.scales.shape == (() if axis is None else (weights.shape[axis],))


def test_a_channel_of_zeros_stays_zero() -> None:
    rounded = to_int8(np.zeros((2, 3, 1, 1), np.float32), 0)
    assert rounded.scales.tolist() == [1.0, 1.0]
    assert not rounded.values.any()


def inputs(seed: int, count: int = 24) -> np.ndarray:
    """Positive, alike, and a constant 1: (samples, count + 1)."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(4000, count)) @ rng.normal(size=(count, count)) + 1.0
    return np.concatenate([np.maximum(mixed, 0), np.ones((4000, 1))], axis=1).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_outputs_are_nearer_than_with_rounding_to_the_nearest(seed: int) -> None:
    rows = inputs(seed)
    moments = rows.T @ rows / len(rows)
    weights = np.random.default_rng(seed).normal(size=(16, 24)).astype(np.float32)
    plain = to_int8(weights, 0)
    values, shift = compensated(weights, plain.scales, moments)
    better = output_error(values * plain.scales[:, None] - weights, shift, moments)
    nearest = output_error(plain.floats() - weights, np.zeros(16), moments)
    assert better.sum() < 0.75 * nearest.sum()


def test_the_mean_of_each_output_stays() -> None:
    rows = inputs(9)
    weights = np.random.default_rng(9).normal(size=(16, 24)).astype(np.float32)
    plain = to_int8(weights, 0)
    values, shift = compensated(weights, plain.scales, rows.T @ rows / len(rows))
    off = rows[:, :-1] @ (values * plain.scales[:, None] - weights).T + shift
    nearest = rows[:, :-1] @ (plain.floats() - weights).T
    assert np.abs(off.mean(axis=0)).max() < 0.05 * np.abs(nearest.mean(axis=0)).max()


def test_inputs_that_have_nothing_to_do_with_each_other_change_nothing() -> None:
    weights = np.random.default_rng(3).normal(size=(5, 12)).astype(np.float32)
    plain = to_int8(weights, 0)
    values, shift = compensated(weights, plain.scales, np.eye(13, dtype=np.float32))
    assert (values == plain.values).all()
    assert not shift.any()


def test_an_input_that_is_always_zero_does_no_harm() -> None:
    rows = inputs(4)
    rows[:, 7] = 0
    weights = np.random.default_rng(4).normal(size=(3, 24)).astype(np.float32)
    plain = to_int8(weights, 0)
    values, shift = compensated(weights, plain.scales, rows.T @ rows / len(rows))
    assert np.isfinite(shift).all()
    assert (values[:, 7] == plain.values[:, 7]).all()


def convolution(kind: str, weights: np.ndarray, **attributes: object) -> Graph:
    node = helper.make_node(kind, ["x", "w"], ["y"], name="conv", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, None, None, None])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    return graph_of(helper.make_model(graph))


@pytest.mark.parametrize(
    ("side", "stride", "pads"), [(3, 1, (1, 1, 1, 1)), (3, 2, (1, 1, 1, 1)), (1, 1, (0, 0, 0, 0)), (3, 2, (0, 1, 2, 1))]
)
def test_moments_are_of_what_the_convolution_sees(side: int, stride: int, pads: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(1, 2, side, side)).astype(np.float32)
    values = rng.normal(size=(1, 2, 9, 8)).astype(np.float32)
    graph = convolution("Conv", weights, strides=[stride] * 2, pads=list(pads))
    (node,) = graph.nodes
    windows = windows_of(graph, node)
    assert windows is not None
    moments = Moments([windows])
    moments.add({"x": values})
    top, left, bottom, right = pads
    padded = np.pad(values[0], ((0, 0), (top, bottom), (left, right)))
    sums = [cv2.filter2D(plane, -1, kernel, anchor=(0, 0)) for plane, kernel in zip(padded, weights[0], strict=True)]
    height, width = padded.shape[1] - side + 1, padded.shape[2] - side + 1
    outputs = sum(sums)[:height:stride, :width:stride]
    row = np.append(weights.reshape(-1), 0.0)
    assert row @ moments.of(windows) @ row == pytest.approx(float((outputs**2).mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "shape", "attributes"),
    [
        ("Conv", (4, 1, 3, 3), {"group": 4}),
        ("Conv", (4, 4, 3, 3), {"dilations": [2, 2]}),
        ("Conv", (4, 4, 3, 3), {"auto_pad": "SAME_UPPER"}),
        ("ConvTranspose", (4, 4, 3, 3), {"strides": [2, 2]}),
    ],
)
def test_convolutions_whose_windows_are_not_simple_are_rounded_to_the_nearest(
    kind: str, shape: tuple[int, ...], attributes: dict[str, object]
) -> None:
    weights = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    graph = convolution(kind, weights, **attributes)
    (rounded,) = round_all(graph, list(graph.nodes), Moments([]), per_channel=True).values()
    assert rounded.shift is None
    assert (rounded.weights.values == to_int8(weights, 0 if kind == "Conv" else 1).values).all()


def test_a_transposed_convolution_is_compensated_place_by_place() -> None:
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(6, 3, 2, 2)).astype(np.float32)
    values = np.maximum(rng.normal(size=(1, 6, 10, 10)) + 1, 0).astype(np.float32)
    graph = convolution("ConvTranspose", weights, strides=[2, 2])
    (node,) = graph.nodes
    windows = windows_of(graph, node)
    assert windows is not None
    moments = Moments([windows])
    moments.add({"x": values})
    (rounded,) = round_all(graph, [node], moments, per_channel=True).values()
    plain = to_int8(weights, 1)
    assert rounded.shift is not None
    assert rounded.shift.shape == (3,)
    assert (rounded.weights.scales == plain.scales).all()

    # (C, M, kh, kw): outputs of all places.
    def outputs(floats: np.ndarray) -> np.ndarray:
        return np.einsum("chw,cmij->mijhw", values[0], floats)

    exact = outputs(weights)
    better = outputs(rounded.weights.floats()) + rounded.shift[:, None, None, None, None]
    assert ((better - exact) ** 2).mean() < ((outputs(plain.floats()) - exact) ** 2).mean()
