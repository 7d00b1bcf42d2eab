"""The kernels of engines/cuda on a GPU: what tests/engines/cuda holds against the definition on the host, there.

Memory and streams are torch's, as they are when Vedette runs. Run with `make test-gpu`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engines.cuda.compilers import Compiler, Nvcc, Nvrtc
from engines.cuda.launch import Launch
from engines.cuda.loader import Kernels, load_kernels
from engines.cuda.suppression import (
    FLAGS,
    Memory,
    detections,
    found_type,
    placed_records,
    rules_record,
    scratch_bytes,
    suppression_launches,
)
from engines.cuda.surfaces import Filter, InputType, preprocess_launch, surface_records, target_record
from engines.heads.yolo_nas import YoloNasHead
from engines.runtimes.gpus import find_gpus
from engines.spec import InputSpec
from engines.suppression import leave_best
from engines.types import YuvMatrix
from engines.validate.plain_picture import plain_levels
from tests.engines.cuda.plain_area import area_levels
from tests.engines.cuda.surfaces import picture_of, surface_of
from tests.engines.cuda.test_nms import SPEC, crowd
from tests.engines.cuda.test_preprocess import FURTHEST, MEAN, REAL, WITHIN_ONE, inside
from vedette.errors import EngineError, MissingExtraError

GPUS = find_gpus()

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason="there is no NVIDIA GPU, or no driver")]


class Device:
    """Arrays on the device, kept alive as long as this; and a stream."""

    def __init__(self) -> None:
        self._kept: list[torch.Tensor] = []
        torch.zeros(1, device="cuda")  # makes the primary context current
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own

    def put(self, array: npt.NDArray[Any]) -> int:
        """The address of a copy of the array and, if it is a view, of all between its rows."""
        whole = array if array.base is None else array.base
        tensor = torch.from_numpy(np.ascontiguousarray(whole).view(np.uint8).reshape(-1).copy()).cuda()
        self._kept.append(tensor)
        return tensor.data_ptr()

    def room(self, size: int) -> torch.Tensor:
        tensor = torch.randint(0, 256, (size,), dtype=torch.uint8, device="cuda")
        self._kept.append(tensor)
        return tensor

    def run(self, kernels: Kernels, *launches: Launch) -> None:
        torch.cuda.synchronize()
        for launch in launches:
            kernels.launch(launch, self._stream.cuda_stream)
        self._stream.synchronize()


@pytest.fixture(params=[Nvrtc, Nvcc])
def compiler(request: pytest.FixtureRequest) -> Compiler:
    try:
        found: Compiler = request.param()
    except MissingExtraError as error:
        pytest.skip(error.message)
    return found


@pytest.mark.parametrize("layout", ["nv12", "p01x", "grey"])
@pytest.mark.parametrize("how", ["bilinear", "area"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_batch_is_what_the_plain_definition_says(
    compiler: Compiler, layout: str, how: Filter, dtype: InputType
) -> None:
    spec = InputSpec(size=(640, 384), scale=1.0)
    batch = [
        picture_of(layout, size_wh, matrix=matrix, full_range=full_range, pads=(3 * turn, turn), seed=turn)
        for turn, size_wh in enumerate(REAL)
        for matrix, full_range in [(YuvMatrix.BT709, False), (YuvMatrix.BT601, True)]
    ]
    device = Device()
    records, placements = surface_records([surface_of(planes, device.put) for planes in batch], spec)
    width, height = spec.size
    out = device.room(len(batch) * 3 * height * width * np.dtype(dtype).itemsize)

    device.run(
        load_kernels("preprocess", GPUS[0].capability, compiler=compiler),
        preprocess_launch(
            spec,
            dtype,
            len(batch),
            records=device.put(records),
            target=device.put(target_record(spec, dtype, how)),
            out=out.data_ptr(),
        ),
    )

    slots = out.cpu().numpy().view(dtype).reshape(len(batch), 3, height, width).astype(np.float64)
    for planes, slot, placement in zip(batch, slots, placements, strict=True):
        expected = (plain_levels if how == "bilinear" else area_levels)(planes, placement.inner_wh)
        error = np.abs(inside(slot, placement) - np.moveaxis(expected, -1, 0))
        assert error.mean() <= MEAN
        assert (error <= 1).mean() >= WITHIN_ONE
        assert error.max() <= FURTHEST


@pytest.mark.parametrize("anchors", [1, 64, 500, 5040])
@pytest.mark.parametrize("iou", [0.0, 0.3, 0.65, None])
@pytest.mark.parametrize("most", [1, 300])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_boxes_that_stay_are_those_of_a_cpu(
    compiler: Compiler, anchors: int, iou: float | None, most: int, dtype: Any
) -> None:
    batch = crowd(anchors, 4, anchors)
    boxes, scores = batch.boxes.astype(dtype), batch.scores.astype(dtype)
    device = Device()
    scratch = {name: device.room(size) for name, size in scratch_bytes(4, anchors, most).items()}
    memory = Memory(
        rules=device.put(rules_record(anchors, scores.shape[2], score=0.5, iou=iou, max_objects=most)),
        pictures=device.put(np.array([4], np.int32)),
        placed=device.put(placed_records(batch.placements)),
        boxes=device.put(boxes),
        scores=device.put(scores),
        **{name: tensor.data_ptr() for name, tensor in scratch.items()},
    )

    kernels = load_kernels("nms", GPUS[0].capability, flags=FLAGS, compiler=compiler)
    device.run(kernels, *suppression_launches(memory, 4, anchors, dtype))

    found = detections(scratch["out"].cpu().numpy().view(found_type(most)))
    head = YoloNasHead(SPEC)
    for index, (got, placement) in enumerate(zip(found, batch.placements, strict=True)):
        candidates = head.decode({"boxes": boxes, "scores": scores}, index, 0.5)
        expected = leave_best(candidates, placement, score=0.5, iou=iou, max_objects=most)
        np.testing.assert_array_equal(got.xyxy_px, expected.xyxy_px)
        np.testing.assert_array_equal(got.scores, expected.scores)
        np.testing.assert_array_equal(got.class_ids, expected.class_ids)


def test_kernel_that_there_is_not_is_one_clear_error(compiler: Compiler) -> None:
    device = Device()
    kernels = load_kernels("nms", GPUS[0].capability, flags=FLAGS, compiler=compiler)

    with pytest.raises(EngineError, match="cuModuleGetFunction failed: CUDA_ERROR_NOT_FOUND"):
        device.run(kernels, Launch(kernel="missing", grid=(1, 1, 1), block=(1, 1, 1), arguments=()))
