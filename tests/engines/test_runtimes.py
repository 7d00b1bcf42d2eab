"""The contract of `engines.engine.Engine`, held by every runtime, and what each of them adds."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import engines.runtimes as runtimes
from engines.engine import Buffer, Completion, Engine, Outputs, Place
from engines.options import ModelOptions
from engines.runtimes import open_engine
from engines.runtimes.openvino import OpenVinoEngine
from engines.runtimes.pool import BufferPool, HostBuffer
from engines.spec import find_spec
from engines.types import F32
from tests.support.scripted_engine import ScriptedEngine
from tests.support.tiny_models import HEIGHT, ROWS, SPEC, WIDTH, mean_model, picky_model, slow_model
from vedette.errors import EngineError, MissingExtraError, ModelError

BACKENDS = ("openvino", "onnxruntime")
SCRIPTED = "scripted"
"""What the pipeline's tests use in place of a runtime must keep the same contract."""
LIMIT_S = 30.0
ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "engines/weights/vedette-n-seed_640x384.onnx"


def opened(path: Path, backend: str, **options: Any) -> Engine:
    if backend == SCRIPTED:
        return ScriptedEngine(look=SCRIPTS[path.stem])
    return open_engine(ModelOptions(path=str(path), backend=backend, **options), now_ns=time.monotonic_ns)  # type: ignore[arg-type]


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


@pytest.fixture(scope="module")
def mean_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mean_model(tmp_path_factory.mktemp("mean") / "mean.onnx")


@pytest.fixture(scope="module")
def slow_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_model(tmp_path_factory.mktemp("slow") / "slow.onnx")


@pytest.fixture(scope="module")
def picky_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picky_model(tmp_path_factory.mktemp("picky") / "picky.onnx")


def add_mean(pictures: F32) -> Outputs:
    return {"output": ROWS + pictures.mean(axis=(1, 2, 3), keepdims=True)[:, 0]}


def add_mean_slowly(pictures: F32) -> Outputs:
    threading.Event().wait(0.02)
    return add_mean(pictures)


def refuse_three(pictures: F32) -> Outputs | EngineError:
    return EngineError("cannot reshape to that") if pictures.mean() == 3.0 else {"output": ROWS[None].copy()}


SCRIPTS = {"mean": add_mean, "free": add_mean, "slow": add_mean_slowly, "picky": refuse_three}


@pytest.mark.parametrize("backend", [*BACKENDS, SCRIPTED])
class TestContract:
    def test_outputs_are_those_of_the_picture_in_the_buffer(self, backend: str, mean_path: Path) -> None:
        engine = opened(mean_path, backend)
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
        engine = opened(mean_path, backend)
        buffer = engine.acquire()
        assert buffer is not None

        assert buffer.place is Place.HOST
        assert buffer.array.shape == (engine.max_batch, 3, HEIGHT, WIDTH)
        assert buffer.array.dtype == (np.uint8 if backend == "openvino" else np.float32)
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
        engine = opened(slow_path, backend)
        submit(engine, 1.0)
        submit(engine, 2.0)

        both = [taken(engine), taken(engine)]

        assert both[0].buffer is not both[1].buffer
        means = sorted(float(completion.outputs["output"][0, 0, 0]) for completion in both if completion.outputs)
        assert means == pytest.approx([1.0, 2.0])

    def test_acquire_waits_until_a_buffer_is_released(self, backend: str, mean_path: Path) -> None:
        engine = opened(mean_path, backend)
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
        engine = opened(mean_path, backend)
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
        engine = opened(slow_path, backend)
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
        engine = opened(mean_path, backend)
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

    def test_failing_network_gives_its_buffer_back_with_the_error_and_works_on(
        self, backend: str, picky_path: Path
    ) -> None:
        engine = opened(picky_path, backend)
        submit(engine, 3.0)
        submit(engine, 2.0)

        results = {}
        for _ in range(2):
            completion = taken(engine)
            results[float(completion.buffer.array[0, 0, 0, 0])] = completion
            engine.release(completion.buffer)

        failed, fine = results[3.0], results[2.0]
        assert failed.outputs is None
        assert failed.engine_ns >= 0
        assert isinstance(failed.error, EngineError)
        assert "reshape" in str(failed.error).lower()
        assert "\n" not in str(failed.error)
        assert ".cpp" not in str(failed.error)
        assert fine.error is None
        submit(engine, 2.0)
        assert taken(engine).error is None

    def test_outputs_of_free_shape_are_those_of_their_run(self, backend: str, picky_path: Path) -> None:
        engine = opened(picky_path, backend)
        for _ in range(3):
            submit(engine, 2.0)
            completion = taken(engine)
            assert completion.outputs is not None
            np.testing.assert_array_equal(completion.outputs["output"], ROWS[None])
            engine.release(completion.buffer)

    def test_nan_in_the_input_is_no_error_and_stays_with_its_picture(self, backend: str, mean_path: Path) -> None:
        engine = opened(mean_path, backend)
        if backend == "openvino":
            return  # its buffers hold levels, which are always numbers
        submit(engine, float("nan"))
        first = taken(engine)
        assert first.outputs is not None
        assert np.isnan(first.outputs["output"]).all()
        engine.release(first.buffer)

        submit(engine, 1.0)
        submit(engine, 1.0)

        for _ in range(2):
            completion = taken(engine)
            assert completion.outputs is not None
            assert np.isfinite(completion.outputs["output"]).all()

    @pytest.mark.parametrize("count", [0, 2, -1])
    def test_wrong_number_of_pictures_is_refused_and_the_buffer_stays_with_its_holder(
        self, backend: str, mean_path: Path, count: int
    ) -> None:
        engine = opened(mean_path, backend)
        buffer = engine.acquire()
        assert buffer is not None

        with pytest.raises(EngineError, match=f"expected 1 picture .*, got {count}"):
            engine.submit(buffer, count)

        engine.submit(buffer, 1)
        assert taken(engine).buffer is buffer

    def test_only_the_holder_submits_and_releases(self, backend: str, mean_path: Path) -> None:
        engine, other = opened(mean_path, backend), opened(mean_path, backend)
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
        engine = opened(mean_path, backend)
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
            engine = opened(mean_path, backend)
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
        engine = opened(slow_path, backend)
        start_ns = time.monotonic_ns()
        submit(engine, 1.0)
        completion = taken(engine)

        assert 0 < completion.engine_ns <= time.monotonic_ns() - start_ns

    def test_free_batch_is_run_one_picture_at_a_time(self, backend: str, tmp_path: Path) -> None:
        engine = opened(mean_model(tmp_path / "free.onnx", batch="n"), backend)
        submit(engine, 5.0)

        completion = taken(engine)

        assert engine.max_batch == 1
        assert completion.outputs is not None
        assert completion.outputs["output"].shape == (1, 2, 6)


@pytest.mark.parametrize("backend", BACKENDS)
class TestOfRuntimes:
    def test_description_says_what_runs_where_and_why(self, backend: str, mean_path: Path) -> None:
        engine = opened(mean_path, backend)

        said = engine.description.lower()

        assert said.startswith(backend)
        for part in ("cpu", "as configured", "tiny", " threads", "2 r"):
            assert part in said
        assert "\n" not in said

    def test_same_picture_gives_the_same_bytes_in_either_buffer_alone_or_in_company(self, backend: str) -> None:
        engine = opened(SHIPPED, backend, threads=2)
        levels = np.random.default_rng(2).integers(0, 256, (3, 384, 640), np.uint8)
        seen = set()
        for company in (False, True, False, True, True):
            buffer = engine.acquire()
            assert buffer is not None
            fill(buffer, levels)
            engine.submit(buffer, 1)
            if company:
                submit(engine, 1.0)
            for _ in range(1 + company):
                completion = taken(engine)
                assert completion.outputs is not None
                if completion.buffer is buffer:
                    seen.add(b"".join(completion.outputs[name].tobytes() for name in ("boxes", "scores")))
                engine.release(completion.buffer)
        assert len(seen) == 1

    def test_process_may_end_while_a_run_is_in_flight(self, backend: str, slow_path: Path) -> None:
        code = f"""
import time
from engines.options import ModelOptions
from engines.runtimes import open_engine
engine = open_engine(ModelOptions(path={str(slow_path)!r}, backend={backend!r}), now_ns=time.monotonic_ns)
for _ in range(2):
    engine.submit(engine.acquire(), 1)
"""
        ended = subprocess.run(
            [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT, timeout=60
        )

        assert (ended.returncode, ended.stderr) == (0, "")


def test_runtimes_agree_on_the_shipped_model() -> None:
    levels = np.random.default_rng(3).integers(0, 256, (3, 384, 640), np.uint8)
    results = []
    for backend in BACKENDS:
        engine = opened(SHIPPED, backend)
        buffer = engine.acquire()
        assert buffer is not None
        fill(buffer, levels)
        engine.submit(buffer, 1)
        outputs = taken(engine).outputs
        assert outputs is not None
        results.append({name: np.array(array) for name, array in outputs.items()})

    assert set(results[0]) == set(results[1]) == {"boxes", "scores"}
    np.testing.assert_allclose(results[0]["scores"], results[1]["scores"], atol=1e-4)
    np.testing.assert_allclose(results[0]["boxes"], results[1]["boxes"], atol=0.05)


class TestChoice:
    def test_auto_takes_openvino(self, mean_path: Path) -> None:
        engine = opened(mean_path, "auto")

        assert engine.description.startswith("OpenVINO")
        assert "auto: " in engine.description

    def test_auto_takes_onnxruntime_where_openvino_is_missing(
        self, mean_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runtimes, "_installed", lambda name: name == "onnxruntime")

        engine = opened(mean_path, "auto")

        assert engine.description.startswith("onnxruntime")
        assert "OpenVINO is not installed" in engine.description

    @pytest.mark.parametrize("backend", ["auto", *BACKENDS])
    def test_missing_runtime_is_named_with_its_extra(
        self, mean_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runtimes, "_installed", lambda name: False)

        with pytest.raises(MissingExtraError, match="installed") as error:
            opened(mean_path, backend)
        assert error.value.hint == "pip install 'vedette[cpu]'"

    def test_model_file_cannot_be_read_without_onnxruntime(
        self, mean_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)

        with pytest.raises(MissingExtraError, match="models are read with onnxruntime"):
            runtimes.read_model_file(mean_path)

    def test_bf16_is_openvino_s(self, mean_path: Path) -> None:
        assert "bf16" in opened(mean_path, "openvino", precision="bf16").description
        with pytest.raises(ModelError, match="bf16 is not to be had from onnxruntime"):
            opened(mean_path, "onnxruntime", precision="bf16")

    def test_head_that_does_not_fit_the_outputs_is_refused_at_start(self, tmp_path: Path) -> None:
        path = mean_model(tmp_path / "m.onnx", spec=SPEC.replace("end2end", "yolox"))

        with pytest.raises(ModelError, match=r"head yolox with 2 classes at 64x32 expected .* got output \[1,2,6\]"):
            opened(path, "auto")


def test_openvino_measures_a_request_that_waits_for_another_by_its_own_time(slow_path: Path) -> None:
    """With the LATENCY hint requests run one after the other; the second's wait is not the engine's time."""
    file = runtimes.read_model_file(slow_path)
    engine = OpenVinoEngine(
        file,
        find_spec(file).spec,
        ModelOptions(path=str(slow_path), threads=1),
        now_ns=time.monotonic_ns,
        why="test",
        hint="LATENCY",
    )
    start_ns = time.monotonic_ns()
    submit(engine, 1.0)
    submit(engine, 1.0)

    own_ns = [taken(engine).engine_ns, taken(engine).engine_ns]

    assert min(own_ns) > 0
    assert sum(own_ns) <= time.monotonic_ns() - start_ns


class _Model:
    """The plain definition of a pool: which buffer is where."""

    def __init__(self, count: int) -> None:
        self.free = list(range(count))
        self.held: set[int] = set()
        self.outstanding: set[int] = set()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from("asucr"), st.integers(0, 3)), max_size=60))
def test_pool_is_what_its_plain_definition_is(count: int, steps: list[tuple[str, int]]) -> None:
    buffers = [HostBuffer(np.zeros(1), index) for index in range(count)]
    pool = BufferPool(buffers)
    model = _Model(count)

    for step, index in steps:
        buffer = buffers[index % count]
        held, outstanding = buffer.index in model.held, buffer.index in model.outstanding
        if step == "a" and model.free:
            got = pool.acquire()
            assert got is not None
            assert got.index == model.free.pop(0)
            model.held.add(got.index)
        elif step == "s" and held:
            pool.submitted(buffer)
            model.held.remove(buffer.index)
            model.outstanding.add(buffer.index)
        elif step in "uc" and outstanding:
            (pool.refused if step == "u" else pool.completed)(buffer)
            model.outstanding.remove(buffer.index)
            model.held.add(buffer.index)
        elif step == "r" and held:
            pool.release(buffer)
            model.held.remove(buffer.index)
            model.free.append(buffer.index)
        elif step in "sr":
            with pytest.raises(EngineError, match="does not hold it"):
                (pool.submitted if step == "s" else pool.release)(buffer)
        assert pool.outstanding == len(model.outstanding)
    pool.close()
    assert pool.acquire() is None
