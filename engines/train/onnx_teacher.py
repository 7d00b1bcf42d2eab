"""A teacher in ONNX on the student's device: what `host_teacher` says, in torch, for a whole batch at once.

A GPU would wait for OpenVINO on the host (27 ms of a core for one picture and two small teachers). Files with a size or
a batch of 1 written into their graph (NanoDet-Plus) are rewritten for each size, as on the host. Convolutions compute
in the student's precision, what makes scores and boxes of them in float32.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from engines.runtimes.onnx_in_torch import OnnxInTorch, read_onnx
from engines.runtimes.torch_network import levels_to_values
from engines.spec import ModelSpec
from engines.train.class_table import ClassTable, DeviceClassTable
from engines.train.dense_torch import dense_batch
from engines.train.teacher_file import TeacherFile, feature_maps, new_sides
from engines.train.teachers import Taught
from engines.types import SizeWH

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sized:
    """The network at one size; what makes its input of levels (by channel, in its own order)."""

    network: nn.Module
    spec: ModelSpec
    gain: Tensor
    shift: Tensor


class OnnxTeacher:
    """An ONNX file on a device. Any number of threads may look at once."""

    def __init__(
        self,
        path: Path,
        classes: tuple[str, ...],
        names: Mapping[str, str],
        device: torch.device,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`names` renames the teacher's classes; `dtype`: of the convolutions. Raises ModelError, DataError."""
        import onnx

        self.path = path
        self._file = TeacherFile(path)
        self._device = device
        self._dtype = dtype
        read_onnx(path)  # refuses what torch does not run, by name
        self._model = onnx.load(str(path))
        self._lock = threading.Lock()
        self._sizes: dict[SizeWH, _Sized] = {}
        own_wh = self._file.size_wh
        width, height = own_wh
        sized = self._prepared(own_wh)
        self.classes = sized.spec.classes
        self._table = DeviceClassTable(ClassTable(self.classes, classes, names), device)
        # Refuses here what could not be learnt from, and tells the features' widths.
        shown = self.look(torch.zeros((2, 3, height, width), device=device))
        self._file.check_anchors(shown.scores.shape[1], own_wh)
        self.widths = tuple(one.shape[1] for one in shown.features)
        """Of its features; none if it shows none."""

    @torch.no_grad()
    def look(self, images: Tensor) -> Taught:
        """`images` (n, 3, H, W) float, RGB / 255; H and W multiples of 32. Raises ModelError."""
        size_wh = (images.shape[3], images.shape[2])
        sized = self._prepared(size_wh)
        ordered = images if sized.spec.input.colour == "rgb" else images.flip(1)
        values = torch.addcmul(sized.shift, ordered, sized.gain)
        outputs = self._run(sized.network, values.contiguous(memory_format=torch.channels_last), size_wh)
        scores, boxes = dense_batch(sized.spec, {name: value for name, value in outputs.items() if value.dim() == 3})
        features = feature_maps(outputs.values(), [value.shape for value in outputs.values()], size_wh)
        return Taught(
            scores=self._table.highest(scores),
            known=self._table.known,
            boxes=boxes,
            features=tuple(one.float() for one in features),
        )

    def _run(self, network: nn.Module, values: Tensor, size_wh: SizeWH) -> dict[str, Tensor]:
        try:
            outputs: dict[str, Tensor] = network(values)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise self._file.fixed_size(size_wh) from error
        if any(len(value) != len(values) for value in outputs.values()):
            raise self._file.fixed_size(size_wh)
        return outputs

    def _prepared(self, size_wh: SizeWH) -> _Sized:
        with self._lock:
            if size_wh not in self._sizes:
                self._sizes[size_wh] = self._sized(size_wh)
            return self._sizes[size_wh]

    @torch.no_grad()
    def _sized(self, size_wh: SizeWH) -> _Sized:
        opset = next(entry.version for entry in self._model.opset_import if entry.domain in {"", "ai.onnx"})
        network = OnnxInTorch(_rewritten(self._model.graph, self._file.size_wh, size_wh), opset).eval()
        if self._dtype != torch.float32:
            network = network.to_precision(self._dtype)
        # torch's stubs know no `memory_format` beside a device
        placed: nn.Module = network.to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        probe = torch.zeros((1, 3, size_wh[1], size_wh[0]), device=self._device)
        outputs = self._run(placed, probe, size_wh)
        spec = self._file.spec(size_wh, [(name, tuple(value.shape)) for name, value in outputs.items()])
        gain, shift = (
            torch.tensor(values, device=self._device)[:, None, None] for values in levels_to_values(spec.input)
        )
        return _Sized(network=placed, spec=spec, gain=gain * 255.0, shift=shift)


def _rewritten(graph: onnx.GraphProto, old_wh: SizeWH, new_wh: SizeWH) -> onnx.GraphProto:
    """The graph for any batch and another size: what its Reshapes say of what comes from the picture is made free."""
    import onnx
    from onnx import numpy_helper

    made = onnx.GraphProto()
    made.CopyFrom(graph)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.initializer}
    for node in made.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    pictured = {value.name for value in made.input if value.name not in constants}
    for number, node in enumerate(made.node):
        if pictured.isdisjoint(node.input) or node.op_type == "Shape":
            continue  # what is made of shapes alone (anchors) has no batch
        pictured.update(node.output)
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        # Where zero means zero there is no word for «as many as come in».
        if shape is None or any(one.name == "allowzero" and one.i for one in node.attribute):
            continue
        sides = new_sides(shape.tolist(), old_wh, new_wh)
        if len(sides) > 1 and sides[0] == 1:
            sides[0] = 0
        name = f"{node.input[1]}_of_{number}"
        made.initializer.append(numpy_helper.from_array(np.array(sides, np.int64), name))
        node.input[1] = name
    return made
