"""Teachers: other networks that say, for every anchor of the student, what they see there.

An ONNX detector of any head that is known here (YOLOX, NanoDet-Plus, YOLO-NAS, YOLOv8) runs on the CPU in OpenVINO at
the very size of the batch: at equal size the cells of strides 8, 16 and 32 are the student's anchors, in the same
order. NanoDet-Plus's fourth grid, stride 64, is given to the four cells of stride 32 under each of its cells, where it
is the surer. A checkpoint of YOLO-NAS runs in torch, on the student's device, and shows its features too.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engines.datasets import match_classes
from engines.heads.grid import anchor_points
from engines.spec import ModelFile, ModelSpec
from engines.spec import Tensor as TensorInfo
from engines.types import F32, U8, SizeWH
from engines.yolo_nas.variants import STRIDES
from vedette.errors import ModelError

_NANODET_STRIDES = (*STRIDES, 64)
_NANODET_BINS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taught:
    """What a teacher says of n pictures, in the student's classes and at its anchors.

    `scores` (n, A, C) float32; `known` (C,) float32, 1 for classes that the teacher knows; `boxes` (n, A, 4) float32,
    input pixels. `features`: maps (n, K, h, w) at strides 8, 16, 32; empty if the teacher shows none.
    """

    scores: Tensor
    known: Tensor
    boxes: Tensor
    features: tuple[Tensor, ...] = ()

    def to(self, device: torch.device) -> Taught:
        return Taught(
            scores=self.scores.to(device),
            known=self.known.to(device),
            boxes=self.boxes.to(device),
            features=tuple(one.to(device) for one in self.features),
        )


class HostTeacher:
    """An ONNX file, run in OpenVINO. Any number of threads may look at once, each by itself."""

    def __init__(
        self, path: Path, classes: tuple[str, ...], names: Mapping[str, str], *, bf16: bool = True, threads: int = 2
    ) -> None:
        """`names` renames the teacher's classes: {"car": "vehicle", …}. Raises ModelError, DataError."""
        import openvino

        from engines.runtimes.openvino_core import core

        if not path.is_file():
            msg = f"{path}: no such teacher"
            raise ModelError(msg, hint="give an ONNX file, or a checkpoint of YOLO-NAS")
        self.path = path
        self._settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": str(threads),
            "INFERENCE_NUM_THREADS": str(threads),
        }
        self._classes = classes
        self._names = names
        self._lock = threading.Lock()
        self._sizes: dict[SizeWH, tuple[openvino.CompiledModel, ModelSpec]] = {}
        self._requests = threading.local()
        try:
            self._model = core().read_model(path)
        except RuntimeError as error:
            msg = f"{path}: is no model that OpenVINO reads: {str(error).splitlines()[-1][:200]}"
            raise ModelError(msg) from error
        shape = self._model.inputs[0].partial_shape
        fixed = [shape[axis].get_length() if shape[axis].is_static else 416 for axis in (2, 3)]
        self._size: SizeWH = (fixed[1], fixed[0])
        compiled, spec = self._prepared(self._size)
        self._table, self.known = self._class_table(spec)
        request = compiled.create_infer_request()
        request.infer([_filled(np.zeros((self._size[1], self._size[0], 3), np.uint8), spec)[None]])
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
            outputs = {name: value for name, value in self._outputs(request).items() if value.ndim == 3}
            found, where = dense(spec, outputs)
            scores.append(self._mapped(found))
            boxes.append(where)
            features.append(self._features(request, (width, height)))
        return Taught(
            scores=torch.from_numpy(np.stack(scores)),
            known=torch.from_numpy(self.known),
            boxes=torch.from_numpy(np.stack(boxes)),
            features=tuple(torch.from_numpy(np.stack(level)) for level in zip(*features, strict=True)),
        )

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
                from engines.runtimes.openvino_core import core

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
        """The spec of the network at this size, by the file's own words or by its shapes."""
        width, height = size_wh
        file = ModelFile(
            path=str(self.path),
            sha256="",
            bytes=0,
            inputs=(
                TensorInfo(name=self._model.inputs[0].get_any_name(), shape=(1, 3, height, width), dtype="float32"),
            ),
            outputs=tuple(
                TensorInfo(name=one.get_any_name(), shape=tuple(one.shape), dtype="float32")
                for one in model.outputs
                if len(one.shape) == 3
            ),
            metadata={},
        )
        import msgspec

        from engines.recognise import recognise
        from engines.spec import read_spec, spec_path

        if spec_path(self.path).exists():
            spec = read_spec(spec_path(self.path))
            return msgspec.structs.replace(spec, input=msgspec.structs.replace(spec.input, size=size_wh))
        return recognise(file)

    def _class_table(self, spec: ModelSpec) -> tuple[list[npt.NDArray[np.intp]], F32]:
        """For each of the student's classes the teacher's that go into it, and whether there is one."""
        mapped = match_classes(spec.classes, self._classes, self._names)
        table = [
            np.flatnonzero(mapped.of_model == mapped.names.index(name))
            if name in mapped.names
            else np.zeros(0, np.intp)
            for name in self._classes
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


def dense(spec: ModelSpec, outputs: Mapping[str, npt.NDArray[Any]]) -> tuple[F32, F32]:
    """Scores (A, classes) and boxes (A, 4) in input pixels at every anchor of strides 8, 16, 32. Raises ModelError."""
    size_wh = spec.input.size
    if spec.head == "yolo_nas":
        return outputs["scores"][0], outputs["boxes"][0]
    (raw,) = (output[0] for output in outputs.values())
    if spec.head == "yolov8":
        halves = raw[2:4].T / 2
        return np.ascontiguousarray(raw[4:].T), np.concatenate([raw[:2].T - halves, raw[:2].T + halves], axis=1)
    if spec.head == "yolox":
        cells, strides = anchor_points(size_wh, STRIDES)
        centres, halves = (raw[:, :2] + cells) * strides, np.exp(raw[:, 2:4].clip(max=8.0)) * (strides / 2)
        return raw[:, 5:] * raw[:, 4:5], np.concatenate([centres - halves, centres + halves], axis=1)
    if spec.head == "nanodet_plus":
        return _nanodet(raw, len(spec.classes), size_wh)
    msg = f"a teacher with head {spec.head} says nothing at every anchor"
    raise ModelError(msg, hint="use one of yolox, nanodet_plus, yolo_nas, yolov8; others can make pseudo-labels")


def _nanodet(raw: F32, classes: int, size_wh: SizeWH) -> tuple[F32, F32]:
    cells, strides = anchor_points(size_wh, _NANODET_STRIDES)
    logits = raw[:, classes:].reshape(-1, 4, _NANODET_BINS)
    shares = np.exp(logits - logits.max(axis=2, keepdims=True))
    sides = (shares @ np.arange(_NANODET_BINS, dtype=np.float32)) / shares.sum(axis=2) * strides
    points = cells * strides
    boxes = np.concatenate([points - sides[:, :2], points + sides[:, 2:]], axis=1)
    scores = raw[:, :classes]
    width, height = size_wh
    columns, rows = width // 32, height // 32
    coarse_columns = -(-columns // 2)
    first = int((strides[:, 0] < 64).sum())
    y, x = np.divmod(np.arange(rows * columns), columns)
    above = first + (y // 2) * coarse_columns + x // 2
    here = np.arange(first - rows * columns, first)
    surer = scores[above].max(axis=1) > scores[here].max(axis=1)
    scores, boxes = scores[:first].copy(), boxes.copy()
    scores[here[surer]] = raw[above[surer], :classes]
    boxes[here[surer]] = boxes[above[surer]]
    return scores, boxes[:first]


class DeviceTeacher:
    """A checkpoint of YOLO-NAS, fused, on the student's device; features are the maps that go to its heads."""

    def __init__(
        self,
        path: Path,
        classes: tuple[str, ...],
        names: Mapping[str, str],
        device: torch.device,
        *,
        own: Sequence[str] = (),
    ) -> None:
        """`own`: the teacher's class names, if its file has none (else COCO's). Raises ModelError, DataError."""
        from engines.spec import COCO_CLASSES
        from engines.yolo_nas import Form, fuse, load_checkpoint

        found = load_checkpoint(path)
        given = tuple(own) or found.class_names or COCO_CLASSES
        if len(given) != found.network.classes:
            msg = f"{path}: expected the names of its {found.network.classes} classes, got {len(given)}"
            raise ModelError(msg, hint="write class_names into the checkpoint")
        mapped = match_classes(given, classes, names)
        self._network = fuse(found.network, Form.FOLDED).requires_grad_(False).eval().to(device)
        table = torch.zeros(len(given), len(classes), dtype=torch.bool)
        for row, column in enumerate(mapped.of_model.tolist()):
            if column >= 0:
                table[row, classes.index(mapped.names[column])] = True
        self._table = table.to(device)
        self.known = table.any(dim=0).float().to(device)
        self.widths = found.network.variant.neck_out[1:]
        """Of its features."""

    @torch.no_grad()
    def look(self, images: Tensor) -> Taught:
        """`images` (n, 3, H, W) float, RGB / 255."""
        neck = self._network.neck(self._network.backbone(images))
        raw = self._network.gathered(self._network.heads(neck))
        scores = raw.cls_logits.sigmoid()
        mapped = torch.stack(
            [
                scores[:, :, rows].amax(dim=2) if bool(rows.any()) else torch.zeros_like(scores[:, :, 0])
                for rows in self._table.T
            ],
            dim=2,
        )
        features = (neck.neck2.float(), neck.neck3.float(), neck.neck4.float())
        return Taught(scores=mapped, known=self.known, boxes=raw.boxes(), features=features)
