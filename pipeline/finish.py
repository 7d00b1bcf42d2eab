"""The finish thread: takes completed buffers, turns outputs into detections, and gives them to their streams' lanes.

Never waits for a sink. Three engine errors in a row end the process: one is a bad frame, three are a broken engine.
"""

from __future__ import annotations

import itertools
import logging

from engines.engine import Completion, Engine
from engines.types import Detections
from pipeline.dispatch import ENGINE_ERRORS_IN_A_ROW, Dispatcher
from pipeline.lane import Job, Lane
from pipeline.repeats import Repeats
from stages.detect import Detect
from stages.suppress import Suppress
from stages.types import Clock
from vedette.errors import EngineError

logger = logging.getLogger(__name__)

# So many buffers an engine works on at once, and so many are finished together (docs/decisions/0005-two-requests.md).
_AT_ONCE = 2
_TOGETHER = 4


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
            self._let_out(completions)
            del completions

    def _completed(self) -> list[Completion]:
        """Wait for the engine; empty when it is over.

        While the engine has more to do than it works on at once (files only: `engines.runtimes.open_engine`, `ahead`),
        nobody waits for one frame more than for the next, and several are finished together: those after the first cost
        a third less, since code and data are in the cache, and the sinks' threads wake once for all.
        """
        completions: list[Completion] = []
        while len(completions) < _TOGETHER and (
            not completions or self._dispatcher.under_way() >= _AT_ONCE + _TOGETHER
        ):
            completion = self._engine.completed()
            if completion is None:
                break
            completions.append(completion)
        return completions

    def _let_out(self, completions: list[Completion]) -> None:
        # A function of its own, so that while the thread waits nothing holds the frames before.
        found = [pair for completion in completions for pair in self._finish(completion)]
        for lane, pairs in itertools.groupby(found, key=_lane):
            lane.detected(list(pairs))

    def _finish(self, completion: Completion) -> list[tuple[Job, Detections]]:
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
            return []
        self._errors = 0
        found: list[Detections] = []
        for index, job in enumerate(jobs):
            job.stamps.completed_ns = now_ns
            job.stamps.engine_ns = completion.engine_ns
            assert job.placement is not None
            found.append(self._suppress(self._detect(completion.outputs, index), job.placement))
        # The buffer goes back before tracking: the next frame can be pre-processed meanwhile.
        self._engine.release(completion.buffer)
        return list(zip(jobs, found, strict=True))


def _lane(pair: tuple[Job, Detections]) -> Lane:
    return pair[0].lane
