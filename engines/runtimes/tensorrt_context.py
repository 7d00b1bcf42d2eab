"""One lane's TensorRT execution contexts: tensors bound by name, runs enqueued on the lane's stream.

A context for each size of batch: a captured run (`graphs.py`) is that of one context as it was, which nothing may
change afterwards. One runs at a time, so they share the memory in which TensorRT computes; it is torch's, and counts
towards the limit. Source: TensorRT's documentation (CUDA graphs; ExecutionContextAllocationStrategy).
Could not be run where it was written (no GPU): see tests/gpu.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engines.runtimes.graphs import Given
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
    """`engines.runtimes.device_lanes.Runner` over the contexts of one engine."""

    def __init__(self, api: TensorRt, engine: Any, alive: tuple[Any, ...], said: Said, spec: InputSpec) -> None:
        self._api = api
        self._engine = engine
        self._alive = alive  # the logger and the runtime must not go before the engine
        self._said = said
        self._spec = spec
        modes = api.module.TensorIOMode
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._input = next(name for name in names if engine.get_tensor_mode(name) == modes.INPUT)
        self._output_names = [name for name in names if engine.get_tensor_mode(name) == modes.OUTPUT]
        self._contexts: dict[int, Any] = {}

    @property
    def takes(self) -> torch.dtype:
        own: torch.dtype = self._dtype(self._input)
        return own if own in (torch.float16, torch.float32) else torch.uint8

    def prepare(self, levels: Tensor, sizes: tuple[int, ...]) -> Given:
        self._given_values = levels.dtype != torch.uint8
        gain, shift = levels_to_values(self._spec)
        self._plain = gain == [1.0] * 3 and shift == [0.0] * 3
        self._gain = torch.tensor(gain, device=levels.device)[:, None, None]
        self._shift = torch.tensor(shift, device=levels.device)[:, None, None]
        # Values that are given lie where TensorRT reads them; of levels they are made, in memory of our own.
        self._values = levels if self._given_values else torch.empty_like(levels, dtype=self._dtype(self._input))
        room = max(1, int(self._engine.device_memory_size_v2))
        self._scratch = torch.empty(room, dtype=torch.uint8, device=levels.device)
        self._contexts = {size: self._context(size) for size in sizes}
        self._outputs = {name: self._output(name, self._contexts[max(sizes)]) for name in self._output_names}
        for context in self._contexts.values():
            context.set_device_memory(self._scratch.data_ptr(), room)
            context.set_tensor_address(self._input, self._values.data_ptr())
            for name, output in self._outputs.items():
                context.set_tensor_address(name, output.data_ptr())
        return self._given()

    def run(self, levels: Tensor, size: int) -> Given:
        if not self._given_values:
            # The same operations, in float32, as on the host.
            values = levels[:size].float()
            if not self._plain:
                values = values * self._gain + self._shift
            self._values[:size].copy_(values)
        if not self._contexts[size].execute_async_v3(torch.cuda.current_stream().cuda_stream):
            msg = f"{self._api.name} did not start a run: {self._said.why()}"
            raise EngineError(msg)
        return self._given()

    def _context(self, size: int) -> Any:
        """A context for batches of that size."""
        context = self._made()
        if context is None:
            # It has no other reason than memory, and does not always say it.
            msg = f"{self._api.name} cannot make an execution context: {self._said.why()}"
            raise GpuFullError(msg)
        height, width = self._values.shape[2:]
        if not context.set_input_shape(self._input, (size, 3, height, width)):
            msg = f"{self._api.name} does not take a batch of {size}: {self._said.why()}"
            raise EngineError(msg)
        return context

    def _made(self) -> Any:
        """A context whose memory is ours."""
        trt = self._api.module
        ours = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        kinds = getattr(trt, "DynamicShapesKernelSpecializationStrategy", None)
        if kinds is None:
            return self._engine.create_execution_context(ours)
        # TensorRT-RTX compiles a size's kernels while it runs on others, unless it is told to wait for them.
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(ours)
        config.dynamic_shapes_kernel_specialization_strategy = kinds.EAGER
        return self._engine.create_execution_context(config)

    def _output(self, name: str, context: Any) -> Tensor:
        shape = tuple(context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            msg = f"output {name} has a shape that depends on the picture, {shape}; expected a fixed one"
            raise EngineError(msg)
        return torch.empty(shape, dtype=self._dtype(name), device=self._values.device)

    def _given(self) -> Given:
        return {
            name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in self._outputs.items()
        }

    def _dtype(self, name: str) -> Any:
        return _TYPES[str(self._engine.get_tensor_dtype(name)).rpartition(".")[2]]
