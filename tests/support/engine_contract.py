"""The contract of `engines.engine.Engine`: one class that every runtime must pass, on whatever machine runs it.

A test class derives from it, says how its engines are opened, and is parametrized with `backend`. Engines are given
pictures of one level and answer with rows to which that level is added (tests/support/tiny_models.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engines.engine import Buffer, Completion, Engine, Place
from tests.support.tiny_models import HEIGHT, ROWS, WIDTH, mean_model
from vedette.errors import EngineError

LEVELS = ("openvino", "torch", "tensorrt")
"""Their buffers hold levels (uint8), whatever type the file takes."""
LIMIT_S = 30.0


def submit(engine: Engine, level: float) -> None:
    buffer = engine.acquire()
    assert buffer is not None
    buffer.array[:] = level
    engine.submit(buffer, 1)


def fill(buffer: Buffer, levels: npt.NDArray[np.uint8]) -> None:
    """A picture of levels 0..255 as the shipped model wants it: bytes, or values 0..1."""
    buffer.array[0] = levels if buffer.array.dtype == np.uint8 else levels / np.float32(255)


def taken(engine: Engine) -> Completion:
    completion = engine.completed()
    assert completion is not None
    return completion


def in_thread(function: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


class EngineContract:
    """To be parametrized with `backend`, a name that `opened` understands.

    Wants the fixtures `mean_path` and `slow_path`: the models of these names, each with its spec.
    """

    def opened(self, path: Path, backend: str, *, batch: int | None = None) -> Engine:
        raise NotImplementedError

    def test_outputs_are_those_of_the_picture_in_the_buffer(self, backend: str, mean_path: Path) -> None:
        engine = self.opened(mean_path, backend)
        for level in (3.0, 0.0, 250.0):
            submit(engine, level)
            completion = taken(engine)

            assert completion.error is None
            assert completion.count == 1
            assert completion.outputs is not None
            np.testing.assert_allclose(completion.outputs["output"], (ROWS + level)[None], rtol=1e-5)
            assert set(completion.outputs) == {"output"}
            engine.release(completion.buffer)

    def test_buffer_is_the_engine_s_own_input_memory_on_the_host(self, backend: str, mean_path: Path) -> None:
        engine = self.opened(mean_path, backend)
        buffer = engine.acquire()
        assert buffer is not None

        assert buffer.place is Place.HOST
        assert buffer.array.shape == (engine.max_batch, 3, HEIGHT, WIDTH)
        assert buffer.array.dtype == (np.uint8 if backend in LEVELS else np.float32)
        assert buffer.array is buffer.array
        # One view taken once serves for ever: it is no copy that someone would have to carry over.
        view = buffer.array[0, 1]
        for level in (1.0, 7.0):
            buffer.array[:] = 0.0
            view[:] = 3 * level
            engine.submit(buffer, 1)
            completion = taken(engine)
            assert completion.buffer is buffer
            assert completion.outputs is not None
            np.testing.assert_allclose(completion.outputs["output"][0], ROWS + level, rtol=1e-5)

            # A buffer that came back may also be submitted again by the one who took it.
        engine.release(buffer)

    def test_two_buffers_are_in_flight_and_both_keep_their_outputs_until_released(
        self, backend: str, slow_path: Path
    ) -> None:
        engine = self.opened(slow_path, backend)
        submit(engine, 1.0)
        submit(engine, 2.0)

        both = [taken(engine), taken(engine)]

        assert both[0].buffer is not both[1].buffer
        means = sorted(float(completion.outputs["output"][0, 0, 0]) for completion in both if completion.outputs)
        assert means == pytest.approx([1.0, 2.0])

    def test_acquire_waits_until_a_buffer_is_released(self, backend: str, mean_path: Path) -> None:
        engine = self.opened(mean_path, backend)
        held = [engine.acquire(), engine.acquire()]
        got: list[object] = []
        waiter = in_thread(lambda: got.append(engine.acquire()))
        waiter.join(0.05)
        assert waiter.is_alive()
        assert held[0] is not None

        engine.release(held[0])

        waiter.join(LIMIT_S)
        assert got == [held[0]]

    def test_close_wakes_those_who_wait_for_a_buffer_or_a_result(self, backend: str, mean_path: Path) -> None:
        engine = self.opened(mean_path, backend)
        for _ in range(2):
            engine.acquire()
        got: list[object] = []
        waiters = [
            in_thread(lambda: got.append(engine.acquire())),
            in_thread(lambda: got.append(engine.completed())),
            in_thread(lambda: got.append(engine.completed())),
        ]

        engine.close()

        for waiter in waiters:
            waiter.join(LIMIT_S)
        assert got == [None, None, None]

    def test_what_was_submitted_completes_after_close(self, backend: str, slow_path: Path) -> None:
        engine = self.opened(slow_path, backend)
        submit(engine, 1.0)
        submit(engine, 2.0)

        engine.close()
        engine.close()

        means = []
        while (completion := engine.completed()) is not None:
            assert completion.outputs is not None
            means.append(float(completion.outputs["output"][0, 0, 0]))
            engine.release(completion.buffer)
        assert sorted(means) == pytest.approx([1.0, 2.0])
        assert engine.acquire() is None

    def test_buffer_acquired_before_close_can_be_submitted_or_released(self, backend: str, mean_path: Path) -> None:
        engine = self.opened(mean_path, backend)
        first, second = engine.acquire(), engine.acquire()
        assert first is not None
        assert second is not None
        first.array[:] = 4.0

        engine.close()
        engine.submit(first, 1)
        engine.release(second)

        completion = taken(engine)
        assert completion.outputs is not None
        assert float(completion.outputs["output"][0, 0, 0]) == pytest.approx(4.0)
        assert engine.completed() is None

    @pytest.mark.parametrize("count", [0, 2, -1])
    def test_wrong_number_of_pictures_is_refused_and_the_buffer_stays_with_its_holder(
        self, backend: str, mean_path: Path, count: int
    ) -> None:
        engine = self.opened(mean_path, backend)
        buffer = engine.acquire()
        assert buffer is not None

        with pytest.raises(EngineError, match=f"expected 1 picture .*, got {count}"):
            engine.submit(buffer, count)

        engine.submit(buffer, 1)
        assert taken(engine).buffer is buffer

    def test_only_the_holder_submits_and_releases(self, backend: str, mean_path: Path) -> None:
        engine, other = self.opened(mean_path, backend), self.opened(mean_path, backend)
        buffer, foreign = engine.acquire(), other.acquire()
        assert buffer is not None
        assert foreign is not None

        with pytest.raises(EngineError, match="belongs to another engine"):
            engine.submit(foreign, 1)
        with pytest.raises(EngineError, match="belongs to another engine"):
            engine.release(foreign)
        engine.submit(buffer, 1)
        with pytest.raises(EngineError, match="does not hold it"):
            engine.submit(buffer, 1)
        with pytest.raises(EngineError, match="does not hold it"):
            engine.release(buffer)
        engine.release(taken(engine).buffer)
        with pytest.raises(EngineError, match="does not hold it"):
            engine.release(buffer)

    def test_every_submitted_buffer_comes_back_exactly_once(self, backend: str, mean_path: Path) -> None:
        engine = self.opened(mean_path, backend)
        levels = np.random.default_rng(1).permutation(250).astype(np.float32)
        got: list[float] = []

        def finish() -> None:
            while (completion := engine.completed()) is not None:
                assert completion.outputs is not None
                got.append(float(completion.outputs["output"][0, 0, 0]))
                assert got[-1] == pytest.approx(float(completion.buffer.array[0, 0, 0, 0]), rel=1e-5)
                engine.release(completion.buffer)

        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(finish)
            for level in levels:
                submit(engine, float(level))
            engine.close()
            done.result(LIMIT_S)

        np.testing.assert_allclose(sorted(got), np.arange(250), rtol=1e-5)

    def test_close_while_others_work_loses_nothing(self, backend: str, mean_path: Path) -> None:
        for delay_s in (0.0, 0.001, 0.005):
            engine = self.opened(mean_path, backend)
            submitted, back = [0], [0]

            def dispatch(engine: Engine = engine, submitted: list[int] = submitted) -> None:
                while (buffer := engine.acquire()) is not None:
                    engine.submit(buffer, 1)
                    submitted[0] += 1

            def finish(engine: Engine = engine, back: list[int] = back) -> None:
                while (completion := engine.completed()) is not None:
                    back[0] += 1
                    engine.release(completion.buffer)

            threads = [in_thread(dispatch), in_thread(finish)]
            threading.Event().wait(delay_s)
            engine.close()
            for thread in threads:
                thread.join(LIMIT_S)
                assert not thread.is_alive()
            # The dispatcher may have submitted its last buffer after the finisher saw nothing outstanding.
            finish()
            assert submitted == back

    def test_time_is_the_engine_s_own(self, backend: str, slow_path: Path) -> None:
        engine = self.opened(slow_path, backend)
        start_ns = time.monotonic_ns()
        submit(engine, 1.0)
        completion = taken(engine)

        assert 0 < completion.engine_ns <= time.monotonic_ns() - start_ns

    def test_batch_gives_each_picture_its_own_outputs(self, backend: str, tmp_path: Path) -> None:
        engine = self.opened(mean_model(tmp_path / "free.onnx", batch="n"), backend, batch=3)
        for count in (3, 2, 1):
            buffer = engine.acquire()
            assert buffer is not None
            levels = np.arange(10 * count, 10 * count + 3)
            buffer.array[:] = levels[:, None, None, None]
            engine.submit(buffer, count)
            completion = taken(engine)

            assert completion.count == count
            assert completion.outputs is not None
            np.testing.assert_allclose(completion.outputs["output"], ROWS + levels[:count, None, None], rtol=1e-5)
            engine.release(completion.buffer)
        buffer = engine.acquire()
        assert buffer is not None
        assert buffer.array.shape == (3, 3, HEIGHT, WIDTH)
        with pytest.raises(EngineError, match=r"expected 1 .*, got 4"):
            engine.submit(buffer, 4)
