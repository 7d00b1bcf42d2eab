"""A stream's thread run for real, in a test: started, watched through its intake, stopped and held to the ledger."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from pipeline.clock import SystemClock
from pipeline.stream import StreamRunner
from stages.options import StreamOptions
from tests.support.intake import RecordingIntake
from vedette.secrets import SecretUrl


class RunningStream:
    """`with RunningStream(url, fps=5) as stream:` runs it; leaving stops it and checks that it ended and balances."""

    def __init__(self, url: SecretUrl | str, **options: Any) -> None:
        wanted = url if isinstance(url, SecretUrl) else SecretUrl(url)
        self.intake = RecordingIntake("cam")
        self.stop = threading.Event()
        self.runner = StreamRunner(
            StreamOptions(id="cam", url=wanted, **options), "run", self.intake, SystemClock(), self.stop
        )
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._body, name="source:cam", daemon=True)

    def __enter__(self) -> RunningStream:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.stop.set()
        self._thread.join(30)
        if kind is not None:
            return
        assert not self._thread.is_alive(), "the stream's thread did not end"
        if self.error is not None:
            raise self.error
        assert self.intake.totals.balances
        assert self.intake.totals.in_flight == 0

    def join(self, timeout_s: float = 30.0) -> None:
        """Wait until the stream is over by itself."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the stream is not over"

    def _body(self) -> None:
        try:
            self.runner.run()
        except BaseException as error:  # noqa: BLE001 - raised by the test
            self.error = error
