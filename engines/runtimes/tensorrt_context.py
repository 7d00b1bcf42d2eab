"""One lane's TensorRT execution context: tensors bound by name, runs enqueued on the lane's stream.

Could not be run where it was written (no GPU): see tests/gpu.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engines.runtimes.placement import GpuFullError
from engines.runtimes.tensorrt_api import Said, TensorRt
from engines.runtimes.torch_network import levels_to_values
from engines.spec import InputSpec
from vedette.errors import EngineError

_TYPES = {
    "FLOAT": torch.float32, "HALF": torch.float16, "BF16": torch.bfloat16, "INT32": torch.int32,
    "INT64": torch.int64, "INT8": torch.int8, "UINT8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class ContextRunner:
    """`engines.runtimes.device_lanes.Runner` over one execution context."""

    def __init__(self, api: TensorRt, engine: Any, alive: tuple[Any, ...], said: Said, spec: InputSpec) -> None:
        self._api = api
        self._engine = engine
        self._alive = alive  # the logger and the runtime must not go before the engine
        self._said = said
        self._spec = spec
        self._context = engine.create_execution_context()
        if self._context is None:
            # It has no other reason than memory, and does not always say it.
            msg = f"{api.name} cannot make an execution context: {said.why()}"
            raise GpuFullError(msg)
        modes = api.module.TensorIOMode
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._input = next(name for name in names if engine.get_tensor_mode(name) == modes.INPUT)
        self._output_names = [name for name in names if engine.get_tensor_mode(name) == modes.OUTPUT]
        self._outputs: dict[str, Tensor] = {}
        self._size = 0

    @property
    def takes(self) -> torch.dtype:
        own: torch.dtype = self._dtype(self._input)
        return own if own in (torch.float16, torch.float32) else torch.uint8

    def prepare(self, levels: Tensor, sizes: tuple[int, ...]) -> Mapping[str, Tensor]:
        self._given_values = levels.dtype != torch.uint8
        gain, shift = levels_to_values(self._spec)
        self._plain = gain == [1.0] * 3 and shift == [0.0] * 3
        self._gain = torch.tensor(gain, device=levels.device)[:, None, None]
        self._shift = torch.tensor(shift, device=levels.device)[:, None, None]
        # Values that are given lie where TensorRT reads them; of levels they are made, in memory of our own.
        self._values = levels if self._given_values else torch.empty_like(levels, dtype=self._dtype(self._input))
        self._context.set_tensor_address(self._input, self._values.data_ptr())
        self._shape_for(max(sizes))
        for name in self._output_names:
            shape = tuple(self._context.get_tensor_shape(name))
            if min(shape, default=0) < 0:
                msg = f"output {name} has a shape that depends on the picture, {shape}; expected a fixed one"
                raise EngineError(msg)
            self._outputs[name] = torch.empty(shape, dtype=self._dtype(name), device=levels.device)
            self._context.set_tensor_address(name, self._outputs[name].data_ptr())
        for size in sizes:  # what TensorRT does at a first run is done before there is work
            self.run(levels, size)
        torch.cuda.current_stream().synchronize()
        return self._given()

    def run(self, levels: Tensor, size: int) -> Mapping[str, Tensor]:
        if not self._given_values:
            # The same operations, in float32, as on the host.
            values = levels[:size].float()
            if not self._plain:
                values = values * self._gain + self._shift
            self._values[:size].copy_(values)
        self._shape_for(size)
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            msg = f"{self._api.name} did not start a run: {self._said.why()}"
            raise EngineError(msg)
        return self._given()

    def _given(self) -> Mapping[str, Tensor]:
        return {
            name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in self._outputs.items()
        }

    def _shape_for(self, size: int) -> None:
        if size != self._size:
            height, width = self._values.shape[2:]
            if not self._context.set_input_shape(self._input, (size, 3, height, width)):
                msg = f"{self._api.name} does not take a batch of {size}: {self._said.why()}"
                raise EngineError(msg)
            self._size = size

    def _dtype(self, name: str) -> Any:
        return _TYPES[str(self._engine.get_tensor_dtype(name)).rpartition(".")[2]]
