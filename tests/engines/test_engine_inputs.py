"""What engines take beside float32 of a fixed size, and many threads at once; their contract is in test_runtimes.py."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from engines.engine import Completion, Engine
from engines.heads import build_head
from engines.options import ModelOptions
from engines.picture import PictureWriter
from engines.runtimes import open_engine, read_model_file
from engines.runtimes.openvino import OpenVinoEngine
from engines.spec import find_spec
from engines.types import RgbPicture
from tests.support.models import Box, colour_model, painted
from tests.support.shared import SHARED
from vedette.errors import EngineError

BACKENDS = ("openvino", "onnxruntime", "torch")
SIZE = (320, 192)


def opened(path: Path, backend: Any) -> Engine:
    return open_engine(ModelOptions(path=str(path), backend=backend), now_ns=time.monotonic_ns)


def run(engine: Engine, rgb: Any) -> Completion:
    buffer = engine.acquire()
    assert buffer is not None
    PictureWriter(engine.spec.input).write(RgbPicture(rgb=rgb), buffer.array, 0)
    engine.submit(buffer, 1)
    completion = engine.completed()
    assert completion is not None
    assert completion.outputs is not None
    return completion


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_levels_go_in_whatever_type_the_file_says(tmp_path: Path, backend: str, dtype: str) -> None:
    engine = opened(colour_model(tmp_path / "m.onnx", SIZE, dtype=dtype), backend)
    boxes: dict[str, Box] = {"red": (20, 30, 100, 90), "blue": (200, 10, 300, 150)}

    completion = run(engine, painted(SIZE, boxes))

    # OpenVINO and torch make the file's type of levels themselves, as part of the network.
    assert completion.buffer.array.dtype == np.dtype(dtype if backend == "onnxruntime" else "uint8")
    outputs = completion.outputs or {}
    assert {name: (array.shape, array.dtype.name) for name, array in outputs.items()} == {
        "boxes": ((1, 3, 4), "float32"),
        "scores": ((1, 3, 3), "float32"),
    }
    scores = outputs["scores"][0].diagonal()
    assert (scores > 0.9).tolist() == [True, False, True]
    np.testing.assert_allclose(outputs["boxes"][0][[0, 2]], list(boxes.values()), atol=0.1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_threads_share_an_engine_and_each_picture_gets_its_own_result(tmp_path: Path, backend: str) -> None:
    engine = opened(colour_model(tmp_path / "m.onnx", (64, 32)), backend)
    each, feeders, finishers = 60, 4, 3
    lock = threading.Lock()
    seen: list[tuple[int, int]] = []
    fill = [PictureWriter(engine.spec.input) for _ in range(feeders)]

    def feed(thread: int) -> None:
        for number in range(each):
            buffer = engine.acquire()
            assert buffer is not None
            left, top = 2 * (number % 20), 3 * thread
            picture = painted((64, 32), {"green": (left, top, left + 12, top + 8)})
            fill[thread].write(RgbPicture(rgb=picture), buffer.array, 0)
            engine.submit(buffer, 1)

    def finish() -> None:
        while (completion := engine.completed()) is not None:
            assert completion.outputs is not None
            box = completion.outputs["boxes"][0, 1].round().astype(int).tolist()
            assert box[2:] == [box[0] + 12, box[1] + 8]
            lit = np.argwhere(completion.buffer.array[0, 1] > 0.5)
            assert lit[0].tolist() == [box[1], box[0]]
            engine.release(completion.buffer)
            with lock:
                seen.append((box[0] // 2, box[1] // 3))

    with ThreadPoolExecutor(feeders + finishers) as pool:
        ends = [pool.submit(finish) for _ in range(finishers)]
        for fed in [pool.submit(feed, thread) for thread in range(feeders)]:
            fed.result(60)
        engine.close()
        for end in ends:
            end.result(60)
    assert sorted(seen) == sorted((number % 20, thread) for thread in range(feeders) for number in range(each))


def test_buffer_of_an_engine_with_more_requests_is_refused_as_foreign(tmp_path: Path) -> None:
    path = colour_model(tmp_path / "m.onnx", (64, 32))
    file = read_model_file(path)
    options = ModelOptions(path=str(path))
    many = OpenVinoEngine(file, find_spec(file).spec, options, now_ns=time.monotonic_ns, why="test", requests=4)
    few = opened(path, "openvino")
    held = [many.acquire() for _ in range(4)]
    assert held[3] is not None
    for call in (few.release, lambda buffer: few.submit(buffer, 1)):
        with pytest.raises(EngineError, match="this buffer belongs to another engine"):
            call(held[3])


@pytest.mark.skipif(SHARED is None, reason="the teachers are not on this machine")
@pytest.mark.parametrize("backend", BACKENDS)
def test_yolox_of_free_size_finds_at_its_own_size_what_the_fixed_one_finds(tmp_path: Path, backend: str) -> None:
    assert SHARED is not None
    fixed = opened(SHARED / "teachers/yolox_nano_416.onnx", backend)
    free_path = tmp_path / "yolox_nano_dynamic.onnx"
    free_path.symlink_to(SHARED / "teachers/yolox_nano_dynamic.onnx")
    spec = msgspec.to_builtins(fixed.spec) | {"sha256": "", "name": "free"}
    free_path.with_suffix(".yaml").write_bytes(msgspec.yaml.encode(spec))
    free = opened(free_path, backend)
    scene = np.random.default_rng(4).integers(0, 256, (240, 416, 3), np.uint8)

    same = [run(engine, scene).outputs for engine in (fixed, free)]
    np.testing.assert_allclose(same[0]["output"], same[1]["output"], atol=2e-3)  # type: ignore[index]  # run checked it

    spec["input"]["size"] = [640, 384]
    free_path.with_suffix(".yaml").write_bytes(msgspec.yaml.encode(spec))
    wide = opened(free_path, backend)
    outputs = run(wide, scene).outputs
    assert outputs is not None
    assert outputs["output"].shape == (1, 5040, 85)
    build_head(wide.spec).decode(outputs, 0, 0.1)
