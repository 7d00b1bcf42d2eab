"""What an engine finds in the pictures of a data set.

In:  an open Engine (any runtime), images. Out: `Predictions`, in the order of the images.
Pictures go the running way: `read_still`, `PictureWriter` into the engine's own buffers, heads, suppression, with all
buffers in flight: while the engine works on one, the next is filled and the one before decoded, on this one thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engines.datasets import ClassMap, Image
from engines.engine import Buffer, Completion, Engine, Outputs, Place
from engines.heads import Candidates, build_head
from engines.picture import PictureWriter, Placement
from engines.spec import ModelSpec
from engines.stills import read_still
from engines.suppression import leave_best
from engines.types import Detections, Picture, SizeWH
from vedette.errors import DataError, EngineError, StillError, VedetteError

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
    """One pass on this thread alone: all buffers in flight, and when none is free, the next that comes back is read."""

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
        self._writer = PictureWriter(spec.input)
        self._reader = _Reader(spec, options, class_map, self.shown_score)
        self._found: dict[int, Found] = {}
        self._in_flight: dict[int, tuple[_Slot, ...]] = {}

    def run(self) -> list[Found]:
        buffers = _count_buffers(self._engine)
        try:
            pictures = self._pictures()
            while batch := list(itertools.islice(pictures, self._engine.max_batch)):
                if len(self._in_flight) == buffers:
                    self._take_back()
                self._submit(batch)
            while self._in_flight:
                self._take_back()
        except Exception:
            # The engine is the caller's, and gets all its buffers back. Not after ^C, which may have come in the midst
            # of `completed`: the buffer that was on its way to us would be waited for until doomsday.
            while self._in_flight:
                completion, _ = self._next()
                self._engine.release(completion.buffer)
            raise
        return [self._found[index] for index in range(len(self._images))]

    def _pictures(self) -> Iterator[tuple[int, Picture]]:
        """Those that can be used, with their places among the images."""
        for index, image in enumerate(self._images):
            picture = self._read(index, image)
            if picture is not None:
                yield index, picture

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

    def _submit(self, batch: Sequence[tuple[int, Picture]]) -> None:
        buffer = _acquired(self._engine)
        try:
            slots = tuple(
                _Slot(index, self._writer.write(picture, buffer.array, position))
                for position, (index, picture) in enumerate(batch)
            )
            self._engine.submit(buffer, len(slots))
        except VedetteError:
            self._engine.release(buffer)
            raise
        self._in_flight[id(buffer)] = slots

    def _take_back(self) -> None:
        completion, slots = self._next()
        try:
            if completion.outputs is None:
                raise _failure(completion.error)
            for position, slot in enumerate(slots):
                candidates = self._reader.decode(completion.outputs, position)
                self._found[slot.index] = self._reader.found(candidates, slot.placement)
                self._progress()
        finally:
            self._engine.release(completion.buffer)

    def _next(self) -> tuple[Completion, tuple[_Slot, ...]]:
        """Wait for the next buffer that comes back."""
        completion = self._engine.completed()
        if completion is None:
            self._in_flight.clear()
            raise _failure(None)
        return completion, self._in_flight.pop(id(completion.buffer))


def _failure(error: EngineError | None) -> EngineError:
    return EngineError("the engine was closed while it worked") if error is None else error


def _acquired(engine: Engine) -> Buffer:
    buffer = engine.acquire()
    if buffer is None:
        msg = "the engine is closed"
        raise EngineError(msg)
    if buffer.place is not Place.HOST:
        engine.release(buffer)
        msg = f"pictures in host memory cannot be written to a buffer on the {buffer.place.value}"
        raise EngineError(msg)
    return buffer


def _count_buffers(engine: Engine) -> int:
    """How many buffers may be in flight.

    An engine hands out the one that has been free longest: the first that comes again has seen them all. (From one that
    did otherwise fewer would be in flight, and no harm done.)
    """
    seen: set[int] = set()
    while True:
        buffer = _acquired(engine)
        engine.release(buffer)
        if id(buffer) in seen:
            return len(seen)
        seen.add(id(buffer))


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
