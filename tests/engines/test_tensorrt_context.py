"""An execution context by a script, in the host's memory: what is bound where, and what becomes of levels.

TensorRT itself runs on a GPU only (tests/gpu). The script keeps to what its API promises: tensors by name and address,
a shape before each run of another size, one call that starts the run.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from engines.runtimes.placement import GpuFullError
from engines.runtimes.tensorrt_api import Said, TensorRt
from engines.runtimes.tensorrt_context import ContextRunner
from engines.spec import InputSpec
from vedette.errors import EngineError

SPEC = InputSpec(size=(4, 2), scale=0.5, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0))
SIZES = {"FLOAT": np.float32, "HALF": np.float16}


@dataclass
class Context:
    """Gives the mean of each picture, as `mean` (n, 3)."""

    kind: str = "HALF"
    runs: bool = True
    takes_shapes: bool = True
    addresses: dict[str, int] = field(default_factory=dict)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    streams: list[int] = field(default_factory=list)

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def set_input_shape(self, _: str, shape: tuple[int, ...]) -> bool:
        self.shapes.append(tuple(shape))
        return self.takes_shapes

    def get_tensor_shape(self, _: str) -> tuple[int, ...]:
        return (self.shapes[-1][0], 3)

    def execute_async_v3(self, stream: int) -> bool:
        self.streams.append(stream)
        if self.runs:
            shape = self.shapes[-1]
            values = _there(self.addresses["images"], shape, SIZES[self.kind])
            _there(self.addresses["mean"], (shape[0], 3), np.float32)[:] = values.astype(np.float32).mean(axis=(2, 3))
        return self.runs


def _there(address: int, shape: tuple[int, ...], kind: Any) -> npt.NDArray[Any]:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    memory = memoryview((ctypes.c_char * size).from_address(address)).cast("B")
    there: npt.NDArray[Any] = np.frombuffer(memory, kind).reshape(shape)
    return there


class Engine:
    num_io_tensors = 2

    def __init__(self, context: Context | None, kind: str = "HALF") -> None:
        self._context = context
        self._kind = kind

    def create_execution_context(self) -> Context | None:
        return self._context

    def get_tensor_name(self, index: int) -> str:
        return ("images", "mean")[index]

    def get_tensor_mode(self, name: str) -> str:
        return {"images": "in", "mean": "out"}[name]

    def get_tensor_dtype(self, name: str) -> str:
        return f"DataType.{self._kind if name == 'images' else 'FLOAT'}"


@pytest.fixture(autouse=True)
def _a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = SimpleNamespace(cuda_stream=77, synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)


def runner(context: Context | None, kind: str = "HALF") -> ContextRunner:
    api = TensorRt(
        module=SimpleNamespace(TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out")), flavour="TensorRT", version="11"
    )
    return ContextRunner(api, Engine(context, kind), (), Said(), SPEC)


def levels(count: int = 4) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, 3, 2, 4), np.uint8))


def means(given: Tensor) -> npt.NDArray[np.float64]:
    values = given.numpy() * 0.5 - np.array(SPEC.mean)[:, None, None]
    return np.asarray((values / np.array(SPEC.std)[:, None, None]).mean(axis=(2, 3)))


@pytest.mark.parametrize("kind", ["HALF", "FLOAT"])
def test_levels_become_values_in_the_context_s_own_input(kind: str) -> None:
    context, given = Context(kind), levels()
    run = runner(context, kind)

    run.prepare(given, (1, 2, 4))
    outputs = run.run(given, 4)

    assert run.takes == (torch.float16 if kind == "HALF" else torch.float32)
    assert context.addresses["images"] != given.data_ptr()
    np.testing.assert_allclose(outputs["mean"].numpy(), means(given), atol=0.02)
    assert set(context.streams) == {77}


@pytest.mark.parametrize("kind", ["HALF", "FLOAT"])
def test_values_are_read_where_they_lie(kind: str) -> None:
    context = Context(kind)
    run = runner(context, kind)
    values = torch.rand((4, 3, 2, 4)).to(run.takes)

    run.prepare(values, (1, 2, 4))
    outputs = run.run(values, 4)

    assert context.addresses["images"] == values.data_ptr()
    np.testing.assert_allclose(outputs["mean"].numpy(), values.float().mean(dim=(2, 3)).numpy(), atol=1e-3)


def test_every_size_is_run_once_before_there_is_work_and_shapes_are_set_where_they_change() -> None:
    context, given = Context(), levels()
    run = runner(context)

    run.prepare(given, (1, 2, 4))
    assert [shape[0] for shape in context.shapes] == [4, 1, 2, 4]
    run.run(given, 4)
    run.run(given, 2)

    assert [shape[0] for shape in context.shapes] == [4, 1, 2, 4, 2]
    assert len(context.streams) == 5


def test_what_a_context_refuses_is_an_error() -> None:
    with pytest.raises(GpuFullError, match="TensorRT 11 cannot make an execution context"):
        runner(None)
    with pytest.raises(EngineError, match="TensorRT 11 did not start a run"):
        runner(Context(runs=False)).prepare(levels(), (1,))
    with pytest.raises(EngineError, match="TensorRT 11 does not take a batch of 4"):
        runner(Context(takes_shapes=False)).prepare(levels(), (1, 4))
