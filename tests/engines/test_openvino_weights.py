"""Weights of seven bits: as near to the float network as eight, and the same on every CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engines.runtimes.openvino_core import core
from engines.runtimes.openvino_weights import LARGEST, in_seven_bits
from tests.support.quantized_models import quantized_model

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "engines" / "weights"
SHIPPED = WEIGHTS / "vedette-n_416x256-int8-unsigned.onnx"
FLOAT = WEIGHTS / "vedette-n-seed_416x256.onnx"
OLD_CPU = {"ONEDNN_MAX_CPU_ISA": "AVX2"}

RUN = """
import sys
import numpy as np
from engines.runtimes.openvino_core import core
from engines.runtimes.openvino_weights import in_seven_bits

model = core().read_model(sys.argv[1])
model.reshape([1, 3, 256, 416])
if sys.argv[2] == "seven":
    assert in_seven_bits(model) > 90
picture = np.random.default_rng(3).random((1, 3, 256, 416), np.float32)
settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
np.savez(sys.argv[3], *core().compile_model(model, "CPU", settings)(picture).values())
"""


def int8_weights(model: Any) -> list[npt.NDArray[np.int8]]:
    constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    return [node.data for node in constants if node.data.dtype == np.int8 and node.data.ndim > 1]


def seen(out: Path, bits: str, **environment: str) -> list[npt.NDArray[np.float32]]:
    """What the shipped network says, in a process of its own: oneDNN reads its environment once."""
    command = [sys.executable, "-c", RUN, str(SHIPPED), bits, str(out)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True, timeout=120)
    with np.load(out) as found:
        return [found[name] for name in found.files]


def test_no_weight_of_the_shipped_network_is_larger_than_what_two_products_may_have() -> None:
    model = core().read_model(str(SHIPPED))
    before = int8_weights(model)
    assert max(np.abs(weights.astype(int)).max() for weights in before) == 128 - 1

    changed = in_seven_bits(model)

    after = int8_weights(model)
    assert len(after) == len(before) == changed == 100
    assert max(np.abs(weights.astype(int)).max() for weights in after) <= LARGEST


def test_weights_that_are_small_enough_stay_as_they_are(tmp_path: Path) -> None:
    model = core().read_model(str(quantized_model(tmp_path / "m.onnx", "unsigned")))
    before = [weights.copy() for weights in int8_weights(model)]

    assert in_seven_bits(model) == 0

    for weights, old in zip(int8_weights(model), before, strict=True):
        np.testing.assert_array_equal(weights, old)


def test_float_networks_are_left_alone() -> None:
    assert in_seven_bits(core().read_model(str(FLOAT))) == 0


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="VNNI is x86's")
def test_with_seven_bits_a_cpu_without_vnni_says_what_one_with_it_says(tmp_path: Path) -> None:
    here, there = seen(tmp_path / "a.npz", "seven"), seen(tmp_path / "b.npz", "seven", **OLD_CPU)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-3 * np.abs(one).max())
    # And the reason why: with eight the sums of such a CPU are not those of the numbers in the file.
    eight = seen(tmp_path / "c.npz", "eight", **OLD_CPU)
    assert any(np.abs(one - other).max() > 1e-2 * np.abs(other).max() for one, other in zip(eight, here, strict=True))
