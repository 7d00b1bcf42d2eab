"""TensorRT's runtime by a script, in the host's memory: it keeps to what its API promises, and refuses what it does.

A network is a function of values (n, 3, H, W) float32 that gives arrays by name. A context runs it from and to the
addresses that it was given; it must have its memory and its shapes before, and nothing may change it once it has run:
from then on it may be captured.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.runtimes.tensorrt_api import TensorRt

Array = npt.NDArray[Any]
Network = Callable[[Array], Mapping[str, Array]]

KINDS: dict[str, Any] = {"FLOAT": np.float32, "HALF": np.float16}
INPUT = "images"


@dataclass
class ScriptedContext:
    engine: ScriptedEngine
    addresses: dict[str, int] = field(default_factory=dict)
    memory: tuple[int, int] | None = None
    shape: tuple[int, ...] | None = None
    streams: list[int] = field(default_factory=list)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._change()
        assert name == INPUT
        self.shape = tuple(shape)
        return self.engine.takes_shapes

    def set_device_memory(self, address: int, size: int) -> None:
        self._change()
        assert address % 64 == 0
        assert size >= self.engine.device_memory_size_v2
        self.memory = address, size

    def set_tensor_address(self, name: str, address: int) -> None:
        self._change()
        self.addresses[name] = address

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert self.shape is not None
        return (self.shape[0], *self.engine.outputs[name])

    def execute_async_v3(self, stream: int) -> bool:
        if self.engine.runs:
            assert self.memory is not None, "memory is the user's to give"
            assert self.shape is not None
            self.streams.append(stream)
            there(self.memory[0], self.memory[1:], np.uint8)[:] = 255  # in which it computes
            values = there(self.addresses[INPUT], self.shape, KINDS[self.engine.kind]).astype(np.float32)
            for name, given in self.engine.network(values).items():
                there(self.addresses[name], given.shape, KINDS[self.engine.gives])[:] = given
        return self.engine.runs

    def _change(self) -> None:
        assert not self.streams, "a context that may have been captured was changed"


class ScriptedEngine:
    """`outputs`: the sides of each without the batch; `kind`, `gives`: types of what goes in and comes out.

    `room_for` so many contexts there is memory.
    """

    device_memory_size_v2 = 1000

    def __init__(self, network: Network, outputs: dict[str, tuple[int, ...]], kind: str, gives: str = "FLOAT") -> None:
        self.network = network
        self.outputs = outputs
        self.kind = kind
        self.gives = gives
        self.runs = self.takes_shapes = True
        self.room_for = 1000
        self.contexts: list[ScriptedContext] = []
        self.configs: list[Any] = []

    @property
    def num_io_tensors(self) -> int:
        return 1 + len(self.outputs)

    def create_runtime_config(self) -> Any:
        self.configs.append(SimpleNamespace(set_execution_context_allocation_strategy=self._managed))
        return self.configs[-1]

    def create_execution_context(self, how: Any) -> ScriptedContext | None:
        if how not in self.configs:
            self._managed(how)
        if len(self.contexts) == self.room_for:
            return None
        self.contexts.append(ScriptedContext(self))
        return self.contexts[-1]

    def get_tensor_name(self, index: int) -> str:
        return [INPUT, *self.outputs][index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == INPUT else "out"

    def get_tensor_dtype(self, name: str) -> str:
        return f"DataType.{self.kind if name == INPUT else self.gives}"

    def _managed(self, how: str) -> None:
        assert how == "user managed"


def scripted_api(*, rtx: bool = False) -> TensorRt:
    """As much of the module as running needs."""
    module = SimpleNamespace(
        TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"),
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user managed"),
    )
    if rtx:
        module.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
    return TensorRt(module=module, flavour="TensorRT-RTX" if rtx else "TensorRT", version="11")


def there(address: int, shape: tuple[int, ...], kind: Any) -> Array:
    """What lies at an address of the host's memory, as an array over it."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    memory = memoryview((ctypes.c_char * size).from_address(address)).cast("B")
    found: Array = np.frombuffer(memory, kind).reshape(shape)
    return found
