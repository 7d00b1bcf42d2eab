"""A network twice as wide: the same outputs in every form, and twins that do not stay twins."""

from __future__ import annotations

import pytest
import torch

from engines.yolo_nas import Form, VariantName, fuse
from engines.yolo_nas.random_weights import random_network
from engines.yolo_nas.widen import can_widen, widened


def _images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("form", [Form.TRAINING, Form.PARTIAL, Form.FOLDED])
def test_a_wider_network_computes_the_same(form: Form) -> None:
    narrow = fuse(random_network("n", 3), form)
    wide = widened(narrow, "s", torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        for one, other in zip(wide(_images()), narrow(_images()), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_it_computes_the_same_on_statistics_of_the_batch() -> None:
    narrow = random_network("n", 3).train()
    wide = widened(narrow, "s", torch.Generator().manual_seed(1)).train()
    with torch.no_grad():
        one, other = wide.raw(_images()), narrow.raw(_images())
    torch.testing.assert_close(one.cls_logits, other.cls_logits, rtol=1e-2, atol=1e-2)


def test_twins_learn_different_things() -> None:
    wide = widened(random_network("n", 3), "s", torch.Generator().manual_seed(1)).train()
    wide.raw(_images()).cls_logits.square().mean().backward()  # type: ignore[no-untyped-call] # torch's own, without types
    for name in ("backbone.stage2.blocks.conv1.conv.weight", "neck.neck2.conv.conv.weight"):
        gradient = wide.get_parameter(name).grad
        assert gradient is not None
        first, second = gradient[0::2], gradient[1::2]
        assert (first - second).abs().max() > 0.01 * first.abs().max()


@pytest.mark.parametrize(("narrow", "wide"), [("n", "n"), ("n", "m"), ("s", "n"), ("s", "m"), ("m", "l")])
def test_only_a_network_twice_as_wide_will_do(narrow: VariantName, wide: VariantName) -> None:
    assert can_widen("n", "s")
    assert not can_widen(narrow, wide)
    if narrow == "n":
        with pytest.raises(ValueError, match="twice as wide as 'n'"):
            widened(random_network("n", 1), wide, torch.Generator())
