"""Lanes whose pictures never leave the device: pre-processing and suppression by the kernels of `engines/cuda`.

In:  decoded pictures where they lie on the device (`put`); beside them such as a CPU decoded and wrote (`written`).
Out: one output, `found`: what stays of each picture's boxes, in its own pixels.
All on the lane's stream: one copy of a few hundred bytes that says where the pictures lie, one kernel for all of them
straight into the network's input, the network, four kernels that suppress, and one copy of what is left. Only for
networks of the head `yolo_nas`. Could not be run on a GPU where it was written; the tests run it on the host's memory
with the kernels compiled for the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engines.cuda.launch import Launch
from engines.cuda.loader import Kernels
from engines.cuda.suppression import (
    FOUND_OUTPUT,
    PLACED,
    Memory,
    OutputType,
    found_type,
    placed_records,
    rules_record,
    scratch_bytes,
    suppression_launches,
)
from engines.cuda.surfaces import SURFACE, InputType, Surface, preprocess_launch, surface_records, target_record
from engines.engine import Outputs, Place
from engines.picture import Placement
from engines.runtimes.device_lanes import Device, DeviceLane, Runner
from engines.runtimes.graphs import Given
from engines.runtimes.torch_network import levels_to_values
from engines.spec import ModelSpec
from engines.suppression import Rules
from vedette.errors import EngineError, ModelError

HEAD = "yolo_nas"

_TYPES: dict[torch.dtype, InputType] = {
    torch.uint8: "uint8", torch.float16: "float16", torch.float32: "float32",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneKernels:
    """The kernels of `preprocess.cu` and of `nms.cu`."""

    preprocess: Kernels
    nms: Kernels


def check_head(spec: ModelSpec) -> None:
    """Raises ModelError for a network whose outputs the kernels do not read."""
    if spec.head != HEAD:
        msg = f"model.gpu.decode: gpu suppresses on the GPU, which is for models of the head {HEAD}, got {spec.head}"
        raise ModelError(msg, hint="model.gpu.decode: cpu runs it")


class SurfaceLane(DeviceLane):
    """`engines.engine.SurfaceBuffer`."""

    __slots__ = (
        "_anchors", "_constants", "_copied", "_dtype", "_input", "_kernels", "_memory", "_orders", "_pictures",
        "_placements", "_rules", "_scratch", "_spec", "_surfaces", "_values",
    )  # fmt: skip

    def __init__(
        self,
        device: Device,
        runner: Runner,
        spec: ModelSpec,
        rules: Rules,
        kernels: LaneKernels,
        batch: int,
        index: int,
        *,
        one_size: bool = False,
    ) -> None:
        self._spec = spec
        self._rules = rules
        self._kernels = kernels
        self._placements: dict[int, Placement] = {}
        self._surfaces: dict[int, tuple[npt.NDArray[Any], Surface]] = {}
        super().__init__(device, runner, spec.input.size, batch, index, one_size=one_size)

    @property
    def place(self) -> Place:
        return Place.DEVICE

    def put(self, index: int, surface: Surface) -> Placement:
        if surface.gpu not in (None, self._device.gpu):
            msg = f"a picture on GPU {surface.gpu} was given to a lane on GPU {self._device.gpu}"
            raise EngineError(msg)
        records, (placement,) = surface_records([surface], self._spec.input)
        records["slot"] = index
        self._surfaces[index] = (records, surface)
        self._placements[index] = placement
        return placement

    def written(self, index: int, placement: Placement) -> None:
        self._surfaces.pop(index, None)
        self._placements[index] = placement

    def start(self, count: int) -> None:
        missing = [slot for slot in range(count) if slot not in self._placements]
        if missing:
            msg = f"slot {missing[0]} of {count} was submitted without a picture"
            raise EngineError(msg)
        super().start(count)

    def finish(self) -> tuple[Outputs, int]:
        try:
            return super().finish()
        finally:
            self._forget()

    def _abandon(self) -> None:
        super()._abandon()
        self._forget()

    def _forget(self) -> None:
        """The device has read them: their decoders may have them again."""
        self._surfaces.clear()
        self._placements.clear()

    def _input_type(self) -> torch.dtype:
        """The kernel writes what the network takes, whatever that is."""
        return self._runner.takes

    def _prepare(self, outputs: Given) -> None:
        boxes, scores = outputs["boxes"], outputs["scores"]
        batch, self._anchors, classes = scores.shape
        if boxes.dtype != scores.dtype or scores.dtype not in (torch.float32, torch.float16):
            msg = f"expected boxes and scores both in float32 or float16, got {boxes.dtype} and {scores.dtype}"
            raise EngineError(msg)
        self._dtype: OutputType = "float16" if scores.dtype == torch.float16 else "float32"
        most = self._rules.max_objects
        self._input = _TYPES[self._levels.dtype]
        self._constants = _Constants(self._device, self._spec, self._input, self._rules, self._anchors, classes)
        self._orders = _Orders(self._device, batch)
        sizes = scratch_bytes(batch, self._anchors, most)
        self._scratch = {name: self._room(size) for name, size in sizes.items()}
        self._back = {FOUND_OUTPUT: self._device.pinned((batch, found_type(most).itemsize), torch.uint8)}
        self._copied = torch.zeros_like(self._levels[0], dtype=torch.uint8)
        self._values = torch.zeros_like(self._levels[0], dtype=torch.float32)
        # The rest of the memory is the network's own, which may give another address for each size of batch.
        self._memory = {name: tensor.data_ptr() for name, tensor in self._scratch.items()}

    def _await(self) -> None:
        if self._surfaces:
            self._stream.after_decoder()

    def _fill(self, count: int) -> int:
        records = [self._surfaces[slot][0] for slot in sorted(self._surfaces) if slot < count]
        copied = self._orders.write(records, [self._placements[slot] for slot in range(count)])
        self._pictures = len(records)
        for slot in range(count):
            if slot not in self._surfaces:
                self._copy(slot)
                copied += self._pinned[slot].nbytes
        return copied

    def _preprocess(self) -> None:
        if self._pictures:
            self._launch(
                self._kernels.preprocess,
                preprocess_launch(
                    self._spec.input,
                    self._input,
                    self._pictures,
                    records=self._orders.surfaces,
                    target=self._constants.target,
                    out=self._levels.data_ptr(),
                ),
            )

    def _fetch(self, outputs: Given, count: int) -> int:
        # Of a network that gives them in one piece already, as all do so far, no copy.
        boxes, scores = outputs["boxes"].contiguous(), outputs["scores"].contiguous()
        memory = Memory(
            rules=self._constants.rules,
            pictures=self._orders.count,
            placed=self._orders.placed,
            boxes=boxes.data_ptr(),
            scores=scores.data_ptr(),
            **self._memory,
        )
        self._launch(self._kernels.nms, *suppression_launches(memory, count, self._anchors, self._dtype))
        back = self._back[FOUND_OUTPUT]
        found = self._scratch["out"].view(back.shape)
        back[:count].copy_(found[:count], non_blocking=True)
        return back[:count].nbytes

    def _given(self) -> Outputs:
        rows = self._back[FOUND_OUTPUT][: self.count].numpy()
        return {FOUND_OUTPUT: rows.view(found_type(self._rules.max_objects))[:, 0]}

    def _copy(self, slot: int) -> None:
        """A picture that was written on the host, as levels."""
        if self._input == "uint8":
            self._levels[slot].copy_(self._pinned[slot], non_blocking=True)
            return
        # In float32, as on the host, whatever the network takes.
        self._copied.copy_(self._pinned[slot], non_blocking=True)
        self._values.copy_(self._copied).mul_(self._constants.gain).add_(self._constants.shift)
        self._levels[slot].copy_(self._values)

    def _launch(self, kernels: Kernels, *launches: Launch) -> None:
        for launch in launches:
            kernels.launch(launch, self._stream.handle)

    def _room(self, size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.uint8, device=self._device.torch_device)


class _Constants:
    """What is the same for all runs, on the device: addresses."""

    def __init__(
        self, device: Device, spec: ModelSpec, kind: InputType, rules: Rules, anchors: int, classes: int
    ) -> None:
        target = target_record(spec.input, kind)
        self.gain, self.shift = (
            torch.tensor(numbers, device=device.torch_device)[:, None, None] for numbers in levels_to_values(spec.input)
        )
        wanted = np.ones(classes, np.uint8) if rules.wanted is None else rules.wanted.astype(np.uint8)
        self._kept = [_copied(device, target), _copied(device, wanted)]
        record = rules_record(
            anchors,
            classes,
            score=rules.score,
            iou=rules.iou,
            max_objects=rules.max_objects,
            wanted=0 if rules.wanted is None else self._kept[1].data_ptr(),
        )
        self._kept.append(_copied(device, record))
        self.target = self._kept[0].data_ptr()
        self.rules = self._kept[2].data_ptr()


class _Orders:
    """What is said anew for each run, in one piece that is copied at once: surfaces, placements, how many there are."""

    def __init__(self, device: Device, batch: int) -> None:
        places = batch * SURFACE.itemsize
        counts = places + batch * PLACED.itemsize
        self._pinned = device.pinned((counts + 8,), torch.uint8)
        self._there = torch.zeros_like(self._pinned, device=device.torch_device)
        whole = self._pinned.numpy()
        self._surfaces = whole[:places].view(SURFACE)
        self._placed = whole[places:counts].view(PLACED)
        self._count = whole[counts : counts + 4].view(np.int32)
        self.surfaces = self._there.data_ptr()
        self.placed = self.surfaces + places
        self.count = self.surfaces + counts

    def write(self, surfaces: list[npt.NDArray[Any]], placements: list[Placement]) -> int:
        for index, record in enumerate(surfaces):
            self._surfaces[index] = record[0]
        self._placed[: len(placements)] = placed_records(placements)
        self._count[0] = len(placements)
        self._there.copy_(self._pinned, non_blocking=True)
        return self._pinned.nbytes


def _copied(device: Device, array: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.view(np.uint8).copy()).to(device.torch_device)
