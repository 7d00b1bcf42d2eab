"""Starts, names and joins every thread; the first failure stops the others and is raised with its cause.

No thread outlives the supervisor unless it is blocked in somebody else's code past the deadline: such a thread is
left behind (they are daemons) and named, and what it yields later is refused by the parts that it feeds.
Called by `pipeline/assembly.py` and by tests.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from stages.types import Clock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ThreadFailure:
    """An exception that left a thread's function."""

    thread: str
    error: BaseException


class Supervisor:
    """A group of threads that live and end together.

    `stop` is set when the group shall end: by `request_stop`, or by the first thread that fails. Parts that wait for
    something else register a waker with `on_stop`, which is called once, from the thread that requested the stop.
    """

    def __init__(self, clock: Clock) -> None:
        self.stop = threading.Event()
        self._clock = clock
        self._threads: list[threading.Thread] = []
        self._wakers: list[Callable[[], None]] = []
        self._failure: ThreadFailure | None = None
        self._lock = threading.Lock()

    @property
    def failure(self) -> ThreadFailure | None:
        """The first failure, if there was one."""
        with self._lock:
            return self._failure

    def on_stop(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when the group shall end; at once if it already shall."""
        with self._lock:
            if not self.stop.is_set():
                self._wakers.append(wake)
                return
        wake()

    def spawn(self, name: str, body: Callable[[], None]) -> threading.Thread:
        """Start `body` in a thread called `name`; whatever it raises ends the group."""

        def run() -> None:
            try:
                body()
            except BaseException as error:  # noqa: BLE001 - the top of a thread: recorded, raised by `join`
                self._fail(name, error)

        thread = threading.Thread(target=run, name=name, daemon=True)
        with self._lock:
            self._threads.append(thread)
        thread.start()
        return thread

    def request_stop(self) -> None:
        """Ask every thread to end; idempotent, from any thread."""
        with self._lock:
            if self.stop.is_set():
                return
            self.stop.set()
            wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    def join(self, prefix: str = "", timeout_s: float | None = None) -> list[str]:
        """Wait for the threads whose names start with `prefix`; return the names of those still alive then."""
        deadline = None if timeout_s is None else self._clock.mono_ns() + int(timeout_s * 1e9)
        with self._lock:
            threads = [thread for thread in self._threads if thread.name.startswith(prefix)]
        for thread in threads:
            left = None if deadline is None else max(0.0, (deadline - self._clock.mono_ns()) / 1e9)
            thread.join(left)
        return [thread.name for thread in threads if thread.is_alive()]

    def native_ids(self) -> dict[str, int]:
        """Kernel thread ids by name, of the threads that have started: for CPU accounting."""
        with self._lock:
            return {thread.name: thread.native_id for thread in self._threads if thread.native_id is not None}

    def _fail(self, name: str, error: BaseException) -> None:
        error.add_note(f"in the thread {name}")  # `vedette.cli.main` takes no such error for a wrong path of its user's
        with self._lock:
            first = self._failure is None
            if first:
                self._failure = ThreadFailure(name, error)
        logger.error("thread %s failed: %s", name, type(error).__name__, exc_info=error)
        if first:
            self.request_stop()
