"""YOLO-NAS against the reference tensors of ../shared/parity: keys, stages, raw outputs, boxes, scores, every form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engines.yolo_nas import Form, VariantName, YoloNas, build, fuse
from tests.support import parity

pytestmark = pytest.mark.skipif(parity.FOLDER is None, reason="needs ../shared/parity")

BOX_PX = 5e-3
SCORE = 1e-5

CASES: list[tuple[VariantName, tuple[int, int]]] = [
    ("n", (96, 160)),
    ("s", (64, 64)),
    ("s", (96, 160)),
    ("m", (96, 160)),
    ("l", (96, 160)),
]


def _named(case: tuple[VariantName, tuple[int, int]]) -> str:
    variant, (height, width) = case
    return f"{variant}-{height}x{width}"


@pytest.fixture(params=CASES, ids=_named, scope="module")
def case(request: pytest.FixtureRequest) -> tuple[YoloNas, tuple[int, int]]:
    """A network with the weights of the references, and the size of its input (H, W)."""
    variant, shape_hw = request.param
    keys = parity.keys(variant)
    arrays = parity.weights(keys["training"])
    assert parity.weights_sha256(arrays) == parity.summary()[variant.upper()]["weights_sha256"]
    network = build(variant, keys["num_classes"])
    network.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()}, strict=True)
    return network.eval(), shape_hw


def test_state_dicts_have_the_keys_and_shapes_of_the_references_in_their_order(
    case: tuple[YoloNas, tuple[int, int]],
) -> None:
    network, _ = case
    keys = parity.keys(network.variant.name)

    def shapes(of: YoloNas) -> list[tuple[str, list[int]]]:
        return [(key, list(value.shape)) for key, value in of.state_dict().items()]

    assert shapes(network) == list(keys["training"].items())
    assert shapes(fuse(network, Form.PARTIAL)) == list(keys["fused_partial"].items())
    assert shapes(fuse(network)) == list(keys["fused_full"].items())


def test_every_stage_has_the_statistics_of_the_reference(case: tuple[YoloNas, tuple[int, int]]) -> None:
    network, (height, width) = case
    wanted = parity.summary()[network.variant.name.upper()][f"{height}x{width}"]["stats"]
    with torch.no_grad():
        stages = network.stages(torch.from_numpy(parity.image((height, width))))
    assert list(stages) == list(wanted)
    for name, value in stages.items():
        assert list(value.shape) == wanted[name]["shape"], name
        got = value.double()
        assert float(got.mean()) == pytest.approx(wanted[name]["mean"], abs=1e-5), name
        assert float(got.std()) == pytest.approx(wanted[name]["std"], rel=1e-5), name
        assert float(got.abs().max()) == pytest.approx(wanted[name]["absmax"], rel=1e-5), name


@pytest.mark.parametrize("case", [case for case in CASES if case[0] in "ns"], ids=_named, indirect=True)
def test_raw_outputs_and_anchors_are_those_of_the_reference(case: tuple[YoloNas, tuple[int, int]]) -> None:
    network, shape_hw = case
    wanted = parity.references(network.variant.name, shape_hw)
    with torch.no_grad():
        raw = network.raw(torch.from_numpy(parity.image(shape_hw)))
    np.testing.assert_allclose(raw.cls_logits.numpy(), wanted["cls_logits"], atol=1e-4)
    np.testing.assert_allclose(raw.reg_distri.numpy(), wanted["reg_distri"], atol=1e-4)
    np.testing.assert_array_equal(raw.anchor_points.numpy(), wanted["anchor_points"])
    np.testing.assert_array_equal(raw.stride_tensor.numpy(), wanted["stride_tensor"])
    np.testing.assert_array_equal(raw.anchors().numpy(), wanted["anchors"])


@pytest.mark.parametrize(
    ("form", "suffix"),
    [(Form.TRAINING, ""), (Form.PARTIAL, "_partial"), (Form.FULL, "_fused")],
    ids=lambda value: value.value if isinstance(value, Form) else "",
)
def test_boxes_and_scores_are_those_of_the_reference_in_every_form(
    case: tuple[YoloNas, tuple[int, int]], form: Form, suffix: str
) -> None:
    network, shape_hw = case
    wanted = parity.references(network.variant.name, shape_hw)
    with torch.no_grad():
        boxes, scores = fuse(network, form)(torch.from_numpy(parity.image(shape_hw)))
    np.testing.assert_allclose(boxes.numpy(), wanted[f"boxes{suffix}"], rtol=0, atol=BOX_PX)
    np.testing.assert_allclose(scores.numpy(), wanted[f"scores{suffix}"], rtol=0, atol=SCORE)


def test_a_network_without_batch_normalisations_gives_the_same(case: tuple[YoloNas, tuple[int, int]]) -> None:
    network, shape_hw = case
    wanted = parity.references(network.variant.name, shape_hw)
    folded = fuse(network, Form.FOLDED)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        boxes, scores = folded(torch.from_numpy(parity.image(shape_hw)))
    np.testing.assert_allclose(boxes.numpy(), wanted["boxes_fused"], rtol=0, atol=BOX_PX)
    np.testing.assert_allclose(scores.numpy(), wanted["scores_fused"], rtol=0, atol=SCORE)
