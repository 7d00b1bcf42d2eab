"""What is made ahead of the one who needs it, and comes in order.

Planning is Python through and through: in threads it would hold the interpreter's lock, for which the thread that gives
a GPU its work would wait after every operation. So processes plan where a GPU trains.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

from engines.train.planner import BatchPlan, Planner

T = TypeVar("T")


def in_order(begin: Callable[[int], Future[T]], start: int, ahead: int) -> Generator[T]:
    """What comes of `begin` for `start`, `start` + 1, …; `ahead` of them are begun before they are asked for."""
    waiting: deque[Future[T]] = deque()
    step = start
    try:
        while True:
            while len(waiting) < ahead:
                waiting.append(begin(step))
                step += 1
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def planned_ahead(
    planner: Planner, start: int, calm: Callable[[int], bool], *, processes: int, ahead: int
) -> Generator[BatchPlan]:
    """The planner's plans from `start` on, without end, by processes of their own. Close it when done."""
    # Not forked: a fork of a process with threads, let alone a GPU, may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_hold, initargs=(planner,)) as pool:
        yield from in_order(lambda step: pool.submit(_plan, step, calm(step)), start, max(ahead, 2 * processes))


_held: list[Planner] = []  # of a planning process: its one


def _hold(planner: Planner) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it says when it ends
    _held.append(planner)


def _plan(step: int, calm: bool) -> BatchPlan:
    return _held[0].plan(step, calm=calm)
