"""A model file as something that torch runs: an ONNX file through `onnx_in_torch`, or a YOLO-NAS checkpoint, fused.

Levels (uint8) go in, as into the other engines; what makes values of them (engines/picture.py, step 4) is part of it.
Convolutions compute in the precision that is asked for and in `channels_last` (a third less time in float32 on two
cores, seed at 640x384; half of it with BF16); what makes boxes and scores of their outputs stays float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from engines.spec import InputSpec, ModelFile, ModelSpec

Precision = Literal["fp32", "bf16", "fp16"]

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_INPUT_TYPES = {"float32": torch.float32, "float16": torch.float16, "uint8": torch.uint8}

CHECKPOINTS = (".pth", ".pt", ".ckpt")


class TorchNetwork(nn.Module):
    """Levels (n, 3, H, W) uint8 in, the outputs by name out. May run in many threads at once."""

    def __init__(self, network: nn.Module, file: ModelFile, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self._names = [tensor.name for tensor in file.outputs]
        self._type = _INPUT_TYPES[file.inputs[0].dtype]
        gain, shift = levels_to_values(spec.input)
        self.register_buffer("_gain", torch.tensor(gain)[:, None, None])
        self.register_buffer("_shift", torch.tensor(shift)[:, None, None])
        self._gain: Tensor
        self._shift: Tensor
        self._plain = gain == [1.0] * 3 and shift == [0.0] * 3

    def forward(self, levels: Tensor) -> dict[str, Tensor]:
        values = levels.to(memory_format=torch.channels_last)
        if self._type != torch.uint8:
            values = values.float()
            if not self._plain:
                values = values * self._gain + self._shift
            values = values.to(self._type)
        given = self.network(values)
        outputs = given if isinstance(given, Mapping) else dict(zip(self._names, given, strict=True))
        return {name: _as_float(outputs[name]) for name in self._names}


class TorchRunner:
    """`engines.runtimes.device_lanes.Runner` over a network that lanes share."""

    def __init__(self, network: TorchNetwork) -> None:
        self._network = network

    @property
    def takes(self) -> torch.dtype:
        """Levels: what makes values of them is part of the network."""
        return torch.uint8

    def prepare(self, levels: Tensor, sizes: tuple[int, ...]) -> Mapping[str, Tensor]:
        return self.run(levels, max(sizes))

    def run(self, levels: Tensor, size: int) -> Mapping[str, Tensor]:
        with torch.inference_mode():
            outputs: dict[str, Tensor] = self._network(levels[:size])
        return outputs


def levels_to_values(spec: InputSpec) -> tuple[list[float], list[float]]:
    """Value = level * gain + shift, by channel in the input's order, as `PictureWriter` computes it."""
    gain = [spec.scale / std for std in spec.std]
    shift = [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    return gain, shift


def load_network(file: ModelFile, spec: ModelSpec, precision: Precision, device: torch.device) -> TorchNetwork:
    """The network of a file on a device, ready to run. Raises ModelError."""
    dtype = _TYPES[precision]
    network: nn.Module
    if Path(file.path).suffix in CHECKPOINTS:
        network = _checkpoint(Path(file.path), dtype, device)
    else:
        from engines.runtimes.onnx_in_torch import read_onnx

        onnx = read_onnx(Path(file.path))
        network = onnx if dtype == torch.float32 else onnx.to_precision(dtype)
    whole = TorchNetwork(network, file, spec).eval().requires_grad_(False)
    # torch's stubs know no `memory_format` beside a device
    return whole.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


class _Mixed(nn.Module):
    """A network whose convolutions compute in half precision; torch's autocast fits the inputs to their weights."""

    def __init__(self, network: nn.Module, dtype: torch.dtype, device: str) -> None:
        super().__init__()
        self._dtype = dtype
        self._device = device
        self.network = network
        for part in network.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                part.to(dtype)

    def forward(self, images: Tensor) -> object:
        with torch.autocast(self._device, self._dtype):
            return self.network(images)


def _checkpoint(path: Path, dtype: torch.dtype, device: torch.device) -> nn.Module:
    from engines.yolo_nas.checkpoint import load_checkpoint
    from engines.yolo_nas.fuse import fuse

    network = fuse(load_checkpoint(path).network)
    return network if dtype == torch.float32 else _Mixed(network, dtype, device.type)


def _as_float(output: Tensor) -> Tensor:
    return output.float() if output.dtype in {torch.float16, torch.bfloat16} else output
