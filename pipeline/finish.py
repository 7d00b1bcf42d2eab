"""The finish thread: takes completed buffers, turns outputs into detections, and gives them to their streams' lanes.

Never waits for a sink. Three engine errors in a row end the process: one is a bad frame, three are a broken engine.
"""

from __future__ import annotations

import logging

from engines.engine import Completion, Engine
from engines.types import Detections
from pipeline.dispatch import ENGINE_ERRORS_IN_A_ROW, Dispatcher
from pipeline.repeats import Repeats
from stages.detect import Detect
from stages.suppress import Suppress
from stages.types import Clock
from vedette.errors import EngineError

logger = logging.getLogger(__name__)

_AT_ONCE = 2
"""So many buffers an engine works on at once (docs/decisions/0005-two-requests.md)."""


class Finisher:
    """`run` is the body of the thread `finish`."""

    def __init__(
        self, engine: Engine, dispatcher: Dispatcher, detect: Detect, suppress: Suppress, clock: Clock
    ) -> None:
        self._engine = engine
        self._dispatcher = dispatcher
        self._detect = detect
        self._suppress = suppress
        self._clock = clock
        self._errors = 0
        self._failed = Repeats()

    def run(self) -> None:
        while completions := self._completed():
            for completion in completions:
                self._finish(completion)

    def _completed(self) -> list[Completion]:
        """Wait for the engine; empty when it is over.

        While the engine has more to do than it works on at once (files only: `engines.runtimes.open_engine`, `ahead`),
        nobody waits for one frame more than for the next, and two are finished together: the second costs a third less,
        since code and data are in the cache.
        """
        completions: list[Completion] = []
        while len(completions) < 2 and (not completions or self._dispatcher.under_way() >= _AT_ONCE + 2):
            completion = self._engine.completed()
            if completion is None:
                break
            completions.append(completion)
        return completions

    def _finish(self, completion: Completion) -> None:
        now_ns = self._clock.mono_ns()
        jobs = self._dispatcher.collect(completion.buffer)
        if completion.outputs is None:
            self._engine.release(completion.buffer)
            self._errors += 1
            failed = self._failed.due(now_ns, len(jobs))
            if failed:
                logger.error("the engine failed on %d frames; the last: %s", failed, completion.error)
            for job in jobs:
                job.lane.failed(job, "engine")
            if self._errors >= ENGINE_ERRORS_IN_A_ROW:
                msg = f"the engine failed {self._errors} times in a row; the last: {completion.error}"
                raise EngineError(msg) from completion.error
            return
        self._errors = 0
        found: list[Detections] = []
        for index, job in enumerate(jobs):
            job.stamps.completed_ns = now_ns
            job.stamps.engine_ns = completion.engine_ns
            assert job.placement is not None
            found.append(self._suppress(self._detect(completion.outputs, index), job.placement))
        # The buffer goes back before tracking: the next frame can be pre-processed meanwhile.
        self._engine.release(completion.buffer)
        for job, detections in zip(jobs, found, strict=True):
            job.lane.detected(job, detections)
