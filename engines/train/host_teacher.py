"""A teacher on the host: an ONNX detector of any head that looks at every anchor, run in OpenVINO.

It runs at the very size of the batch (`dense` says why); a file of fixed size is reshaped where only its input and the
maps' sizes in it are fixed, as with NanoDet-Plus. Called by the threads that make batches.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
import torch

from engines.runtimes.openvino_core import core
from engines.spec import ModelSpec
from engines.train.class_table import ClassTable
from engines.train.dense import dense
from engines.train.teacher_file import TeacherFile, feature_maps, new_sides
from engines.train.teachers import Taught
from engines.types import F32, U8, SizeWH
from vedette.errors import ModelError


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
        self._file = TeacherFile(path)
        try:
            self._model = core().read_model(path)
        except RuntimeError as error:
            msg = f"{path}: is no model that OpenVINO reads: {str(error).splitlines()[-1][:200]}"
            raise ModelError(msg) from error
        self._size = self._file.size_wh
        width, height = self._size
        compiled, spec = self._prepared(self._size)
        self.classes = spec.classes
        self._table = ClassTable(self.classes, classes, names)
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
            scores.append(self._table.highest(found))
            boxes.append(where)
            features.append(self._features(request, (width, height)))
        return Taught(
            scores=torch.from_numpy(np.stack(scores)),
            known=torch.from_numpy(self._table.known),
            boxes=torch.from_numpy(np.stack(boxes)),
            features=tuple(torch.from_numpy(np.stack(level)) for level in zip(*features, strict=True)),
        )

    def _dense(self, request: Any, spec: ModelSpec) -> tuple[F32, F32]:
        found, where = dense(spec, {name: value for name, value in self._outputs(request).items() if value.ndim == 3})
        self._file.check_anchors(len(found), spec.input.size)
        return found, where

    def _outputs(self, request: Any) -> dict[str, npt.NDArray[Any]]:
        return {
            output.get_any_name(): request.get_output_tensor(index).data.copy()
            for index, output in enumerate(self._model.outputs)
        }

    def _features(self, request: Any, size_wh: SizeWH) -> list[F32]:
        values = list(self._outputs(request).values())
        found = feature_maps(values, [value.shape for value in values], size_wh)
        return [value[0].astype(np.float32) for value in found]

    def _prepared(self, size_wh: SizeWH) -> tuple[Any, ModelSpec]:
        with self._lock:
            if size_wh not in self._sizes:
                model = self._resized(size_wh)
                spec = self._file.spec(size_wh, [(one.get_any_name(), tuple(one.shape)) for one in model.outputs])
                self._sizes[size_wh] = (core().compile_model(model, "CPU", self._settings), spec)
            return self._sizes[size_wh]

    def _resized(self, size_wh: SizeWH) -> Any:
        """The network at another size: its input is reshaped, and so are maps whose size was written into the file."""
        from openvino import PartialShape, opset13

        model = self._model.clone()
        for node in model.get_ops():
            if node.get_type_name() != "Reshape":
                continue
            shape = node.input_value(1).get_node()
            if shape.get_type_name() != "Constant":
                continue
            old = shape.get_data().astype(np.int64).tolist()
            sides = new_sides(old, self._size, size_wh)
            if sides != old:
                node.input(1).replace_source_output(opset13.constant(np.array(sides, np.int64)).output(0))
        try:
            model.get_parameters()[0].set_partial_shape(PartialShape([1, 3, size_wh[1], size_wh[0]]))
            model.validate_nodes_and_infer_types()
        except RuntimeError as error:
            raise self._file.fixed_size(size_wh) from error
        return model


def _filled(picture: U8, spec: ModelSpec) -> F32:
    """(3, H, W) as the teacher wants its input."""
    ordered = picture if spec.input.colour == "rgb" else picture[..., ::-1]
    values = ordered.transpose(2, 0, 1).astype(np.float32)
    gain = np.array([spec.input.scale / std for std in spec.input.std], np.float32)
    shift = np.array([-mean / std for mean, std in zip(spec.input.mean, spec.input.std, strict=True)], np.float32)
    values *= gain[:, None, None]
    values += shift[:, None, None]
    return values
