"""The contract of `engines.engine.Engine`, held by every runtime, and what each of them adds."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import engines.runtimes as runtimes
from engines.engine import Engine, Outputs
from engines.options import ModelOptions
from engines.runtimes import open_engine
from engines.runtimes.openvino import OpenVinoEngine
from engines.runtimes.pool import BufferPool, HostBuffer
from engines.spec import find_spec
from engines.types import F32
from tests.support.engine_contract import LEVELS, EngineContract, fill, submit, taken
from tests.support.scripted_engine import ScriptedEngine
from tests.support.tiny_models import ROWS, SPEC, mean_model, picky_model, slow_model
from vedette.errors import EngineError, ModelError

BACKENDS = ("openvino", "onnxruntime", "torch")
SCRIPTED = "scripted"
"""What the pipeline's tests use in place of a runtime must keep the same contract."""
ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "engines/weights/vedette-n-seed_640x384.onnx"


def opened(path: Path, backend: str, *, batch: int | None = None, **options: Any) -> Engine:
    if backend == SCRIPTED:
        return ScriptedEngine(look=SCRIPTS[path.stem], batch=batch or 1)
    wanted = ModelOptions(path=str(path), backend=backend, **options)  # type: ignore[arg-type]  # of BACKENDS
    return open_engine(wanted, now_ns=time.monotonic_ns, batch=batch)


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
class TestContract(EngineContract):
    def opened(self, path: Path, backend: str, *, batch: int | None = None) -> Engine:
        return opened(path, backend, batch=batch)


@pytest.mark.parametrize("backend", [*BACKENDS, SCRIPTED])
class TestOnACpu:
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
        if backend in LEVELS:
            return  # their buffers hold levels, which are always numbers
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

    def test_model_around_the_gate_is_called_unverified(self, backend: str, tmp_path: Path) -> None:
        engine = opened(mean_model(tmp_path / "m.onnx", spec=SPEC + "unverified: true\n"), backend)

        assert "tiny (unverified)" in engine.description

    def test_file_of_one_picture_is_no_batch(self, backend: str, mean_path: Path) -> None:
        with pytest.raises(ModelError, match=r"mean\.onnx: takes one picture at a time, expected a free batch for 4"):
            opened(mean_path, backend, batch=4)

    def test_int8_that_the_file_is_not_is_refused(self, backend: str, mean_path: Path) -> None:
        with pytest.raises(ModelError, match=r"precision: int8, but \S+mean\.onnx is a float file") as error:
            opened(mean_path, backend, precision="int8")
        assert error.value.hint is not None
        assert error.value.hint.startswith("`vedette model quantize")

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
from engines.runtimes.gpus import Gpu
from engines.runtimes.onnx_numbers import FLOAT, Activations, Numbers
engine = open_engine(ModelOptions(path={str(slow_path)!r}, backend={backend!r}), now_ns=time.monotonic_ns)
for _ in range(2):
    engine.submit(engine.acquire(), 1)
"""
        ended = subprocess.run(
            [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT, timeout=60
        )

        assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_signal_is_handled_after_an_engine_went_in_another_thread(backend: str, mean_path: Path) -> None:
    """OpenVINO's plugin left the first thread a stack for signals that was no longer there: exit status -11."""
    code = f"""
import signal, threading, time
from engines.options import ModelOptions
from engines.runtimes import open_engine
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
options = ModelOptions(path={str(mean_path)!r}, backend={backend!r})
held = [open_engine(options, now_ns=time.monotonic_ns)]
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
signal.raise_signal(signal.SIGTERM)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT, timeout=60
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "handled\n", "")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_an_engines_threads_stand_behind_the_pipelines(slow_path: Path, backend: str) -> None:
    """A stage that has something to do would wait for the engine's slice to end, at each of a live frame's steps."""
    code = f"""
import os, time
from engines.options import ModelOptions
from engines.runtimes import open_engine

def threads():
    return {{int(thread) for thread in os.listdir("/proc/self/task")}}

def place(thread):
    return os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)

before, own = threads(), place(0)
options = ModelOptions(path={str(slow_path)!r}, backend={backend!r})
engine = open_engine(options, now_ns=time.monotonic_ns, gives_way=True)
for buffer in [engine.acquire(), engine.acquire()]:
    buffer.array[:] = 0
    engine.submit(buffer, 1)
for _ in range(2):
    engine.release(engine.completed().buffer)
started = threads() - before
assert started
assert all(policy == os.SCHED_IDLE or nice == own[1] + 5 for policy, nice in map(place, started))
assert place(0) == own
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT, timeout=60
    )

    assert (ended.returncode, ended.stderr) == (0, "")


def test_runtimes_agree_on_the_shipped_model() -> None:
    levels = np.random.default_rng(3).integers(0, 256, (3, 384, 640), np.uint8)
    results: list[dict[str, npt.NDArray[Any]]] = []
    for backend in BACKENDS:
        engine = opened(SHIPPED, backend)
        buffer = engine.acquire()
        assert buffer is not None
        fill(buffer, levels)
        engine.submit(buffer, 1)
        outputs = taken(engine).outputs
        assert outputs is not None
        results.append({name: np.array(array) for name, array in outputs.items()})

    for result in results:
        assert set(result) == {"boxes", "scores"}
        np.testing.assert_allclose(result["scores"], results[0]["scores"], atol=1e-4)
        np.testing.assert_allclose(result["boxes"], results[0]["boxes"], atol=0.05)


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
