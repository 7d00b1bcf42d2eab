"""The synthetic camera measured: CPU a frame, and how much of it a network that knows real streets recognises.

Recall counts what can be expected to be found: of which at least three quarters can be seen and, for people, that is
at least 60 px tall. A found object has the right class (group) and an IoU of at least 0.5 with the true box.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from engines.engine import Engine
from engines.options import ModelOptions
from engines.runtimes import open_engine
from engines.types import Detections, Picture
from pipeline.clock import SystemClock, process_cpu_s
from stages.detect import Detect
from stages.preprocess import Preprocess
from stages.source.synthetic.options import SyntheticOptions
from stages.source.synthetic.render import Renderer
from stages.source.synthetic.scene import Scene
from stages.source.synthetic.truth import TrueObject, true_objects
from stages.suppress import Suppress
from vedette.errors import EngineError

GROUPS = {
    "person": ("person",),
    "vehicle": ("vehicle", "car", "bus", "truck"),
    "bike": ("bike", "bicycle", "motorcycle"),
}
LEAST_VISIBLE, LEAST_PERSON_PX, LEAST_IOU = 0.75, 60.0, 0.5


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """`found` of `expected` objects of a kind."""

    found: int
    expected: int

    @property
    def recall(self) -> float:
        return self.found / self.expected if self.expected else 1.0


class SyntheticReport(msgspec.Struct, frozen=True, kw_only=True):
    """CPU milliseconds a frame by time of day, and recall by time of day and kind (empty without a model)."""

    size: tuple[int, int]
    frames: int
    cpu_ms: dict[str, float]
    recall: dict[str, dict[str, Found]]
    command: str


def bench_synthetic(
    model: ModelOptions | None, *, frames: int, command: str, progress: Callable[[str], None]
) -> SyntheticReport:
    """Measure the default street by day and by night; medians of batches of 50 frames, one thread."""
    import cv2

    cv2.setNumThreads(1)
    cpu_ms: dict[str, float] = {}
    recall: dict[str, dict[str, Found]] = {}
    size = SyntheticOptions().size_wh
    for time in ("day", "night"):
        progress(f"rendering by {time}")
        renderer = Renderer(Scene(SyntheticOptions(time=time)))
        renderer.render(0)
        batches = []
        for start in range(0, frames, 50):
            before = process_cpu_s()
            for frame in range(start, start + 50):
                renderer.render(frame)
            batches.append((process_cpu_s() - before) * 1000 / 50)
        cpu_ms[time] = round(statistics.median(batches), 3)
        if model is not None:
            progress(f"looking by {time}")
            scenes = [SyntheticOptions(time=time, seed=seed) for seed in (1, 2, 3, 4)]
            recall[time] = measure_recall(model, scenes, range(0, 1000, 50))
    return SyntheticReport(size=size, frames=frames, cpu_ms=cpu_ms, recall=recall, command=command)


def measure_recall(model: ModelOptions, scenes: list[SyntheticOptions], frames: range) -> dict[str, Found]:
    """By kind, how many of those that should be seen are seen."""
    engine = open_engine(model, now_ns=SystemClock().mono_ns)
    look = _Look(engine, model)
    found = dict.fromkeys(GROUPS, 0)
    expected = dict.fromkeys(GROUPS, 0)
    try:
        for picture, truths in _frames(scenes, frames):
            detections = look(picture)
            for truth in truths:
                if not _clear(truth):
                    continue
                expected[truth.kind] += 1
                found[truth.kind] += _is_found(truth, detections, engine.spec.classes)
    finally:
        engine.close()
    return {kind: Found(found=found[kind], expected=expected[kind]) for kind in GROUPS}


def _frames(scenes: list[SyntheticOptions], frames: range) -> Iterator[tuple[Picture, tuple[TrueObject, ...]]]:
    for options in scenes:
        scene = Scene(options)
        renderer = Renderer(scene)
        for frame in frames:
            yield renderer.render(frame), true_objects(scene, frame)


def _clear(truth: TrueObject) -> bool:
    tall = truth.xyxy_px[3] - truth.xyxy_px[1]
    return truth.visible >= LEAST_VISIBLE and (truth.kind != "person" or tall >= LEAST_PERSON_PX)


def _is_found(truth: TrueObject, detections: Detections, classes: tuple[str, ...]) -> bool:
    right = np.array([classes[number] in GROUPS[truth.kind] for number in detections.class_ids], bool)
    boxes = detections.xyxy_px[right]
    x1, y1, x2, y2 = truth.xyxy_px
    wide = np.clip(np.minimum(boxes[:, 2], x2) - np.maximum(boxes[:, 0], x1), 0, None)
    tall = np.clip(np.minimum(boxes[:, 3], y2) - np.maximum(boxes[:, 1], y1), 0, None)
    shared = wide * tall
    union = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) + (x2 - x1) * (y2 - y1) - shared
    return bool((shared / union >= LEAST_IOU).any())


class _Look:
    """One picture through the network, one after the other."""

    def __init__(self, engine: Engine, options: ModelOptions) -> None:
        self._engine = engine
        self._preprocess = Preprocess(engine.spec)
        self._suppress = Suppress(engine.spec, options)
        self._detect = Detect(engine.spec, score=self._suppress.score)

    def __call__(self, picture: Picture) -> Detections:
        buffer = self._engine.acquire()
        if buffer is None:
            msg = "the engine was closed"
            raise EngineError(msg)
        placement = self._preprocess.write(picture, buffer, 0)
        self._engine.submit(buffer, 1)
        completion = self._engine.completed()
        if completion is None or completion.error is not None or completion.outputs is None:
            msg = "the engine gave no result"
            raise EngineError(msg) from (None if completion is None else completion.error)
        detections = self._suppress(self._detect(completion.outputs, 0), placement)
        self._engine.release(buffer)
        return detections
