"""torch as a runtime: checkpoints, half precision, threads. Its contract is in test_runtimes.py."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engines.engine import Engine
from engines.options import ModelOptions
from engines.runtimes import open_engine, read_model_file
from engines.runtimes.device_lanes import batch_sizes
from tests.support.shared import SHARED
from vedette.errors import EngineError, ModelError

SHIPPED = Path(__file__).resolve().parents[2] / "engines/weights/vedette-n-seed_416x256.onnx"
Outputs = dict[str, npt.NDArray[Any]]


def opened(path: Path, backend: Any = "torch", **options: Any) -> Engine:
    return open_engine(ModelOptions(path=str(path), backend=backend, **options), now_ns=time.monotonic_ns)


def seen(engine: Engine) -> Outputs:
    buffer = engine.acquire()
    assert buffer is not None
    buffer.array[0] = np.random.default_rng(6).integers(0, 256, buffer.array.shape[1:], np.uint8)
    engine.submit(buffer, 1)
    completion = engine.completed()
    assert completion is not None
    assert completion.outputs is not None
    return {name: array.copy() for name, array in completion.outputs.items()}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The shipped network's checkpoint, with the shipped file's spec, which does not say whose it is."""
    if SHARED is None:
        pytest.skip("the checkpoint is not here")
    path = tmp_path / "seed.pth"
    path.symlink_to(SHARED / "seed/yolo_nas_n_seed_fp16.pth")
    lines = SHIPPED.with_suffix(".yaml").read_text().splitlines()
    path.with_suffix(".yaml").write_text("\n".join(line for line in lines if not line.startswith("sha256")))
    return path


def test_checkpoint_runs_as_its_onnx_file_does(checkpoint: Path) -> None:
    """Only nearly: the large weights of the file that is shipped are stored in half precision."""
    want, engine = seen(opened(SHIPPED)), opened(checkpoint)
    got = seen(engine)

    assert engine.description.startswith("torch ")
    np.testing.assert_allclose(got["scores"], want["scores"], atol=5e-3)
    assert np.abs(got["boxes"] - want["boxes"]).mean() < 0.05


def test_checkpoint_is_taken_by_auto_and_in_bf16(checkpoint: Path) -> None:
    engine = opened(checkpoint, "auto", precision="bf16")
    whole, half = seen(opened(SHIPPED)), seen(engine)

    assert "BF16" in engine.description
    assert {array.dtype.name for array in half.values()} == {"float32"}
    assert 0.0 < np.abs(half["scores"] - whole["scores"]).max() < 0.05


def test_checkpoint_without_a_spec_says_what_it_lacks(checkpoint: Path) -> None:
    checkpoint.with_suffix(".yaml").unlink()

    assert [str(tensor) for tensor in read_model_file(checkpoint).inputs] == ["images float32[?,3,?,?]"]
    with pytest.raises(ModelError, match=r"seed\.pth"):
        opened(checkpoint)


def test_bf16_stays_close_to_float32() -> None:
    whole, half = seen(opened(SHIPPED)), seen(opened(SHIPPED, precision="bf16"))

    assert 0.0 < np.abs(half["scores"] - whole["scores"]).max() < 0.05
    assert np.abs(half["boxes"] - whole["boxes"]).mean() < 0.5


def test_threads_are_those_that_are_asked_for() -> None:
    before = torch.get_num_threads()
    try:
        engine = opened(SHIPPED, threads=1)

        assert torch.get_num_threads() == 1
        assert ", 1 threads, " in engine.description
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (8, (1, 2, 4, 8)), (12, (1, 2, 4, 8, 12))]
)
def test_batches_of_a_gpu_are_powers_of_two_and_the_largest(most: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(most) == sizes


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: see tests/gpu")
def test_error_of_the_network_is_one_line_that_names_the_node(tmp_path: Path) -> None:
    """A file whose graph does not take the size that its spec says (its own shapes are free)."""
    if SHARED is None:
        pytest.skip("the teachers are not here")
    path = tmp_path / "yolox_nano_dynamic.onnx"
    shutil.copy(SHARED / "teachers/yolox_nano_dynamic.onnx", path)
    fixed = "name: odd\nhead: yolox\nclasses: [" + ", ".join(f"c{index}" for index in range(80)) + "]\n"
    path.with_suffix(".yaml").write_text(fixed + "input: {size: [100, 68], scale: 1.0}\n")
    engine = opened(path)
    buffer = engine.acquire()
    assert buffer is not None
    engine.submit(buffer, 1)
    completion = engine.completed()

    assert completion is not None
    assert isinstance(completion.error, EngineError)
    assert "torch failed: node " in str(completion.error)
    assert "\n" not in str(completion.error)
