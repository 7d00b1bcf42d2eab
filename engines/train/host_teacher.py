"""A teacher on the host: an ONNX detector of any head that looks at every anchor, run in OpenVINO.

It runs at the very size of the batch (`dense` says why); a file of fixed size is reshaped where only its input and the
maps' sizes in it are fixed, as with NanoDet-Plus. Called by the threads that make batches.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import openvino
import torch

from engines.datasets import match_classes
from engines.recognise import recognise
from engines.runtimes.model_file import read_model_file
from engines.runtimes.openvino_core import core
from engines.spec import ModelSpec, Tensor, find_spec, spec_path
from engines.train.dense import dense
from engines.train.teachers import Taught
from engines.types import F32, U8, SizeWH
from engines.yolo_nas.variants import STRIDES
from vedette.errors import ModelError

Rows = npt.NDArray[np.intp]

_ANY_SIDE = 416
"""At which a file of free size is looked at first."""


class HostTeacher:
    """An ONNX file, run in OpenVINO. Any number of threads may look at once, each by itself."""

    def __init__(
        self, path: Path, classes: tuple[str, ...], names: Mapping[str, str], *, bf16: bool = True, threads: int = 2
    ) -> None:
        """`names` renames the teacher's classes: {"car": "vehicle", …}. Raises ModelError, DataError."""
        self.path = path
        self._settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": str(threads),
            "INFERENCE_NUM_THREADS": str(threads),
        }
        self._lock = threading.Lock()
        self._sizes: dict[SizeWH, tuple[openvino.CompiledModel, ModelSpec]] = {}
        self._requests = threading.local()
        self._file = read_model_file(path)
        try:
            self._model = core().read_model(path)
        except RuntimeError as error:
            msg = f"{path}: is no model that OpenVINO reads: {str(error).splitlines()[-1][:200]}"
            raise ModelError(msg) from error
        shape = self._model.inputs[0].partial_shape
        height, width = (shape[axis].get_length() if shape[axis].is_static else _ANY_SIDE for axis in (2, 3))
        self._size: SizeWH = (width, height)
        compiled, spec = self._prepared(self._size)
        self.classes = spec.classes
        self._table, self.known = self._class_table(classes, names)
        # Refuses here what could not be learnt from, and tells the features' widths.
        request = compiled.create_infer_request()
        request.infer([_filled(np.zeros((height, width, 3), np.uint8), spec)[None]])
        self._dense(request, spec)
        self.widths = tuple(len(level) for level in self._features(request, self._size))
        """Of its features; none if it shows none."""

    def look(self, levels: U8) -> Taught:
        """`levels` (n, H, W, 3) uint8 RGB, H and W multiples of 32."""
        height, width = levels.shape[1:3]
        compiled, spec = self._prepared((width, height))
        requests: dict[SizeWH, Any] = getattr(self._requests, "by_size", {})
        self._requests.by_size = requests
        if (width, height) not in requests:
            requests[width, height] = compiled.create_infer_request()
        request = requests[width, height]
        scores, boxes, features = [], [], []
        for picture in levels:
            request.infer([_filled(picture, spec)[None]])
            found, where = self._dense(request, spec)
            scores.append(self._mapped(found))
            boxes.append(where)
            features.append(self._features(request, (width, height)))
        return Taught(
            scores=torch.from_numpy(np.stack(scores)),
            known=torch.from_numpy(self.known),
            boxes=torch.from_numpy(np.stack(boxes)),
            features=tuple(torch.from_numpy(np.stack(level)) for level in zip(*features, strict=True)),
        )

    def _dense(self, request: Any, spec: ModelSpec) -> tuple[F32, F32]:
        found, where = dense(spec, {name: value for name, value in self._outputs(request).items() if value.ndim == 3})
        width, height = spec.input.size
        anchors = sum((width // stride) * (height // stride) for stride in STRIDES)
        if len(found) != anchors:
            msg = f"{self.path}: expected {anchors} anchors at {width}x{height} (strides 8, 16, 32), got {len(found)}"
            raise ModelError(msg, hint="a teacher must look at every anchor; others can make pseudo-labels")
        return found, where

    def _outputs(self, request: Any) -> dict[str, npt.NDArray[Any]]:
        return {
            output.get_any_name(): request.get_output_tensor(index).data.copy()
            for index, output in enumerate(self._model.outputs)
        }

    def _features(self, request: Any, size_wh: SizeWH) -> list[F32]:
        """Outputs that are maps at our strides, one each, if it has all three."""
        maps: dict[tuple[int, int], F32] = {}
        for value in self._outputs(request).values():
            if value.ndim == 4:
                maps.setdefault((value.shape[2], value.shape[3]), value[0].astype(np.float32))
        wanted = [(size_wh[1] // stride, size_wh[0] // stride) for stride in STRIDES]
        return [maps[shape] for shape in wanted] if all(shape in maps for shape in wanted) else []

    def _prepared(self, size_wh: SizeWH) -> tuple[Any, ModelSpec]:
        with self._lock:
            if size_wh not in self._sizes:
                model = self._resized(size_wh)
                spec = self._spec(model, size_wh)
                self._sizes[size_wh] = (core().compile_model(model, "CPU", self._settings), spec)
            return self._sizes[size_wh]

    def _resized(self, size_wh: SizeWH) -> Any:
        """The network at another size: its input is reshaped, and so are maps whose size was written into the file."""
        from openvino import PartialShape, opset13

        model = self._model.clone()
        old_w, old_h = self._size
        for node in model.get_ops():
            if node.get_type_name() != "Reshape":
                continue
            shape = node.input_value(1).get_node()
            if shape.get_type_name() != "Constant":
                continue
            sides = shape.get_data().astype(np.int64).tolist()
            for stride in (4, 8, 16, 32, 64):
                if len(sides) > 3 and sides[-2:] == [-(-old_h // stride), -(-old_w // stride)]:
                    sides[-2:] = [-(-size_wh[1] // stride), -(-size_wh[0] // stride)]
                    node.input(1).replace_source_output(opset13.constant(np.array(sides, np.int64)).output(0))
                    break
        try:
            model.get_parameters()[0].set_partial_shape(PartialShape([1, 3, size_wh[1], size_wh[0]]))
            model.validate_nodes_and_infer_types()
        except RuntimeError as error:
            msg = f"{self.path}: cannot be run at {size_wh[0]}x{size_wh[1]}: its own size is fixed"
            raise ModelError(msg, hint="export it with a free size, or train at its size") from error
        return model

    def _spec(self, model: Any, size_wh: SizeWH) -> ModelSpec:
        """The spec of the network at this size: the file's own, or told by what it gives. Raises ModelError."""
        own = self._file
        if spec_path(self.path).exists() or "vedette" in own.metadata:
            said = find_spec(own).spec
            return msgspec.structs.replace(said, input=msgspec.structs.replace(said.input, size=size_wh))
        width, height = size_wh
        (given,) = own.inputs
        outputs = tuple(
            Tensor(name=one.get_any_name(), shape=tuple(one.shape), dtype="float32")
            for one in model.outputs
            if len(one.shape) == 3
        )
        here = (msgspec.structs.replace(given, shape=(1, 3, height, width)),)
        return recognise(msgspec.structs.replace(own, inputs=here, outputs=outputs))

    def _class_table(self, classes: tuple[str, ...], names: Mapping[str, str]) -> tuple[list[Rows], F32]:
        """For each of the student's classes the teacher's that go into it, and whether there is one."""
        mapped = match_classes(self.classes, classes, {name: to for name, to in names.items() if name in self.classes})
        table = [
            np.flatnonzero(mapped.of_model == mapped.names.index(name))
            if name in mapped.names
            else np.zeros(0, np.intp)
            for name in classes
        ]
        return table, np.array([float(len(rows) > 0) for rows in table], np.float32)

    def _mapped(self, scores: F32) -> F32:
        """The highest score of a group's classes."""
        out = np.zeros((len(scores), len(self._table)), np.float32)
        for column, rows in enumerate(self._table):
            if len(rows):
                out[:, column] = scores[:, rows].max(axis=1)
        return out


def _filled(picture: U8, spec: ModelSpec) -> F32:
    """(3, H, W) as the teacher wants its input."""
    ordered = picture if spec.input.colour == "rgb" else picture[..., ::-1]
    values = ordered.transpose(2, 0, 1).astype(np.float32)
    gain = np.array([spec.input.scale / std for std in spec.input.std], np.float32)
    shift = np.array([-mean / std for mean, std in zip(spec.input.mean, spec.input.std, strict=True)], np.float32)
    values *= gain[:, None, None]
    values += shift[:, None, None]
    return values
