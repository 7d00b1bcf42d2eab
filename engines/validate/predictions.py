"""What an engine finds in the pictures of a data set.

In:  an open Engine (any runtime), images. Out: `Predictions`, in the order of the images.
Pictures go the running way: `read_still`, `PictureWriter` into the engine's own buffers, heads, suppression. While the
engine works on one picture the next is read and the one before is decoded: all its buffers are in flight.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from engines.datasets import ClassMap, Image
from engines.engine import Buffer, Engine, Outputs, Place
from engines.heads import Candidates, build_head
from engines.picture import PictureWriter, Placement
from engines.spec import ModelSpec
from engines.stills import read_still
from engines.suppression import leave_best
from engines.types import Detections, Picture, SizeWH
from vedette.errors import DataError, EngineError, StillError

LEAST_SCORE = 0.01
"""What AP is computed from: lower ones change it by less than it is printed with (README of the seed: the same)."""
MAX_OBJECTS = 300
REACH = 0.1
"""How far below the model's threshold boxes are kept, to tell one that is gone from one that is a little less sure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """`score`: the least for AP; `shown_score`: the least for what running shows, None: the model's own."""

    score: float = LEAST_SCORE
    shown_score: float | None = None
    nms_iou: float | None = None
    max_objects: int = MAX_OBJECTS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What was found in one picture, in source pixels, by the classes of the `Predictions` that this is of.

    `every`: each class of a box that reaches the least score, as AP is measured; `shown`: what the running pipeline
    would give at the model's thresholds; `near`: the same and what is up to `REACH` below. `problem` says why the
    picture could not be used; then all are empty.
    """

    size_wh: SizeWH
    every: Detections
    shown: Detections
    near: Detections
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What one engine found: `found[i]` in `images[i]`; `classes` name the class ids; `runtime` ran it."""

    model: str
    sha256: str
    runtime: str
    classes: tuple[str, ...]
    images: tuple[Image, ...]
    found: tuple[Found, ...]
    shown_score: float

    @property
    def unreadable(self) -> tuple[str, ...]:
        """One line for each picture that could not be used; each names its file."""
        return tuple(found.problem for found in self.found if found.problem is not None)


def predict(
    engine: Engine,
    images: Sequence[Image],
    options: PredictOptions | None = None,
    *,
    class_map: ClassMap | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Predictions:
    """Run the engine over the images. It stays open; `progress` is called once for each image.

    With `class_map`, classes are the map's; what it maps nowhere is left out before suppression, so that a box that is
    both `car` and `truck` is one `vehicle`. A picture that cannot be read is no error: it is named in `unreadable`.
    Raises DataError if none can be read, EngineError.
    """
    spec = engine.spec
    mapped = class_map if class_map is not None else ClassMap.same(spec.classes)
    work = _Work(engine, images, options or PredictOptions(), mapped, progress)
    found = work.run()
    problems = [one.problem for one in found if one.problem is not None]
    if images and len(problems) == len(images):
        msg = f"none of {len(images)} images can be used; the first: {problems[0]}"
        raise DataError(msg)
    return Predictions(
        model=spec.name,
        sha256=spec.sha256,
        runtime=engine.description,
        classes=mapped.names,
        images=tuple(images),
        found=tuple(found),
        shown_score=work.shown_score,
    )


@dataclass(frozen=True, slots=True)
class _Slot:
    """Which image lies in a slot of a buffer, and where."""

    index: int
    placement: Placement


class _Work:
    """One pass: this thread reads and writes pictures, a second one takes what comes back."""

    def __init__(
        self,
        engine: Engine,
        images: Sequence[Image],
        options: PredictOptions,
        class_map: ClassMap,
        progress: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._images = images
        self._progress = progress
        spec = engine.spec
        self.shown_score = spec.score if options.shown_score is None else options.shown_score
        self._reader = _Reader(spec, options, class_map, self.shown_score)
        self._found: dict[int, Found] = {}
        # What was submitted and not yet taken back, None at the end: the second thread waits for nothing else.
        self._submitted: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._slots: dict[int, tuple[_Slot, ...]] = {}
        self._failure: EngineError | None = None

    def run(self) -> list[Found]:
        with ThreadPoolExecutor(1, thread_name_prefix="validate") as pool:
            taker = pool.submit(self._take_back)
            try:
                self._feed()
            finally:
                self._submitted.put(None)
            taker.result()
        if self._failure is not None:
            raise self._failure
        return [self._found[index] for index in range(len(self._images))]

    def _feed(self) -> None:
        writer = PictureWriter(self._engine.spec.input)
        buffer: Buffer | None = None
        slots: list[_Slot] = []
        try:
            for index, image in enumerate(self._images):
                picture = self._read(index, image)
                if picture is None:
                    continue
                if self._failure is not None:
                    return
                if buffer is None:
                    buffer = self._acquire()
                slots.append(_Slot(index, writer.write(picture, buffer.array, len(slots))))
                if len(slots) == self._engine.max_batch:
                    self._submit(buffer, slots)
                    buffer, slots = None, []
            if buffer is not None and slots:
                self._submit(buffer, slots)
                buffer = None
        finally:
            if buffer is not None:
                self._engine.release(buffer)

    def _read(self, index: int, image: Image) -> Picture | None:
        try:
            picture = read_still(image.path)
        except StillError as error:
            self._refuse(index, (0, 0), error.message)
            return None
        if image.size_wh is not None and picture.size_wh != image.size_wh:
            (width, height), (said_width, said_height) = picture.size_wh, image.size_wh
            said = f"{image.path}: the data set says {said_width}x{said_height}, the picture is {width}x{height}"
            self._refuse(index, picture.size_wh, said)
            return None
        return picture

    def _refuse(self, index: int, size_wh: SizeWH, problem: str) -> None:
        nothing = Detections.empty()
        self._found[index] = Found(size_wh=size_wh, every=nothing, shown=nothing, near=nothing, problem=problem)
        self._progress()

    def _acquire(self) -> Buffer:
        buffer = self._engine.acquire()
        if buffer is None:
            msg = "the engine is closed"
            raise EngineError(msg)
        if buffer.place is not Place.HOST:
            self._engine.release(buffer)
            msg = f"pictures in host memory cannot be written to a buffer on the {buffer.place.value}"
            raise EngineError(msg)
        return buffer

    def _submit(self, buffer: Buffer, slots: list[_Slot]) -> None:
        self._slots[id(buffer)] = tuple(slots)
        self._engine.submit(buffer, len(slots))
        self._submitted.put(1)

    def _take_back(self) -> None:
        """The second thread: takes everything back, also after a failure, so that no buffer is waited for in vain."""
        while self._submitted.get() is not None:
            completion = self._engine.completed()
            if completion is None:
                self._failure = self._failure or EngineError("the engine was closed while it worked")
                return
            try:
                if completion.outputs is None:
                    self._failure = self._failure or completion.error or EngineError("the engine gave no result")
                    continue
                for position, slot in enumerate(self._slots[id(completion.buffer)]):
                    candidates = self._reader.decode(completion.outputs, position)
                    self._found[slot.index] = self._reader.found(candidates, slot.placement)
                    self._progress()
            finally:
                self._engine.release(completion.buffer)


class _Reader:
    """Outputs to detections, in the two ways that are wanted."""

    def __init__(self, spec: ModelSpec, options: PredictOptions, class_map: ClassMap, shown_score: float) -> None:
        self._every = build_head(spec, labels="all")
        self._shown = build_head(spec)
        self._score = options.score
        self._shown_score = shown_score
        self._near_score = max(shown_score - REACH, 0.0)
        self._iou = (spec.nms_iou if options.nms_iou is None else options.nms_iou) if self._every.needs_nms else None
        self._max_objects = options.max_objects
        self._map = class_map

    def decode(self, outputs: Outputs, position: int) -> tuple[Candidates, Candidates]:
        return (
            self._mapped(self._every.decode(outputs, position, self._score)),
            self._mapped(self._shown.decode(outputs, position, self._near_score)),
        )

    def found(self, candidates: tuple[Candidates, Candidates], placement: Placement) -> Found:
        every, near = (
            leave_best(one, placement, score=score, iou=self._iou, max_objects=self._max_objects)
            for one, score in zip(candidates, (self._score, self._near_score), strict=True)
        )
        # The surest come first, and what is less sure suppresses nothing.
        count = int((near.scores >= self._shown_score).sum())
        shown = Detections(xyxy_px=near.xyxy_px[:count], scores=near.scores[:count], class_ids=near.class_ids[:count])
        return Found(size_wh=placement.source_wh, every=every, shown=shown, near=near)

    def _mapped(self, candidates: Candidates) -> Candidates:
        class_ids = self._map.of_model[candidates.class_ids]
        kept = class_ids >= 0
        return replace(
            candidates,
            xyxy_px=candidates.xyxy_px[kept],
            scores=candidates.scores[kept],
            class_ids=class_ids[kept].astype(np.int32),
        )
