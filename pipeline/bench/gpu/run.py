"""The measurements themselves, each for a process of its own, over whatever `Instruments` they are given.

The whole machine is the one that `vedette run` runs, and the measuring is `pipeline/bench/child.py`'s; what is added is
what its lanes tell of each batch, the driver's samples meanwhile, and a short trace after it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engines.cuda.surfaces import InputType
from engines.engine import Engine
from engines.runtimes import open_engine, read_model_file
from engines.runtimes.device_lanes import DeviceLane
from engines.runtimes.lanes import LaneEngine
from engines.runtimes.stage_times import BatchTimes
from engines.spec import find_spec
from engines.types import SizeWH
from pipeline.bench.child import WARM_UP_S, Probe, measure_pipeline
from pipeline.bench.gpu.bandwidth import COPY_BYTES, REPEATS, measure_bandwidth
from pipeline.bench.gpu.figures import Utilization
from pipeline.bench.gpu.instruments import Instruments
from pipeline.bench.gpu.sample import DeviceSample, GroundSample, NetworkSample, Traced, batches_of
from pipeline.bench.gpu.surfaces import PICTURES, DevicePicture, first_pictures, surfaces_of
from pipeline.config import Config
from pipeline.status import Status
from stages.preprocess import Preprocess
from stages.types import Clock
from vedette.errors import EngineError

if TYPE_CHECKING:
    from pipeline.assembly import Machine
    from pipeline.stream import Opener

TRACE_S = 0.5
LOOK_EVERY_S = 0.1
DTYPES: tuple[InputType, ...] = ("uint8", "float16")
BATCHES = (8, 32)
"""What runs as a rule (`engines.runtimes.torch.GPU_BATCH`), and what the kernel itself can do when a launch no longer
counts."""

EngineOpener = Callable[..., Engine]


def measure_surfaces(
    config: Config,
    instruments: Instruments,
    clock: Clock,
    *,
    seconds: float,
    engine_opener: EngineOpener = open_engine,
    pictures: int = PICTURES,
) -> DeviceSample:
    """The machine over pictures that lie on the device already."""
    with instruments.here():
        opener = surfaces_of(config.streams, clock, instruments.device, pictures)
    return _measured(config, instruments, seconds, "surfaces", engine_opener, opener)


def measure_decoded(
    config: Config,
    instruments: Instruments,
    *,
    seconds: float,
    engine_opener: EngineOpener = open_engine,
    opener: Opener | None = None,
) -> DeviceSample:
    """The machine over the files themselves, decoded on the GPU where it takes them."""
    return _measured(config, instruments, seconds, "nvdec", engine_opener, opener)


def _measured(
    config: Config,
    instruments: Instruments,
    seconds: float,
    kind: str,
    engine_opener: EngineOpener,
    opener: Opener | None,
) -> DeviceSample:
    probe = _DeviceProbe(instruments)
    sample = measure_pipeline(
        config, seconds=seconds, rate=None, kind=kind, opener=opener, engine_opener=engine_opener, probe=probe
    )
    return DeviceSample(
        sample=sample,
        engine=probe.engine,
        max_batch=probe.max_batch,
        batches=batches_of(probe.times),
        utilization=probe.utilization,
        traced=probe.traced,
        why_untraced=probe.why_untraced,
        decoders=probe.decoders,
        sizes=probe.sizes,
    )


class _DeviceProbe(Probe):
    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._watch = instruments.watch()
        self.times: list[BatchTimes] = []
        self.engine = ""
        self.max_batch = 0
        self.utilization: Utilization | None = None
        self.traced: Traced | None = None
        self.why_untraced = ""
        self.decoders: dict[str, str] = {}
        self.sizes: dict[str, SizeWH] = {}

    def opened(self, machine: Machine) -> None:
        engine = lane_engine(machine.engine)
        self.engine, self.max_batch = engine.description, engine.max_batch
        engine.record(self.times.append)

    def wait(self, clock: Clock, over: threading.Event, seconds: float) -> None:
        end_ns = clock.mono_ns() + int(seconds * 1e9)
        while (left_s := (end_ns - clock.mono_ns()) / 1e9) > 0:
            if clock.wait(over, min(left_s, LOOK_EVERY_S)):
                return
            self._watch.look()

    def closed(self, machine: Machine) -> None:
        lane_engine(machine.engine).record(None)
        self.utilization = self._watch.seen()
        self._told(machine.status())

    def after(self, machine: Machine, clock: Clock, over: threading.Event, settled: Callable[[], int]) -> None:
        width, height = machine.engine.spec.input.size
        picture = min([3 * width * height, *(wide * high for wide, high in self.sizes.values())])
        try:
            with self._instruments.here():
                tracing = self._instruments.trace()
                before, start_ns = settled(), clock.mono_ns()
                clock.wait(over, TRACE_S)
                frames, elapsed_ns = settled() - before, clock.mono_ns() - start_ns
                trace = tracing.end()
        except EngineError as error:
            self.why_untraced = error.message
            return
        across = (*trace.to_device, *trace.to_host)
        self.traced = Traced(
            seconds=elapsed_ns / 1e9,
            frames=frames,
            operations=trace.operations,
            busy=round(trace.busy_ms / trace.span_ms, 4) if trace.span_ms else 0.0,
            to_device_bytes=sum(trace.to_device),
            to_host_bytes=sum(trace.to_host),
            largest_bytes=max(across, default=0),
            picture_bytes=picture,
            pictures_across=sum(copy >= picture for copy in across),
        )

    def _told(self, status: Status) -> None:
        for name, report in status.streams.items():
            self.decoders[name] = report.decoder or "CPU"
            if report.size is not None:
                self.sizes[name] = report.size


def lane_engine(engine: Engine) -> LaneEngine:
    """An engine whose lanes tell of their batches. Raises EngineError for one of a CPU."""
    if isinstance(engine, LaneEngine) and engine.lanes and isinstance(engine.lanes[0], DeviceLane):
        return engine
    msg = f"expected an engine on a GPU, got {engine.description}"
    raise EngineError(msg, hint="model.backend: torch or tensorrt, and a model file that they take")


def measure_network(
    config: Config,
    instruments: Instruments,
    clock: Clock,
    *,
    seconds: float,
    engine_opener: EngineOpener = open_engine,
    warm_up_s: float = WARM_UP_S,
) -> NetworkSample:
    """The network on real pictures that lie in its input: nothing is copied, prepared or suppressed."""
    engine = lane_engine(engine_opener(config.model, now_ns=clock.mono_ns, at_most=config.batch.max))
    with instruments.here():
        _fill(engine, first_pictures(config.streams[0], clock, instruments.device, engine.max_batch))
        lanes = [lane for lane in engine.lanes if isinstance(lane, DeviceLane)]
        for lane in lanes:
            lane.start_network()
        _turns(lanes, clock, warm_up_s)
        start_ns = clock.mono_ns()
        times = _turns(lanes, clock, seconds)
        elapsed_s = (clock.mono_ns() - start_ns) / 1e9
        for lane in lanes:
            lane.network_ns()
    engine.close()
    return NetworkSample(
        engine=engine.description,
        max_batch=engine.max_batch,
        lanes=len(lanes),
        seconds=elapsed_s,
        frames=len(times) * engine.max_batch,
        batch_ms=times,
    )


def _fill(engine: LaneEngine, pictures: Sequence[DevicePicture]) -> None:
    """A full batch through every lane, so that what lies in their inputs is pictures. Raises EngineError."""
    preprocess = Preprocess(engine.spec)
    buffers = [engine.acquire() for _ in engine.lanes]
    for buffer in buffers:
        assert buffer is not None  # nobody has closed it
        for slot in range(engine.max_batch):
            preprocess.write(pictures[slot % len(pictures)], buffer, slot)
        engine.submit(buffer, engine.max_batch)
    for _ in buffers:
        completion = engine.completed()
        assert completion is not None
        engine.release(completion.buffer)
        if completion.error is not None:
            raise completion.error


def _turns(lanes: Sequence[DeviceLane], clock: Clock, seconds: float) -> list[float]:
    """The milliseconds of all batches that end within the time; each lane is started anew as soon as it is done."""
    times: list[float] = []
    end_ns = clock.mono_ns() + int(seconds * 1e9)
    while clock.mono_ns() < end_ns:
        for lane in lanes:
            times.append(lane.network_ns() / 1e6)
            lane.start_network()
    return times


def measure_ground(
    config: Config,
    instruments: Instruments,
    clock: Clock,
    *,
    pictures: int = PICTURES,
    copy_bytes: int = COPY_BYTES,
    repeats: int = REPEATS,
) -> GroundSample:
    """The GPU itself, with pictures of the first stream for the configured network's input."""
    spec = find_spec(read_model_file(Path(config.model.path))).spec.input
    with instruments.here():
        made = first_pictures(config.streams[0], clock, instruments.device, pictures)
    bandwidth = measure_bandwidth(
        instruments,
        spec,
        [picture.surface() for picture in made],
        DTYPES,
        BATCHES,
        copy_bytes=copy_bytes,
        repeats=repeats,
    )
    return GroundSample(facts=instruments.facts, bandwidth=bandwidth)
