"""YOLO-NAS without references: sizes, shapes, forms, and what training needs of it."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from engines.yolo_nas import VARIANTS, Form, VariantName, YoloNas, build, fuse
from engines.yolo_nas.figures import gflops, parameters
from engines.yolo_nas.random_weights import random_network

# variant, classes, parameters in training form without the unused ones, with them, fused, GFLOPs at 640x640.
SIZES: list[tuple[VariantName, int, int, int, int, float]] = [
    ("n", 3, 3_228_817, 4_774_081, 3_049_001, 8.01),
    ("s", 80, 12_878_304, 19_053_888, 12_175_888, 31.80),
    ("m", 80, 33_861_346, 51_182_658, 31_906_578, 87.76),
    ("l", 80, 44_529_448, 66_976_392, 41_999_192, 119.83),
]


@pytest.fixture(scope="module")
def network() -> YoloNas:
    return random_network("n", 2)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("variant", "classes", "used", "registered", "fused", "operations"), SIZES)
def test_the_sizes_are_those_of_the_published_networks(
    variant: VariantName, classes: int, used: int, registered: int, fused: int, operations: float
) -> None:
    with torch.device("meta"):
        network = build(variant, classes)
        full = YoloNas(VARIANTS[variant], classes, Form.FULL)
    assert parameters(network) == used
    assert sum(parameter.numel() for parameter in network.parameters()) == registered
    assert parameters(full) == fused
    assert gflops(VARIANTS[variant], classes, (640, 640)) == pytest.approx(operations, abs=5e-3)


def test_the_count_of_operations_goes_with_the_number_of_pixels() -> None:
    whole = gflops(VARIANTS["n"], 3, (640, 640))
    assert gflops(VARIANTS["n"], 3, (640, 384)) == pytest.approx(whole * 384 / 640)


@pytest.mark.parametrize("form", [Form.PARTIAL, Form.FULL, Form.FOLDED])
def test_every_fused_form_computes_what_the_training_form_does(
    network: YoloNas, images: torch.Tensor, form: Form
) -> None:
    fused = fuse(network, form)
    with torch.no_grad():
        boxes, scores = network(images)
        fused_boxes, fused_scores = fused(images)
    assert boxes.shape == (2, 126, 4)
    assert scores.shape == (2, 126, 2)
    np.testing.assert_allclose(fused_boxes.numpy(), boxes.numpy(), rtol=0, atol=5e-3)
    np.testing.assert_allclose(fused_scores.numpy(), scores.numpy(), rtol=0, atol=1e-5)
    assert float(scores.std()) > 1e-3, "the picture should make a difference"


def test_fusing_goes_step_by_step_too_and_leaves_the_old_network_alone(network: YoloNas, images: torch.Tensor) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    steps = fuse(fuse(fuse(network, Form.PARTIAL), Form.FULL), Form.FOLDED)
    with torch.no_grad():
        for value in steps.parameters():
            value.add_(1.0)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    with pytest.raises(ValueError, match="expected a network that can be brought into form 'full', got one in form 'f"):
        fuse(steps, Form.FULL)


def test_a_fused_network_keeps_its_type() -> None:
    assert {value.dtype for value in fuse(build("n", 1).half()).parameters()} == {torch.float16}


def test_stages_end_in_what_the_raw_outputs_are_made_of(network: YoloNas, images: torch.Tensor) -> None:
    with torch.no_grad():
        stages = network.stages(images)
        raw = network.raw(images)
    assert list(stages)[:2] == ["backbone.stem", "backbone.stage1"]
    assert stages["backbone.stem"].shape == (2, 24, 32, 48)
    first = stages["heads.head1.cls_pred"].flatten(2).transpose(1, 2)
    assert torch.equal(first, raw.cls_logits[:, : first.shape[1]])
    assert {key: tuple(value.shape) for key, value in asdict_of(raw).items()} == {
        "cls_logits": (2, 126, 2),
        "reg_distri": (2, 126, 68),
        "anchor_points": (126, 2),
        "stride_tensor": (126, 1),
    }


def asdict_of(raw: object) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = asdict(raw)  # type: ignore[call-overload]  # a dataclass
    return found


def test_a_box_lies_where_its_distribution_says() -> None:
    raw = build("n", 1).eval().raw(torch.zeros(1, 3, 32, 32))
    certain = torch.full((1, 21, 4, 17), -100.0)
    for side, bin_ in enumerate((1, 2, 3, 16)):
        certain[..., side, bin_] = 100.0
    raw = type(raw)(
        cls_logits=raw.cls_logits,
        reg_distri=certain.flatten(2),
        anchor_points=raw.anchor_points,
        stride_tensor=raw.stride_tensor,
    )
    boxes = raw.boxes()[0]
    assert boxes[5].tolist() == [12 - 8, 12 - 16, 12 + 24, 12 + 128]  # the second cell of the second row, stride 8
    assert boxes[20].tolist() == [16 - 32, 16 - 64, 16 + 96, 16 + 512]  # the only cell of stride 32


@pytest.mark.parametrize("shape", [(1, 3, 33, 64), (1, 3, 64, 48), (1, 1, 64, 64), (3, 64, 64)])
def test_a_picture_of_another_shape_is_refused(network: YoloNas, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        network(torch.zeros(shape))


def test_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match="classes: expected at least 1, got 0"):
        build("n", 0)


def test_a_new_network_is_ready_for_training() -> None:
    network = build("n", 4)
    for head in (network.heads.head1, network.heads.head2, network.heads.head3):
        assert head.cls_pred.bias is not None
        np.testing.assert_allclose(head.cls_pred.bias.detach().numpy(), -math.log(99), rtol=1e-6)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}
    frozen = {key for key, value in network.named_parameters() if not value.requires_grad}
    assert frozen == {key for key, _ in network.named_parameters() if ".rbr_reparam." in key}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_every_weight_that_learns_gets_a_gradient(dtype: torch.dtype, layout: torch.memory_format) -> None:
    """In channels_last torch 2.13 corrupts the heap in the backward pass of the stem's 1x1 branch with stride 2."""
    network = build("n", 2).to(memory_format=layout).train()  # type: ignore[call-overload]  # torch's stubs
    images = torch.rand(2, 3, 64, 64).to(memory_format=layout)
    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        raw = network.raw(images)
    assert raw.cls_logits.dtype == raw.reg_distri.dtype == torch.float32
    (raw.cls_logits.sum() + raw.boxes().square().mean()).backward()
    for key, value in network.named_parameters():
        assert (value.grad is not None) == value.requires_grad, key
        assert value.grad is None or bool(value.grad.isfinite().all()), key


def test_under_autocast_boxes_are_computed_in_float32(network: YoloNas, images: torch.Tensor) -> None:
    raw = network.raw(images)
    with torch.autocast("cpu", torch.bfloat16):
        boxes = raw.boxes()
    assert torch.equal(boxes, raw.boxes())


def test_random_weights_are_the_same_each_time_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(11)
    wanted = torch.rand(1)
    torch.manual_seed(11)
    first, second = random_network("n", 3), random_network("n", 3)
    assert torch.equal(torch.rand(1), wanted)
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())
    key = "backbone.stem.conv.branch_1x1.weight"
    assert not torch.equal(first.state_dict()[key], random_network("n", 3, seed=1).state_dict()[key])


def test_random_weights_keep_the_numbers_of_every_stage_of_the_order_of_one(images: torch.Tensor) -> None:
    """Numbers that vanish from layer to layer become denormal, and slow: then they would not do for measuring speed."""
    with torch.no_grad():
        stages = random_network("s", 80).stages(images)
    for name, value in stages.items():
        assert 0.1 < float(value.std()) < 10, name
