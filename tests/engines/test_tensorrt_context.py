"""Execution contexts by a script, in the host's memory: what is bound where, what is captured, what lanes make of it.

TensorRT itself runs on a GPU only (tests/gpu). The script is tests/support/scripted_tensorrt.py; the runner and the
lanes over it are what runs on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engines.av_picture import AvPicture
from engines.cuda.av_surface import SurfaceAvPicture
from engines.options import GpuOptions, ModelOptions
from engines.runtimes import cuda, tensorrt
from engines.runtimes.device_lanes import DeviceLane, batch_sizes
from engines.runtimes.gpus import Gpu
from engines.runtimes.graphs import graphs_said
from engines.runtimes.lanes import LaneEngine
from engines.runtimes.placement import GpuFullError, chosen_gpus
from engines.runtimes.surface_lanes import LaneKernels, SurfaceLane
from engines.runtimes.tensorrt_api import Said, TensorRt
from engines.runtimes.tensorrt_context import ContextRunner
from engines.spec import InputSpec
from engines.spec import Tensor as TensorSpec
from engines.suppression import rules_of
from engines.types import Picture
from tests.engines.cuda.host import HostKernels
from tests.engines.test_surface_lanes import found_in, frame, same
from tests.engines.test_tensorrt import manifest
from tests.engines.test_torch_on_gpus import HostRuntime
from tests.support.engine_contract import submit, taken
from tests.support.host_device import HostDevice, HostStream
from tests.support.scripted_tensorrt import INPUT, ScriptedContext, ScriptedEngine, scripted_api
from tests.support.specs import small_spec
from tests.support.surface_engine import COLOURS, Host, colour_network
from vedette.errors import EngineError, GpuError

SPEC = InputSpec(size=(4, 2), scale=0.5, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0))


@pytest.fixture(autouse=True)
def _a_stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """And one thread of torch's: they wait for each other in vain where the cores are busy."""
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=77))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mean_engine(kind: str = "HALF", gives: str = "FLOAT") -> ScriptedEngine:
    """Gives the mean of each picture's channels, as `mean` (n, 3)."""
    return ScriptedEngine(lambda values: {"mean": values.mean(axis=(2, 3))}, {"mean": (3,)}, kind, gives)


def runner(engine: ScriptedEngine, *, rtx: bool = False, spec: InputSpec = SPEC) -> ContextRunner:
    return ContextRunner(scripted_api(rtx=rtx), engine, (), Said(), spec)


def levels(count: int = 4) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, 3, 2, 4), np.uint8))


def means(given: Tensor) -> npt.NDArray[np.float64]:
    values = given.numpy() * 0.5 - np.array(SPEC.mean)[:, None, None]
    return np.asarray((values / np.array(SPEC.std)[:, None, None]).mean(axis=(2, 3)))


class TestContexts:
    @pytest.mark.parametrize("kind", ["HALF", "FLOAT"])
    def test_levels_become_values_in_the_contexts_own_input(self, kind: str) -> None:
        engine, given = mean_engine(kind), levels()
        run = runner(engine)

        run.prepare(given, (1, 2, 4))
        outputs = run.run(given, 4)

        assert run.takes == (torch.float16 if kind == "HALF" else torch.float32)
        assert all(context.addresses[INPUT] != given.data_ptr() for context in engine.contexts)
        np.testing.assert_allclose(outputs["mean"].numpy(), means(given), atol=0.02)
        assert engine.contexts[-1].streams == [77]

    @pytest.mark.parametrize("kind", ["HALF", "FLOAT"])
    def test_values_are_read_where_they_lie(self, kind: str) -> None:
        engine = mean_engine(kind)
        run = runner(engine)
        values = torch.rand((4, 3, 2, 4)).to(run.takes)

        run.prepare(values, (1, 2, 4))
        outputs = run.run(values, 4)

        assert {context.addresses[INPUT] for context in engine.contexts} == {values.data_ptr()}
        np.testing.assert_allclose(outputs["mean"].numpy(), values.float().mean(dim=(2, 3)).numpy(), atol=1e-3)

    def test_half_precision_comes_out_as_float(self) -> None:
        run, given = runner(mean_engine(gives="HALF")), levels()

        run.prepare(given, (4,))

        outputs = run.run(given, 4)
        assert outputs["mean"].dtype == torch.float32
        np.testing.assert_allclose(outputs["mean"].numpy(), means(given), atol=0.1)

    @pytest.mark.parametrize("rtx", [False, True])
    def test_each_size_has_a_context_of_its_own_and_all_of_them_one_memory(self, rtx: bool) -> None:
        engine, given = mean_engine(), levels()
        run = runner(engine, rtx=rtx)

        run.prepare(given, (1, 2, 4))
        for size in (4, 2, 4, 1):
            run.run(given, size)

        assert [context.shape for context in engine.contexts] == [(size, 3, 2, 4) for size in (1, 2, 4)]
        assert [len(context.streams) for context in engine.contexts] == [1, 1, 2]
        assert len({context.memory for context in engine.contexts}) == 1
        assert len({tuple(context.addresses.items()) for context in engine.contexts}) == 1
        # TensorRT-RTX is to have its kernels before they are captured.
        eager = [config.dynamic_shapes_kernel_specialization_strategy for config in engine.configs]
        assert eager == (["eager"] * 3 if rtx else [])

    def test_what_a_context_refuses_is_an_error(self) -> None:
        full, still, small = mean_engine(), mean_engine(), mean_engine()
        full.room_for, still.runs, small.takes_shapes = 0, False, False

        with pytest.raises(GpuFullError, match="TensorRT 11 cannot make an execution context"):
            runner(full).prepare(levels(), (1,))
        with pytest.raises(EngineError, match="TensorRT 11 does not take a batch of 4"):
            runner(small).prepare(levels(), (4,))
        run = runner(still)
        run.prepare(levels(), (1,))
        with pytest.raises(EngineError, match="TensorRT 11 did not start a run"):
            run.run(levels(), 1)

    def test_output_whose_shape_depends_on_the_picture_is_refused(self) -> None:
        engine = ScriptedEngine(lambda values: {"found": values}, {"found": (-1, 6)}, "FLOAT")

        with pytest.raises(EngineError, match=r"output found has a shape that depends on the picture, \(1, -1, 6\)"):
            runner(engine).prepare(levels(), (1,))


def test_script_has_no_words_of_its_own() -> None:
    """What the runner asks of it are names of the real module, which can be imported without a GPU."""
    import tensorrt_rtx as trt

    context = "set_input_shape set_device_memory set_tensor_address get_tensor_shape execute_async_v3"
    engine = (
        "num_io_tensors device_memory_size_v2 create_runtime_config create_execution_context get_tensor_name "
        "get_tensor_mode get_tensor_dtype"
    )
    config = "set_execution_context_allocation_strategy dynamic_shapes_kernel_specialization_strategy"
    for real, names in ((trt.IExecutionContext, context), (trt.ICudaEngine, engine), (trt.IRuntimeConfig, config)):
        assert [name for name in names.split() if not hasattr(real, name)] == []
    for scripted, names in ((ScriptedContext, context), (ScriptedEngine, engine)):
        assert {name for name in vars(scripted) if not name.startswith("_")} - {"memory", "shape"} == set(names.split())
    assert trt.ExecutionContextAllocationStrategy.USER_MANAGED
    assert trt.DynamicShapesKernelSpecializationStrategy.EAGER


def lane_of(engine: ScriptedEngine, device: HostDevice, batch: int = 4) -> DeviceLane:
    return DeviceLane(device, runner(engine), SPEC.size, batch, 0)


class Operations(TorchDispatchMode):
    """What torch is asked to do, and which of it gives a tensor that lies in none of the memory that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.done: set[str] = set()
        self.took_memory: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.done.add(name)
        known = {_memory(one) for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        if any(_memory(one) not in known for one in tree_leaves(given) if isinstance(one, Tensor)):
            self.took_memory.add(name)
        return given


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@pytest.mark.parametrize("kind", ["HALF", "FLOAT"])
def test_once_a_lane_runs_nothing_takes_memory(kind: str) -> None:
    """Of the device's, that is, which torch would have to find for each batch; a context's run is one operation."""
    anchors = 12

    def network(values: npt.NDArray[Any]) -> Mapping[str, npt.NDArray[Any]]:
        shapes = {"boxes": (len(values), anchors, 4), "scores": (len(values), anchors, len(COLOURS.classes))}
        return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}

    engine = ScriptedEngine(network, {"boxes": (anchors, 4), "scores": (anchors, len(COLOURS.classes))}, kind)
    kernels = LaneKernels(preprocess=HostKernels("host_preprocess"), nms=HostKernels("host_nms"))
    rules = rules_of(COLOURS, ModelOptions(path="none"))
    lane = SurfaceLane(HostDevice(), runner(engine, spec=COLOURS.input), COLOURS, rules, kernels, 4, 0)
    asked = LaneEngine([lane], COLOURS, "TensorRT, scripted")
    picture = frame({"red": (80, 40, 280, 300)})

    with Operations() as torchs:
        for _ in range(3):
            found_in(asked, [SurfaceAvPicture(picture), AvPicture(picture), SurfaceAvPicture(picture)])

    assert "copy_" in torchs.done
    assert torchs.took_memory == set()


class TestCapture:
    def test_every_size_is_captured_before_there_is_work_and_replayed_from_then_on(self) -> None:
        engine, device = mean_engine(), HostDevice()
        lane = lane_of(engine, device)
        (stream,) = device.streams
        assert (stream.captures, stream.replays) == (3, 3)
        assert [len(context.streams) for context in engine.contexts] == [5, 5, 5]  # three to warm up, one, and replayed
        asked = LaneEngine([lane], small_spec("yolo_nas"), "TensorRT, scripted")

        for count, ran in ((3, 4), (2, 2), (1, 1), (4, 4)):
            buffer = asked.acquire()
            assert buffer is not None
            buffer.array[:] = levels().numpy()
            asked.submit(buffer, count)
            completion = taken(asked)
            assert completion.outputs is not None
            np.testing.assert_allclose(completion.outputs["mean"], means(levels())[:count], atol=0.02)
            assert stream.names[-2] == f"vedette: network, batch {ran}"
            asked.release(buffer)

        assert (stream.captures, stream.replays) == (3, 7)

    def test_network_alone_can_be_timed(self) -> None:
        engine, device = mean_engine(), HostDevice()
        lane = lane_of(engine, device)
        (stream,) = device.streams

        lane.start_network()

        assert lane.network_ns() > 0
        assert stream.replays == 4
        assert len(engine.contexts[-1].streams) == 6  # the full batch
        assert [context.shape for context in engine.contexts][-1] == (4, 3, 2, 4)

    def test_what_cannot_be_captured_runs_all_the_same_and_is_told_once(self, caplog: pytest.LogCaptureFixture) -> None:
        engines, device = [mean_engine() for _ in range(2)], HostDevice("not permitted when stream is capturing")
        lanes = [lane_of(engine, device) for engine in engines]
        asked = LaneEngine(lanes, small_spec("yolo_nas"), "TensorRT, scripted")

        with caplog.at_level(logging.WARNING):
            said = graphs_said(lanes)
        submit(asked, 3.0)
        outputs = taken(asked).outputs

        assert said == "no CUDA graphs"
        assert caplog.messages == [
            "no CUDA graphs, so that each run takes the CPU longer to start: not permitted when stream is capturing"
        ]
        assert outputs is not None
        np.testing.assert_allclose(outputs["mean"], means(torch.full((1, 3, 2, 4), 3)), atol=0.02)
        assert [stream.replays for stream in device.streams] == [0, 0]

    def test_lane_whose_runs_are_captured_says_so(self, caplog: pytest.LogCaptureFixture) -> None:
        assert graphs_said([lane_of(mean_engine(), HostDevice())]) == "CUDA graphs"
        assert caplog.messages == []

    def test_memory_that_is_used_up_by_a_capture_is_no_reason_to_go_on_without(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It would be missing under load instead."""

        def full(*_: object) -> Any:
            msg = "CUDA out of memory. Tried to allocate 2.00 GiB."
            raise torch.cuda.OutOfMemoryError(msg)

        monkeypatch.setattr(HostStream, "capture", full)

        with pytest.raises(torch.cuda.OutOfMemoryError):
            lane_of(mean_engine(), HostDevice())


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Error Code 1: Cuda Runtime (out of memory)", GpuFullError),
        ("Requested amount of GPU memory (29360128 bytes) could not be allocated.", GpuFullError),
        ("The engine plan file is not compatible with this version of TensorRT", EngineError),
    ],
)
def test_engine_for_which_there_is_no_memory_is_told_from_one_that_is_not_taken(
    said: str, kind: type[EngineError]
) -> None:
    class Logger:
        INTERNAL_ERROR, ERROR = "internal error", "error"

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, _: bytes) -> None:
            self._logger.log("error", "IRuntime::deserializeCudaEngine: failed")
            self._logger.log("error", said)

    api = TensorRt(module=SimpleNamespace(ILogger=Logger, Runtime=Runtime), flavour="TensorRT", version="11")

    with pytest.raises(EngineError, match="mine: TensorRT 11 does not take the engine: IRuntime::") as error:
        tensorrt.deserialized(api, b"", "mine")

    assert type(error.value) is kind


class TestOpened:
    """What `open_tensorrt` makes of engines once it has them: on two GPUs, whose memory is the host's."""

    GPUS = tuple(Gpu(name="NVIDIA RTX A2000", capability=(8, 6), index=index) for index in range(2))

    def opened(self, monkeypatch: pytest.MonkeyPatch, engines: Sequence[ScriptedEngine], gpu: GpuOptions) -> LaneEngine:
        waiting = list(engines)
        monkeypatch.setattr(tensorrt, "_torch", lambda: torch)
        monkeypatch.setattr(tensorrt, "deserialized", lambda *_: (waiting.pop(0), (), Said()))
        monkeypatch.setattr(cuda, "CudaRuntime", HostRuntime)
        images = TensorSpec(name=INPUT, shape=(-1, 3, 96, 160), dtype="float32")
        plan = manifest(inputs=(images,), batches=(1, 4, 4), spec=COLOURS), b""
        options = ModelOptions(path="none", gpu=gpu)
        gpus = chosen_gpus(gpu, self.GPUS)
        return tensorrt._run(scripted_api(), {self.GPUS[0].name: plan}, COLOURS, options, gpus, "as configured")

    def test_each_gpu_and_each_engine_has_its_own_and_all_of_them_are_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engines = [colours_in_tensorrt("FLOAT") for _ in range(4)]

        opened = self.opened(monkeypatch, engines, GpuOptions(devices=(0, 1), engines=2, contexts=3))

        assert opened.description == (
            "TensorRT 11 on NVIDIA RTX A2000 (GPUs 0, 1) (as configured), colours, INT8, CUDA graphs, batch 4, "
            "12 runs in flight"
        )
        sizes = len(batch_sizes(4))
        assert [len(engine.contexts) for engine in engines] == [3 * sizes] * 4
        lanes = [engine.contexts[start : start + sizes] for engine in engines for start in range(0, 3 * sizes, sizes)]
        assert len({lane[0].memory for lane in lanes}) == 12  # what runs at the same time computes in memory of its own

    def test_context_for_which_there_is_no_memory_is_one_line_that_says_what_to_lower(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engines = [colours_in_tensorrt("FLOAT") for _ in range(2)]
        engines[1].room_for = 5

        with pytest.raises(GpuError) as error:
            self.opened(monkeypatch, engines, GpuOptions(devices=(0, 1)))

        (line,) = error.value.lines()
        assert line.startswith(
            "GpuError: GPU 1 (NVIDIA RTX A2000): context 2 of 2, for 4 pictures a run, does not fit (TensorRT 11 "
            "cannot make an execution context: it does not say why; "
        )
        assert line.endswith("; lower model.gpu.contexts (2) or batch.max (4)")


def colours_in_tensorrt(kind: str) -> ScriptedEngine:
    network = colour_network().network

    def run(values: npt.NDArray[Any]) -> Mapping[str, npt.NDArray[Any]]:
        with torch.inference_mode():
            boxes, scores = network(torch.from_numpy(values))
        return {"boxes": boxes.numpy(), "scores": scores.numpy()}

    anchors = 3 * len(COLOURS.classes)
    return ScriptedEngine(run, {"boxes": (anchors, 4), "scores": (anchors, len(COLOURS.classes))}, kind)


@pytest.mark.parametrize("kind", ["HALF", "FLOAT"])
@pytest.mark.parametrize("refuses", [None, "not permitted"])
def test_pictures_on_the_device_are_found_by_contexts_as_by_torch(kind: str, refuses: str | None) -> None:
    """The whole lane: the kernel writes the contexts' input, graphs or none, kernels read their outputs."""
    options = ModelOptions(path="none")
    engine, host = colours_in_tensorrt(kind), Host()
    kernels = LaneKernels(preprocess=host.preprocess, nms=HostKernels("host_nms"))
    lanes = [
        SurfaceLane(
            HostDevice(refuses),
            runner(engine, spec=COLOURS.input),
            COLOURS,
            rules_of(COLOURS, options),
            kernels,
            4,
            index,
        )
        for index in range(2)
    ]
    asked = LaneEngine(lanes, COLOURS, "TensorRT, scripted")
    for number in (1, 3, 4, 2):
        frames = [frame({"red": (80 * place, 40, 80 * place + 200, 300)}) for place in range(number)]
        # The last one was decoded by the CPU.
        pictures: list[Picture] = [SurfaceAvPicture(one) for one in frames[:-1]]

        found = found_in(asked, [*pictures, AvPicture(frames[-1])])

        for got, wanted in zip(found, found_in(host.levels(), [AvPicture(one) for one in frames]), strict=True):
            same(got, wanted)
    assert len(engine.contexts) == 2 * len(batch_sizes(4))
