"""The dispatch thread: chooses frames as late as possible and feeds the engine.

Waits until an engine buffer is free *and* a frame is ready, asks the batcher, pre-processes into that buffer, submits.
The engine is never idle while a frame waits, and what is analysed is the newest.

In:  `offer` (source threads). Out: submitted buffers; `collect` gives the finish thread the jobs of a buffer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

from engines.engine import Buffer, Engine
from pipeline.batcher import Batcher, Take
from pipeline.lane import Job
from pipeline.repeats import Repeats
from stages.preprocess import Preprocess
from stages.types import Clock, StreamId
from vedette.errors import EngineError, PictureError

logger = logging.getLogger(__name__)

ENGINE_ERRORS_IN_A_ROW = 3
"""One engine error is a bad frame; so many in a row are a broken engine and end the process (DESIGN: Failure)."""


class Dispatcher:
    """Owns the batcher and its lock. `run` is the body of the thread `dispatch`."""

    def __init__(
        self,
        engine: Engine,
        preprocess: Preprocess,
        lossless: Mapping[StreamId, bool],
        clock: Clock,
        *,
        batch_max: int,
        wait_ns: int,
    ) -> None:
        self._engine = engine
        self._preprocess = preprocess
        self._clock = clock
        self._limit = min(batch_max, engine.max_batch)
        self._batcher: Batcher[Job] = Batcher(lossless, wait_ns=wait_ns)
        self._condition = threading.Condition()
        self._closed = False
        self._submitted: dict[int, Sequence[Job]] = {}
        self._refusals = 0
        self._waits_for_company = wait_ns > 0
        self._unfit: dict[StreamId, Repeats] = {}
        self._refused = Repeats()

    def offer(self, job: Job) -> None:
        """Let a frame wait for the engine; what it supersedes, or itself after `close`, leaves its lane at once."""
        with self._condition:
            refused = self._closed
            superseded = None if refused else self._batcher.offer(job.frame.stream, job, self._clock.mono_ns())
            self._condition.notify()
        if refused:
            job.lane.abandoned(job)
        elif superseded is not None:
            superseded.lane.superseded(superseded)

    def close(self) -> None:
        """Accept no more; the thread ends when what waits has been submitted."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def run(self) -> None:
        while (buffer := self._engine.acquire()) is not None:
            if not self._feed(buffer):
                self._engine.release(buffer)
                return

    def under_way(self) -> int:
        """How many buffers are with the engine, or came back and were not collected yet."""
        return len(self._submitted)

    def collect(self, buffer: Buffer) -> Sequence[Job]:
        """The jobs that were submitted with `buffer`, in the order of its slots; once for each submission."""
        with self._condition:
            jobs = self._submitted.pop(id(buffer))
            self._batcher.done(len(jobs))
            if self._waits_for_company:  # which it does not while the engine has nothing else to do
                self._condition.notify()
            return jobs

    def _feed(self, buffer: Buffer) -> bool:
        """Wait for frames and submit them in `buffer`; False when closed and nothing waits."""
        # A function of its own, so that while the thread waits nothing holds the pictures of the frames before.
        while jobs := self._take():
            if self._submit(buffer, jobs):
                return True
        return False

    def _take(self) -> tuple[Job, ...]:
        """Wait for work; empty when closed and nothing waits."""
        with self._condition:
            while True:
                now_ns = self._clock.mono_ns()
                take: Take[Job] = self._batcher.take(self._limit, now_ns)
                if take.wake_at_ns is not None and self._closed:  # no more company will come
                    take = self._batcher.take(self._limit, take.wake_at_ns)
                if take.items:
                    for job in take.items:
                        job.stamps.chosen_ns = now_ns
                    return take.items
                if take.wake_at_ns is not None:
                    self._condition.wait((take.wake_at_ns - now_ns) / 1e9)
                elif self._closed:
                    return ()
                else:
                    self._condition.wait()

    def _submit(self, buffer: Buffer, jobs: Sequence[Job]) -> bool:
        """Pre-process and start the engine; False if no frame was fit for it, and the buffer is still ours."""
        fit: list[Job] = []
        for job in jobs:
            try:
                job.placement = self._preprocess.write(job.frame.picture, buffer, len(fit))
            except PictureError as error:
                self._say_unfit(job, error)
                job.lane.failed(job, "pixel_format")
            else:
                fit.append(job)
            # Now, not when the network is through: a decoder that lacks memory for a picture takes more, and keeps it.
            job.frame.picture.release()
        with self._condition:
            self._batcher.done(len(jobs) - len(fit))
            if not fit:
                return False
            self._submitted[id(buffer)] = fit
        now_ns = self._clock.mono_ns()
        for job in fit:
            job.stamps.submitted_ns = now_ns
        try:
            self._engine.submit(buffer, len(fit))
        except EngineError as error:
            refused = self._refused.due(now_ns, len(fit))
            if refused:
                logger.error("the engine refused %d frames; the last: %s", refused, error)
            for job in self.collect(buffer):
                job.lane.failed(job, "engine")
            self._refusals += 1
            if self._refusals >= ENGINE_ERRORS_IN_A_ROW:
                raise
            return False
        self._refusals = 0
        return True

    def _say_unfit(self, job: Job, error: PictureError) -> None:
        """Tell of a frame that could not be converted; a camera whose every frame is such is told of now and then."""
        stream = job.frame.stream
        count = self._unfit.setdefault(stream, Repeats()).due(self._clock.mono_ns())
        if count:
            extra = {"stream": stream, "frame_seq": job.frame.seq}
            logger.warning(
                "stream %s: %d frames could not be converted; the last: %s", stream, count, error, extra=extra
            )
