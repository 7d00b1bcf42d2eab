"""The device lane on the host: the real lanes, the kernels compiled for the host, a real network of torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from engines.options import ModelOptions
from engines.runtimes.device_lanes import DeviceLane
from engines.runtimes.lanes import LaneEngine
from engines.runtimes.surface_lanes import LaneKernels, SurfaceLane
from engines.runtimes.torch_network import TorchNetwork, load_network
from engines.spec import InputSpec, ModelFile, ModelSpec
from engines.spec import Tensor as TensorSpec
from engines.suppression import rules_of
from tests.engines.cuda.host import HostKernels
from tests.support.host_device import HostDevice, PlainRunner, ValuesRunner
from tests.support.models import CLASSES, LIT

COLOURS = ModelSpec(name="colours", head="yolo_nas", classes=CLASSES, input=InputSpec(size=(160, 96)))


class _Colours(nn.Module):
    """As `tests.support.models.colour_model`, for batches, with anchors that have to be suppressed.

    Each class has three anchors of falling scores: the exact box of what is lit in its colour, and two beside it.
    """

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        lit = images > LIT
        boxes, scores = [], []
        for shift, score in ((0.0, 0.9), (1.0, 0.8), (2.0, 0.7)):
            sides = [_extent(lit.any(dim=2)), _extent(lit.any(dim=3))]
            first, last = (torch.stack([side[end] for side in sides], dim=2) for end in (0, 1))
            boxes.append(torch.cat([first + shift, last + shift], dim=2))
            seen = lit.any(dim=3).any(dim=2).float() * score
            scores.append(seen[:, :, None] * torch.eye(len(CLASSES)))
        return torch.cat(boxes, dim=1), torch.cat(scores, dim=1)


def _extent(lit: Tensor) -> tuple[Tensor, Tensor]:
    """(n, 3, side) where something is lit: the first pixel, and the one after the last; (n, 3) each."""
    places = torch.arange(lit.shape[2], dtype=torch.float32)
    first = torch.where(lit, places, places.new_tensor(float("inf"))).amin(dim=2)
    last = torch.where(lit, places + 1, places.new_tensor(0.0)).amax(dim=2)
    return torch.where(torch.isfinite(first), first, torch.zeros(())), last


def colour_network() -> TorchNetwork:
    batch, anchors = -1, 3 * len(CLASSES)
    width, height = COLOURS.input.size
    file = ModelFile(
        path="colours",
        sha256="",
        bytes=0,
        inputs=(TensorSpec(name="images", shape=(batch, 3, height, width), dtype="float32"),),
        outputs=(
            TensorSpec(name="boxes", shape=(batch, anchors, 4), dtype="float32"),
            TensorSpec(name="scores", shape=(batch, anchors, len(CLASSES)), dtype="float32"),
        ),
        metadata={},
    )
    return TorchNetwork(_Colours(), file, COLOURS).eval()


def real_network(path: Path) -> tuple[TorchNetwork, ModelSpec]:
    from engines.runtimes.model_file import read_model_file
    from engines.spec import find_spec

    file = read_model_file(path)
    spec = find_spec(file).spec
    return load_network(file, spec, "fp32", torch.device("cpu")), spec


@dataclass
class Host:
    """Engines for one network, with and without pictures on the «device»."""

    network: TorchNetwork = field(default_factory=colour_network)
    spec: ModelSpec = COLOURS
    options: ModelOptions = field(default_factory=lambda: ModelOptions(path="none"))
    batch: int = 4
    preprocess: HostKernels = field(default_factory=lambda: HostKernels("host_preprocess"))
    takes: torch.dtype = torch.uint8
    gpu: int | None = None
    nms: HostKernels = field(default_factory=lambda: HostKernels("host_nms"))

    def surfaces(self, lanes: int = 2) -> LaneEngine:
        rules = rules_of(self.spec, self.options)
        kernels = LaneKernels(preprocess=self.preprocess, nms=self.nms)
        made = [
            SurfaceLane(HostDevice(gpu=self.gpu), self._runner(), self.spec, rules, kernels, self.batch, index)
            for index in range(lanes)
        ]
        return LaneEngine(made, self.spec, "surfaces on the host")

    def _runner(self) -> PlainRunner:
        network = self.network
        return PlainRunner(network) if self.takes == torch.uint8 else ValuesRunner(network, self.takes)

    def levels(self, lanes: int = 2) -> LaneEngine:
        size = self.spec.input.size
        made = [DeviceLane(HostDevice(), PlainRunner(self.network), size, self.batch, index) for index in range(lanes)]
        return LaneEngine(made, self.spec, "levels on the host")
